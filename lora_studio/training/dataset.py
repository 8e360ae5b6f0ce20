"""The dataset folder that training reads: its format, its writer's half and its reader. Knows no video and no model.

The format belongs to the reader, so whoever builds a dataset imports `clip_features`, `encode_row`, `save_clips`,
`Manifest`, `hash_rows` and `save_manifest` from here. Layout: `dataset/clips` (a `datasets` DatasetDict with splits `train` and
`held_out`, one row per clip) and `dataset/manifest.json`. Each of the two folders has a README.md for
`datasets.load_dataset`.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value, load_from_disk
from datasets import Sequence as ListOf
from pydantic import Field, ValidationError

from lora_studio import files
from lora_studio.errors import RightsError, TrainingError
from lora_studio.records import Record
from lora_studio.taxonomy import AXES, UNKNOWN
from lora_studio.workspace import Workspace

SCHEMA = 5
SHARD_BYTES = 500_000_000
TRAIN, HELD_OUT = "train", "held_out"
# `load_dataset` goes by this: it would leave held_out out, and without the hash give what it kept of another folder of that name
_CARD = """---
configs:
- config_name: default
  description: {content}
  data_files:
{splits}
---
Clips of a studio's own footage as features of a video model, with captions, tags and where each clip comes from. Made by
`data-tools build`; docs/architecture.md of lora_studio says what the columns hold. To read it:

    datasets.load_dataset("THIS FOLDER")

`provenance` names owner and licence of each clip. Nothing here asks whether the rights still hold: training does.
"""
# the captions of a clip; the plain ones are without the trigger, the other one asks for another angle and another light
TEXTS = ("long", "short", "plain_long", "plain_short", "plain_other")


class ClipFacts(Record):
    """What is known of a clip beside its features: the plain columns of its row."""

    clip_id: str
    shot_id: str
    shot_sha256: str  # of the normalised shot
    shot_path: str  # the normalised shot, relative to the workspace; its pictures are not in the dataset
    scene: str  # shots of one set-up share it
    footage_id: str
    footage_sha256: str
    footage_path: str  # relative to the workspace
    start_s: float  # of the clip within its shot
    start_pts: int  # of the clip within the footage, on the footage's own clock
    end_pts: int  # exclusive
    time_base: tuple[int, int]  # seconds per tick as numerator, denominator
    num_frames: int  # as the model sees the clip
    fps: float
    height: int
    width: int
    caption_long: str
    caption_short: str
    motion_flow: float  # the condition given to the model
    tags: dict[str, str]  # axis -> value; `unknown` where the sources are not sure, or differ
    tag_confidence: dict[str, float] = Field(default_factory=dict)  # axis -> 0 to 1, of the strongest source
    tag_source: dict[str, str] = Field(default_factory=dict)  # axis -> `Tag.source`
    measures: dict[str, float] = Field(default_factory=dict)  # of the shot
    flags: dict[str, float] = Field(default_factory=dict)  # of the shot, 0 to 1
    provenance: dict[str, str | int | None] = Field(default_factory=dict)  # how its pictures came about, and whose they are


def clip_features() -> Features:
    """The columns of `dataset/clips`, in order. Arrays are float16 bytes in C order (`pack_array`), dicts of any keys JSON."""
    text, number, count = Value("string"), Value("float64"), Value("int32")
    return Features(
        {
            **dict.fromkeys(("clip_id", "shot_id", "shot_sha256", "shot_path", "scene"), text),
            **dict.fromkeys(("footage_id", "footage_sha256", "footage_path"), text),
            "start_s": number,
            **dict.fromkeys(("start_pts", "end_pts"), Value("int64")),
            "time_base": ListOf(Value("int64")),
            "num_frames": count,
            "fps": number,
            **dict.fromkeys(("height", "width"), count),
            "moments": Value("large_binary"),  # (2C, T, H, W): mean and log-variance, unscaled
            "moments_shape": ListOf(Value("int32")),
            **{f"text_{kind}": Value("large_binary") for kind in TEXTS},  # (rows_KIND, D_text): valid rows only
            **{f"rows_{kind}": count for kind in TEXTS},
            "caption_long": text,
            "caption_short": text,
            "motion_flow": number,
            "flow_measured": number,  # mean optical flow, pixels per frame at the model's size
            "tags": text,
            "tag_value": {axis: ClassLabel(names=[UNKNOWN, *values]) for axis, values in AXES.items()},  # the same as `tags`
            "tag_confidence": dict.fromkeys(AXES, Value("float32")),
            "tag_source": dict.fromkeys(AXES, text),
            "measures": text,
            "flags": text,
            "provenance": text,
        }
    )


def pack_array(array: np.ndarray) -> bytes:
    """Any real array as float16 bytes, C order.

    Raises:
        TrainingError: a value is not finite or does not fit float16.
    """
    with np.errstate(over="ignore"):
        half = np.ascontiguousarray(array, dtype=np.float16)
    if not np.isfinite(half).all():
        raise TrainingError("a feature array holds values that are not finite in float16: the encoder's output is unusable")
    return half.tobytes()


def unpack_array(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of `pack_array`: a float32 array of `shape`; one entry of `shape` may be -1.

    Raises:
        TrainingError: the bytes do not hold an array of that shape.
    """
    array = np.frombuffer(data, dtype=np.float16)
    try:
        return array.reshape(shape).astype(np.float32)
    except ValueError:
        raise TrainingError(f"a dataset row is damaged: {array.size} values do not fill shape {shape}; build it again") from None


def encode_row(facts: ClipFacts, moments: np.ndarray, texts: Mapping[str, np.ndarray], flow_measured: float) -> dict[str, Any]:
    """One row of `dataset/clips`.

    Args:
        facts: the plain columns.
        moments: (2C, T, H, W), mean and log-variance of the VAE's posterior, unscaled.
        texts: for each of `TEXTS` (rows, D_text), the valid rows of the text encoder's last hidden state.
        flow_measured: mean optical flow in pixels per frame at the model's size.

    Raises:
        TrainingError: an array holds what float16 cannot.
    """
    return {
        **facts.model_dump(),
        "time_base": list(facts.time_base),
        "moments": pack_array(moments),
        "moments_shape": list(moments.shape),
        **{f"text_{kind}": pack_array(texts[kind]) for kind in TEXTS},
        **{f"rows_{kind}": len(texts[kind]) for kind in TEXTS},
        "flow_measured": float(flow_measured),
        "tag_value": {axis: facts.tags.get(axis, UNKNOWN) for axis in AXES},
        "tag_confidence": {axis: facts.tag_confidence.get(axis, 0.0) for axis in AXES},
        "tag_source": {axis: facts.tag_source.get(axis, "none") for axis in AXES},
        **{name: json.dumps(getattr(facts, name), sort_keys=True) for name in ("tags", "measures", "flags", "provenance")},
    }


class Manifest(Record):
    """dataset/manifest.json: what the features were made with, and what they were made from."""

    schema_version: int = Field(default=SCHEMA, alias="schema")
    model: str  # the base as it was named when the dataset was built
    vae_sha256: str
    text_encoder_sha256: str
    num_frames: int
    fps: float
    height: int
    width: int
    fit: Literal["crop", "pad"] = "crop"  # how pictures of another shape were brought to this size
    latent_shape: tuple[int, int, int, int]  # C, T, H, W
    num_train: int
    num_held_out: int
    rights_sha256: str
    dataset_sha256: str  # hash_rows of both splits
    owners: tuple[str, ...] = ()  # who owns the footage, for the adapter's card
    licences: tuple[str, ...] = ()
    earliest_expiry: str | None = None  # ISO date: when the first of the rights ends


def hash_rows(rows: Iterable[Mapping[str, Any]]) -> str:
    """The hash of a list of rows: order, ids, captions and the feature bytes themselves."""
    digests = []
    for row in rows:
        arrays = [hashlib.sha256(row[column]).hexdigest() for column in ("moments", *(f"text_{kind}" for kind in TEXTS))]
        digests.append([row["clip_id"], row["caption_long"], row["caption_short"], row["motion_flow"], *arrays])
    return files.sha256_json(digests)


def save_clips(workspace: Workspace, train: Iterable[Mapping[str, Any]], held_out: Iterable[Mapping[str, Any]]) -> None:
    """Writes both splits, rows of `encode_row`, in place of what was there; write the manifest after it.

    A split may be empty; `Dataset.from_list` cannot make such a table, so leave the making to this function.
    """
    with files.atomic_folder(workspace.dataset / "clips") as temporary:
        splits = DatasetDict({TRAIN: _table(list(train)), HELD_OUT: _table(list(held_out))})
        shards = {str(name): max(1, math.ceil(split.data.nbytes / SHARD_BYTES)) for name, split in splits.items()}
        splits.save_to_disk(str(temporary), num_shards=shards)
        content = files.sha256_json([files.sha256_file(path) for path in sorted(temporary.rglob("*.arrow"))])
        filled = [str(name) for name, split in splits.items() if split]
        files.write_text(temporary / "README.md", _card(content, filled, ""))
    files.write_text(workspace.dataset / "README.md", _card(content, filled, "clips/"))


def _card(content: str, splits: Sequence[str], folder: str) -> str:
    named = "\n".join(f"  - split: {name}\n    path: {folder}{name}/*.arrow" for name in splits)
    return _CARD.format(content=content, splits=named)


def _table(rows: list[Mapping[str, Any]]) -> Dataset:
    features = clip_features()
    return Dataset.from_dict({column: [row[column] for row in rows] for column in features}, features=features)


def save_manifest(workspace: Workspace, manifest: Manifest) -> None:
    """Writes manifest.json: the last thing a builder does, for a dataset without one counts as not built."""
    files.write_json(workspace.dataset / "manifest.json", manifest.model_dump(mode="json", by_alias=True))


@dataclass(frozen=True)
class ClipDataset:
    """A built dataset: two splits of rows as in `clip_features`, and what they were made with."""

    train: Dataset
    held_out: Dataset
    manifest: Manifest


def load_clips(workspace: Workspace, today: date | None = None) -> ClipDataset:
    """Opens the dataset of a workspace (memory-mapped, nothing is decoded yet).

    Raises:
        TrainingError: there is no dataset, it is of another schema, damaged, or has no clip to train on.
        RightsError: rights in some of its footage have ended since it was built (`today` None is today).
    """
    folder, path = workspace.dataset / "clips", workspace.dataset / "manifest.json"
    if not path.is_file() or not folder.is_dir():
        raise TrainingError(f"no dataset in {workspace.dataset}: make one with `data-tools build {workspace.root}`")
    manifest = _read_manifest(workspace)
    if manifest.earliest_expiry is not None and date.fromisoformat(manifest.earliest_expiry) < (today or date.today()):
        raise RightsError(
            f"rights in footage of {workspace.dataset} ended on {manifest.earliest_expiry}: build it again with "
            f"`data-tools build {workspace.root}`, which leaves that footage out"
        )
    splits = load_from_disk(str(folder))
    if not isinstance(splits, DatasetDict) or set(splits) != {TRAIN, HELD_OUT}:
        raise TrainingError(f"{folder} must hold the splits train and held_out: build it again with `data-tools build`")
    clips = ClipDataset(splits[TRAIN], splits[HELD_OUT], manifest)
    counts = (len(clips.train), len(clips.held_out))
    if counts != (manifest.num_train, manifest.num_held_out):
        stated = (manifest.num_train, manifest.num_held_out)
        raise TrainingError(f"{folder} holds {counts} clips (train, held out) but its manifest says {stated}: build it again")
    if not clips.train:
        raise TrainingError(f"{folder} has no clip to train on: `data-tools coverage {workspace.root}` says where each shot went")
    return clips


def _read_manifest(workspace: Workspace) -> Manifest:
    path = workspace.dataset / "manifest.json"
    table = files.read_json(path)
    if table.get("schema") != SCHEMA:
        raise TrainingError(f"{path}: schema must be {SCHEMA}, got {table.get('schema')!r}: build the dataset again")
    try:
        return Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as fault:
        keys = ", ".join(".".join(map(str, entry["loc"])) for entry in fault.errors())
        raise TrainingError(f"{path} is damaged ({keys}): build the dataset again") from None


def require_same_encoders(manifest: Manifest, model: str, vae_sha256: str, text_encoder_sha256: str) -> None:
    """Refuses features that another VAE or text encoder made: the adapter would learn noise.

    Raises:
        TrainingError: a hash differs.
    """
    made = {"VAE": manifest.vae_sha256, "text encoder": manifest.text_encoder_sha256}
    ours = {"VAE": vae_sha256, "text encoder": text_encoder_sha256}
    other = [part for part in made if made[part] != ours[part]]
    if other:
        raise TrainingError(
            f"the dataset was built with another {' and '.join(other)} (base {manifest.model}) than model.base = {model!r} has: "
            f"build it again with `data-tools build --model {model}`, or name the base it was built for"
        )
