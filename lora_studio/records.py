"""What is known about footage, shots, clips, takes and verdicts: plain records, written to disk as JSON.

Knows no file format but its own, no library but pydantic, and never opens a video.
"""

from datetime import date
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from lora_studio.taxonomy import UNKNOWN


class Record(BaseModel):
    """A frozen record that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Consent(Record):
    """What one person or character in the footage agreed to; by a pseudonym, never a name."""

    person: str = Field(min_length=1)
    release: str = ""  # the number of the signed paper
    ai_training: bool = False  # a release for the film alone is no release for training
    expires: date | None = None
    revoked: date | None = None
    contact: str = ""  # where a revocation is sent

    def objection(self, today: date) -> str | None:
        """Why this person's picture may not be trained on; None when it may."""
        if self.revoked is not None and self.revoked <= today:
            return f"{self.person} revoked consent on {self.revoked.isoformat()}"
        if not self.ai_training:
            return f"{self.person} has not agreed to AI training"
        if self.expires is not None and self.expires < today:
            return f"the consent of {self.person} expired on {self.expires.isoformat()}"
        return None


class Rights(Record):
    """Who owns footage and what may be done with it. Training needs `ai_training = true`, a running term and all consents."""

    owner: str = ""
    licensor: str = ""  # who granted the licence, when not the owner
    licence: str = ""
    contract: str = ""  # its number
    ai_training: bool = False
    releases: str = ""
    third_party: str = ""  # marks, artworks, music, places in the picture, and their releases
    territory: str = "worldwide"
    starts: date | None = None
    expires: date | None = None
    people: tuple[Consent, ...] = ()
    recorded_by: str = ""
    verified_by: str = ""
    withdrawn: bool = False

    def objection(self, today: date) -> str | None:
        """Why this footage may not be trained on, in words; None when it may."""
        if self.withdrawn:
            return "withdrawn"
        if not self.owner:
            return "no owner stated"
        if not self.ai_training:
            return "not cleared for AI training"
        if self.expires is not None and self.expires < today:
            return f"rights expired on {self.expires.isoformat()}"
        if self.starts is not None and self.starts > today:
            return f"rights begin on {self.starts.isoformat()}"
        return next((said for one in self.people if (said := one.objection(today)) is not None), None)

    def last_day(self) -> date | None:
        """The first of all days on which something of this ends; None when nothing does."""
        ends = [self.expires, *(one.expires for one in self.people)]
        return min((end for end in ends if end is not None), default=None)


class Footage(Record):
    """One source file as it was taken in. `path` is relative to the workspace."""

    footage_id: str  # first 16 hexadecimal digits of sha256
    sha256: str
    path: str
    size_bytes: int
    mtime_ns: int
    status: Literal["usable", "quarantined"]
    reason: str = ""  # why it is quarantined
    codec: str = ""
    pixel_format: str = ""
    width: int = 0  # upright, square pixels
    height: int = 0
    fps: float = 0.0
    duration_s: float = 0.0
    rotation: int = 0  # degrees clockwise that were needed to stand upright
    warnings: tuple[str, ...] = ()
    colour: str = "bt709"  # how it was recorded, as stated or found; "log?" when nobody stated it and it looks like log
    transform: str = ""  # how its shots were brought to BT.709; "" where nothing was to do
    colour_stated: str = ""  # what colour.toml said when it was taken in
    rights: Rights = Rights()


class Tag(Record):
    """One axis of the taxonomy for one shot: the fused answer, and what each source said."""

    value: str = UNKNOWN
    confidence: float = Field(default=0.0, ge=0.0, le=1.0)
    status: Literal["agree", "single", "conflict", "unknown"] = "unknown"
    source: Literal["human", "metadata", "measured", "probe", "clip", "none"] = "none"
    scores: dict[str, dict[str, float]] = {}  # source -> value -> probability


class Shot(Record):
    """The part of a footage file between two cuts, normalised to a clip of its own."""

    shot_id: str
    footage_id: str
    index: int  # order within the footage, from 0
    start_pts: int
    end_pts: int  # exclusive
    time_base: tuple[int, int]  # seconds per tick as numerator, denominator
    start_s: float
    end_s: float
    path: str  # the normalised MP4, relative to the workspace
    sha256: str  # of that MP4
    num_frames: int
    fps: float
    width: int
    height: int
    flags: dict[str, float] = {}  # black, frozen, blurred, tiny, overlay, text: score 0..1
    tags: dict[str, Tag] = {}
    measures: dict[str, float] = {}
    hashes: tuple[str, ...] = ()  # perceptual hashes of some frames
    scene: str = ""  # shots of one set-up share it; the id of one of them
    content: str = ""  # what is in the picture, without camera, light or brand words
    reported_content: str = ""  # the same as the camera report says it; a person may have said it better
    described_content: str = ""  # the same as a vision-language model says it; used where nobody else says anything
    described_fault: str = ""  # why its answer is not used
    stated_caption: str = ""  # what a text file beside the footage says, word for word
    caption_long: str = ""
    caption_short: str = ""


NOT_RUNS: Final = ("real", "base")  # columns of the wall that no run may be called after


class AdapterRef(Record):
    """Which adapter made a take."""

    run: str
    sha256: str  # of adapter_model.safetensors
    weight: float = 1.0


class Take(Record):
    """One video on the wall: generated (base or adapter) or real held-out footage shown the same way.

    The sidecar `takes/<take_id>.json`; the video lies beside it as `<take_id>.mp4`. Ids are hashes: a file name tells
    a voter nothing.
    """

    take_id: str
    kind: Literal["real", "base", "adapter"]
    prompt_id: str
    prompt: str
    seed: int
    adapter: AdapterRef | None = None
    clip_id: str | None = None  # for real footage
    model: str  # base model: name and short hash
    settings: dict[str, float | int | str | bool] = {}
    num_frames: int
    fps: float
    width: int
    height: int
    seconds: float  # spent generating
    video_sha256: str

    @property
    def look(self) -> str:
        """The column of the wall this take belongs to: `real`, `base` or the run's name."""
        return self.adapter.run if self.adapter is not None else self.kind


class Prompt(Record):
    """One line of the prompt sheet."""

    id: str = Field(pattern=r"^[a-z0-9_-]{1,40}$")
    text: str = Field(min_length=1)
    kind: Literal["brand", "control"] = "brand"  # control prompts leave the trigger out: leakage shows there
    clip_id: str | None = None  # the held-out clip shown beside it


class PromptSheet(Record):
    """prompts.toml: the prompts and the seeds every look is shown with."""

    seeds: tuple[Annotated[int, Field(ge=0, lt=2**63)], ...] = Field(default=(0,), min_length=1)
    prompts: tuple[Prompt, ...] = Field(min_length=1)


class Verdict(Record):
    """One blind vote between two takes of the same prompt and seed."""

    ballot_id: str
    reviewer: str
    prompt_id: str
    seed: int
    left_take: str
    right_take: str
    choice: Literal["left", "right", "same", "neither"]
    created_at: str  # UTC, ISO 8601
