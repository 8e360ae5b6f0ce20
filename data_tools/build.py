"""From tagged, captioned shots to the dataset that training reads. Asks for rights first; encodes only what is new.

The ledger names every shot and what became of it, and it balances. It is written before the clips and the manifest last, so
a build that was killed counts as not done; what was encoded is kept.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from data_tools.captions import other_caption
from data_tools.catalog import Catalog
from data_tools.clips import ClipFormat, PlannedClip, plan_clips
from data_tools.facts import clip_facts
from data_tools.features import Encoders, FeatureStore
from data_tools.ledger import RIGHTS, balance, leave_out
from data_tools.rights import RightsFinder
from data_tools.withdraw import note_dataset
from lora_studio import files
from lora_studio.brand import Brand, load_brand
from lora_studio.errors import FootageError, RightsError
from lora_studio.records import Footage, Shot
from lora_studio.video import Fit
from lora_studio.workspace import Workspace


@dataclass(frozen=True)
class Base:
    """The base model a dataset is built for."""

    name: str
    form: ClipFormat
    latent_shape: tuple[int, int, int, int]
    encoders: Encoders


@dataclass(frozen=True)
class Built:
    """What a build came to. `is_new` is False when there was nothing to do."""

    is_new: bool
    num_train: int
    num_held_out: int
    num_encoded_clips: int
    num_encoded_texts: int
    left_out: dict[str, int]  # reason -> shots
    cut_off: dict[str, str]  # shot id -> the end of its caption that the model never reads; those of a new dataset


def open_base(name: str, device: str = "cpu", fit: Fit = "crop") -> Base:
    """Finds a base model and reads its shape and hashes; weights are loaded when something must be encoded.

    Raises:
        ModelError: there is no such model, or a part of it is missing.
    """
    from lora_studio.nova import weights

    folder = weights.find_model(name)
    shape = weights.clip_shape(folder)
    encoders = Encoders(
        vae_sha256=weights.model_sha256(folder, "vae"),
        text_sha256=weights.model_sha256(folder, "text_encoder"),
        load_vae=lambda: weights.load_vae(folder, device=device),
        load_text=lambda: weights.load_text(folder, device=device),
    )
    return Base(name, ClipFormat(shape.num_frames, shape.fps, shape.height, shape.width, fit), shape.latent, encoders)


def build_dataset(workspace: Workspace, base: Base, held_out: float = 0.2, today: date | None = None) -> Built:
    """Builds `dataset/` from every shot that may be used.

    Args:
        workspace: one with captioned shots.
        base: from `open_base`.
        held_out: share of the footage to hold out, over 0 and under 1.
        today: the day on which rights are judged; None is today.

    Raises:
        FootageError: there is no captioned shot, or fewer than two usable ones.
        RightsError: no shot's footage is cleared for AI training.
    """
    if not 0 < held_out < 1:
        raise FootageError(f"--held-out must be over 0 and under 1, got {held_out:g}")
    shots, footage = check_ready(workspace)
    reasons = leave_out(shots, footage, base.form, today or date.today())
    usable = [shot for shot in shots if shot.shot_id not in reasons]
    _require_rights(workspace, shots, footage, reasons)
    try:
        clips = plan_clips(usable, base.form, held_out)
    except FootageError:
        files.write_json(workspace.dataset / "ledger.json", balance(shots, footage, [], reasons, ""))
        raise
    store, brand = FeatureStore(workspace, base.encoders, base.form), load_brand(workspace)
    plan_sha256 = _plan_sha256(base, clips, store, footage, brand)
    book = balance(shots, footage, clips, reasons, plan_sha256)
    is_new = not is_current(workspace, plan_sha256)
    num_clips = num_texts = 0
    if is_new:
        num_clips = store.encode_clips(clips)
        num_texts = store.encode_texts([text for clip in clips for text in _texts(clip, brand).values()])
        _write(workspace, base, clips, store, book, footage, brand)
    elif files.read_json(workspace.dataset / "ledger.json") != book:
        files.write_json(workspace.dataset / "ledger.json", book)  # the same clips, but another shot was left out
    left_out: dict[str, int] = {}
    for reason in reasons.values():
        left_out[reason] = left_out.get(reason, 0) + 1
    num_train = sum(clip.split == "train" for clip in clips)
    lost = {clip.shot.shot_id: store.cut_off(clip.shot.caption_long) for clip in clips} if is_new else {}
    cut_off = {shot_id: end for shot_id, end in lost.items() if end}
    return Built(is_new, num_train, len(clips) - num_train, num_clips, num_texts, left_out, cut_off)


def check_ready(workspace: Workspace) -> tuple[list[Shot], list[Footage]]:
    """The shots and the footage, with today's rights, of a workspace that is ready to be built; cheap, loads no model.

    Raises:
        FootageError: there is no shot, or one without a caption, or one whose caption does not begin with the brand's trigger.
    """
    catalog, finder = Catalog(workspace), RightsFinder(workspace)
    usable = {record.footage_id for record in catalog.footage() if record.status == "usable"}
    shots = [row.shot for row in catalog.shots() if row.shot.footage_id in usable]  # a killed ingest leaves shots of old content
    if not shots:
        raise FootageError(f"no shots in {workspace.root}: take footage in first with `data-tools ingest {workspace.root} FOLDER`")
    bare = sum(not shot.caption_long for shot in shots)
    if bare:
        raise FootageError(f"{bare} of {len(shots)} shots have no caption: run `data-tools tag` and `data-tools caption` first")
    trigger = load_brand(workspace).trigger
    other = [text for shot in shots for text in (shot.caption_long, shot.caption_short) if not text.startswith(f"{trigger}, ")]
    if other:
        raise FootageError(
            f"the trigger in {workspace.brand_file} is {trigger!r}, but a caption begins {other[0][:40]!r}: run "
            f"`data-tools caption {workspace.root}` again"
        )
    footage = [finder.refresh(record) for record in catalog.footage()]
    catalog.put_footage(footage)
    return shots, footage


def is_current(workspace: Workspace, plan_sha256: str) -> bool:
    """Whether the dataset on disk was made by this very plan, and wholly."""
    path, manifest = workspace.dataset / "ledger.json", workspace.dataset / "manifest.json"
    if not path.is_file() or not manifest.is_file() or not (workspace.dataset / "clips").is_dir():
        return False
    return files.read_json(path).get("plan_sha256") == plan_sha256


def _require_rights(workspace: Workspace, shots: Sequence[Shot], footage: Sequence[Footage], reasons: dict[str, str]) -> None:
    if not all(reasons.get(shot.shot_id, "").startswith(RIGHTS) for shot in shots):
        return
    (workspace.dataset / "manifest.json").unlink(missing_ok=True)  # what was built with rights since withdrawn is no dataset
    files.write_json(workspace.dataset / "ledger.json", balance(shots, footage, [], reasons, ""))
    first = next(record for record in footage if record.status == "usable" and record.footage_id == shots[0].footage_id)
    why = reasons[shots[0].shot_id].removeprefix(RIGHTS)
    raise RightsError(
        f"none of the {len(shots)} shots may be trained on ({first.path}: {why}): state owner and "
        f"ai_training = true under [rights] in {workspace.brand_file}, or in a rights.toml beside the footage"
    )


def _plan_sha256(base: Base, clips: Sequence[PlannedClip], store: FeatureStore, footage: Sequence[Footage], brand: Brand) -> str:
    from lora_studio.training.dataset import SCHEMA

    records = usable_by_id(footage)
    rows = []
    for clip in clips:
        record = records[clip.shot.footage_id]
        keys = [store.clip_key(clip), *(store.text_key(text) for text in _texts(clip, brand).values())]
        facts = clip_facts(clip, record, base.form).model_dump(mode="json")
        rows.append([clip.split, *keys, facts, record.rights.model_dump(mode="json")])
    return files.sha256_json([SCHEMA, base.name, rows])


def usable_by_id(footage: Sequence[Footage]) -> dict[str, Footage]:
    """The usable files by footage id."""
    return {record.footage_id: record for record in footage if record.status == "usable"}


def _texts(clip: PlannedClip, brand: Brand) -> dict[str, str]:
    """The captions a clip is trained with, by the dataset's `TEXTS`: with the trigger, without, and of another angle and light."""
    branded = {"long": clip.shot.caption_long, "short": clip.shot.caption_short}
    plain = {f"plain_{kind}": text.removeprefix(f"{brand.trigger}, ") for kind, text in branded.items()}
    return branded | plain | {"plain_other": other_caption(clip.shot, brand, clip.clip_id)}


def _write(
    workspace: Workspace,
    base: Base,
    clips: Sequence[PlannedClip],
    store: FeatureStore,
    book: dict[str, Any],
    footage: Sequence[Footage],
    brand: Brand,
) -> None:
    from lora_studio.training import dataset

    records = usable_by_id(footage)
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "held_out": []}
    for clip in clips:
        moments, flow = store.clip(clip)
        texts = {kind: store.text(text) for kind, text in _texts(clip, brand).items()}
        rows[clip.split].append(
            dataset.encode_row(clip_facts(clip, records[clip.shot.footage_id], base.form), moments, texts, flow)
        )
    (workspace.dataset / "manifest.json").unlink(missing_ok=True)
    files.write_json(workspace.dataset / "ledger.json", book)
    dataset.save_clips(workspace, rows["train"], rows["held_out"])
    used = {clip.shot.footage_id for clip in clips}
    rights = [record.rights for record in footage if record.status == "usable" and record.footage_id in used]
    expiries = sorted(end.isoformat() for one in rights if (end := one.last_day()) is not None)
    manifest = dataset.Manifest(
        model=base.name, vae_sha256=base.encoders.vae_sha256, text_encoder_sha256=base.encoders.text_sha256,
        num_frames=base.form.num_frames, fps=base.form.fps, height=base.form.height, width=base.form.width, fit=base.form.fit,
        latent_shape=base.latent_shape, num_train=len(rows["train"]), num_held_out=len(rows["held_out"]),
        rights_sha256=files.sha256_json(sorted(json.dumps(one.model_dump(mode="json"), sort_keys=True) for one in rights)),
        dataset_sha256=dataset.hash_rows([*rows["train"], *rows["held_out"]]),
        owners=tuple(sorted({one.owner for one in rights})), licences=tuple(sorted({one.licence for one in rights if one.licence})),
        earliest_expiry=expiries[0] if expiries else None,
    )  # fmt: skip
    made_of = {record.sha256: record.path for record in footage if record.footage_id in used}
    note_dataset(workspace, manifest.dataset_sha256, made_of)
    dataset.save_manifest(workspace, manifest)
