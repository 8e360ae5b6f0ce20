"""Frames in, MP4 out: the only door to decord and PyAV. Knows containers, clocks and colour; knows no shot, tag or catalog.

Frames are uint8 RGB arrays (F, H, W, 3), upright, with square pixels. PyAV probes and walks through files of any origin
(it reads only what it needs, and says what it finds); decord gives random access to clips this project has written itself,
where it is exact. Where decord is missing or fails, PyAV gives the same pixels; and it reads what an edit list has trimmed.
"""

from lora_studio.video.container import complaints
from lora_studio.video.pick import FITS, Fit, read_frames, resize_crop, resize_pad, sample_times
from lora_studio.video.probe import MIRRORED, VARIABLE, VideoInfo, probe
from lora_studio.video.walk import iterate_frames
from lora_studio.video.write import exact_rate, write_video

__all__ = [
    "FITS", "MIRRORED", "VARIABLE", "Fit", "VideoInfo", "complaints", "exact_rate", "iterate_frames", "probe", "read_frames",
    "resize_crop", "resize_pad", "sample_times", "write_video",
]  # fmt: skip
