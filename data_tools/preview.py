"""A contact sheet before a build: of each shot the whole picture with what cropping loses, and both fits. Decides nothing."""

from pathlib import Path
from typing import Final

import cv2
import numpy as np

from data_tools.catalog import Catalog
from data_tools.clips import ClipFormat
from lora_studio import files, video
from lora_studio.errors import FootageError
from lora_studio.records import Shot
from lora_studio.workspace import Workspace

MOST: Final = 48  # shots on a sheet
_HEIGHT, _GAP, _COLUMNS = 108, 6, 2
_GROUND = 22


def draw_preview(workspace: Workspace, form: ClipFormat) -> tuple[Path, int, int]:
    """Writes catalog/preview.png: for each shot the whole picture (what cropping loses is dimmed), cropped, padded.

    Returns:
        The file, how many shots it shows (those first that lose most), and how many there are.

    Raises:
        FootageError: there is no shot yet.
        MediaError: a clip cannot be read.
    """
    shots = [row.shot for row in Catalog(workspace).shots()]
    if not shots:
        raise FootageError(f"no shots in {workspace.root}: take footage in first with `data-tools ingest {workspace.root} FOLDER`")
    shown = sorted(shots, key=lambda shot: (-lost_share(shot.height, shot.width, form), shot.footage_id, shot.index))[:MOST]
    strips = [_strip(workspace, shot, form) for shot in shown]
    width = max(strip.shape[1] for strip in strips)
    strips = [_widened(strip, width) for strip in strips]
    rows = [np.concatenate(strips[start : start + _COLUMNS], axis=1) for start in range(0, len(strips), _COLUMNS)]
    full = max(row.shape[1] for row in rows)
    sheet = np.concatenate([_widened(row, full) for row in rows])
    path = workspace.catalog / "preview.png"
    _, png = cv2.imencode(".png", sheet[..., ::-1])
    with files.atomic_path(path) as temporary:
        temporary.write_bytes(png.tobytes())
    return path, len(shown), len(shots)


def lost_share(height: int, width: int, form: ClipFormat) -> float:
    """The share of a picture of this size that cropping to the model's shape leaves out, 0 to 1."""
    ratio, wanted = width / height, form.width / form.height
    return 1 - min(ratio, wanted) / max(ratio, wanted)


def _strip(workspace: Workspace, shot: Shot, form: ClipFormat) -> np.ndarray:
    middle_s = (shot.num_frames - 1) / shot.fps / 2
    frames = video.read_frames(workspace.absolute(shot.path), [middle_s])
    pictures = [_with_loss(frames[0], form), *(fit(frames, form.height, form.width)[0] for fit in video.FITS.values())]
    return np.concatenate([_bordered(_at_height(picture)) for picture in pictures], axis=1)


def _with_loss(frame: np.ndarray, form: ClipFormat) -> np.ndarray:
    """The frame with the part dimmed that `resize_crop` leaves out."""
    height, width = frame.shape[:2]
    scale = max(form.height / height, form.width / width)
    kept_height, kept_width = min(height, round(form.height / scale)), min(width, round(form.width / scale))
    top, left = (height - kept_height) // 2, (width - kept_width) // 2
    dimmed = frame // 4
    dimmed[top : top + kept_height, left : left + kept_width] = frame[top : top + kept_height, left : left + kept_width]
    return dimmed


def _at_height(picture: np.ndarray) -> np.ndarray:
    width = max(1, round(picture.shape[1] * _HEIGHT / picture.shape[0]))
    return cv2.resize(picture, (width, _HEIGHT), interpolation=cv2.INTER_AREA)


def _bordered(picture: np.ndarray) -> np.ndarray:
    return np.pad(picture, ((_GAP, 0), (_GAP, 0), (0, 0)), constant_values=_GROUND)


def _widened(picture: np.ndarray, width: int) -> np.ndarray:
    return np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=_GROUND)
