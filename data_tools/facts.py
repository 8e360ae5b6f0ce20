"""What is known of a clip beside its features: where it lies in which file, what it shows and who says so, how it was made.

Only what follows from catalog and plan, so that a rebuild writes the same. Opens no video.
"""

from fractions import Fraction
from typing import TYPE_CHECKING, Final

from data_tools import normalise
from data_tools.clips import ClipFormat, PlannedClip
from data_tools.fusion import sure_value
from data_tools.shot_ids import shot_id, way_of
from lora_studio.records import Footage, Shot
from lora_studio.taxonomy import TAXONOMY_VERSION

if TYPE_CHECKING:
    from lora_studio.training.dataset import ClipFacts

MOTION_FLOW: Final = 5.0  # the condition's default; the measured flow is kept beside it


def clip_facts(clip: PlannedClip, footage: Footage, form: ClipFormat) -> "ClipFacts":
    """The plain columns of a clip's row; `footage` is the usable record of its file."""
    from lora_studio.training.dataset import ClipFacts

    shot = clip.shot
    start_pts, end_pts = span_in_footage(clip, form)
    return ClipFacts(
        clip_id=clip.clip_id, shot_id=shot.shot_id, shot_sha256=shot.sha256, shot_path=shot.path, scene=shot.scene or shot.shot_id,
        footage_id=shot.footage_id, footage_sha256=footage.sha256, footage_path=footage.path,
        start_s=clip.start_s, start_pts=start_pts, end_pts=end_pts, time_base=shot.time_base,
        num_frames=form.num_frames, fps=form.fps, height=form.height, width=form.width,
        caption_long=shot.caption_long, caption_short=shot.caption_short, motion_flow=MOTION_FLOW,
        tags={axis: sure_value(tag) for axis, tag in shot.tags.items()},
        tag_confidence={axis: tag.confidence for axis, tag in shot.tags.items()},
        tag_source={axis: tag.source for axis, tag in shot.tags.items()},
        measures=shot.measures, flags=shot.flags,
        provenance={
            "colour": footage.colour, "transform": footage.transform, "normalise_version": normalise_version(shot, footage),
            "taxonomy_version": TAXONOMY_VERSION, "owner": footage.rights.owner, "licence": footage.rights.licence,
        },
    )  # fmt: skip


def span_in_footage(clip: PlannedClip, form: ClipFormat) -> tuple[int, int]:
    """First tick of a clip and the tick after its last, on its file's own clock; both lie within the shot."""
    shot = clip.shot
    start_s, tick_s = Fraction(clip.start_s), Fraction(*shot.time_base)
    start, end = (shot.start_pts + round(time_s / tick_s) for time_s in (start_s, start_s + form.num_frames / Fraction(form.fps)))
    return start, min(end, shot.end_pts)


def normalise_version(shot: Shot, footage: Footage) -> int | None:
    """The version of `normalise` that made a shot; None where it was another than today's: `ingest` makes such shots anew."""
    way = way_of(footage.colour_stated, footage.colour, footage.transform, footage.warnings)
    today = shot_id(shot.footage_id, shot.start_pts, shot.end_pts, way)
    return normalise.VERSION if shot.shot_id == today else None
