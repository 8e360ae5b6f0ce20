"""The card of an adapter: what it is, what it was made from, what is known of it and what is not. Plain values in, two files out.

Footage appears by hash, never by name. The card says nothing about approval that a person has not said: it starts as none.
"""

from pathlib import Path

from lora_studio import files
from lora_studio.records import Record

CARD_SCHEMA = 1


class Identity(Record):
    """Which files, exactly."""

    name: str
    created_at: str  # UTC, ISO 8601
    made_with: str  # toolkit and version
    adapter_sha256: str  # of adapter_model.safetensors
    tensors_sha256: str  # of the weights alone: stays when only a header changes
    size_bytes: int


class Base(Record):
    """The frozen backbone this adapter belongs to; on any other it is meaningless."""

    name: str
    sha256: str
    precision: str


class Method(Record):
    """How it was trained."""

    preset: str
    pattern: str
    rank: int
    alpha: float
    num_modules: int
    num_parameters: int
    steps: int
    batch_size: int
    lr: float
    seed: int
    caption_dropout: float
    recipe_sha256: str
    prior: float | None = None  # None: of a card that does not say it


class Data(Record):
    """What it saw. `seconds` is footage time of the training clips, overlap counted as often as it was used."""

    train_clips: int
    train_shots: int
    train_seconds: float
    held_out_clips: int
    held_out_shots: int
    num_frames: int
    fps: float
    width: int
    height: int
    dataset_sha256: str
    rights_sha256: str
    footage_sha256: tuple[str, ...]
    held_out_footage_sha256: tuple[str, ...]
    owners: tuple[str, ...]
    licences: tuple[str, ...]
    earliest_expiry: str | None


class HeldOutLoss(Record):
    """The loss on clips it never saw, before and after, with the same masks, noise and timesteps. Lower is better.

    `low` and `high` bound the change (after - before) at about 95 %; None when there are fewer than two held-out shots.
    """

    before: float
    after: float
    change: float
    low: float | None
    high: float | None
    per_frame_before: tuple[float, ...]
    per_frame_after: tuple[float, ...]
    shots: int
    draws: int

    @property
    def reading(self) -> str:
        """The figures in one sentence."""
        figures = f"held-out loss went from {self.before:.4f} to {self.after:.4f}"
        if self.low is None or self.high is None:
            return f"{figures}; with fewer than two held-out shots nothing can be said about how sure that is."
        band = f"{figures} (change {self.change:+.4f}, about 95 % between {self.low:+.4f} and {self.high:+.4f}, {self.shots} shots)"
        if self.high < 0:
            return f"{band}: it learned something that holds on footage it never saw."
        if self.low > 0:
            return f"{band}: it got worse on footage it never saw. Train for fewer steps, at a lower rate, or on more footage."
        return f"{band}: no change that can be told from chance."


class Card(Record):
    """card.json; card.md says the same to people."""

    card_schema: int = CARD_SCHEMA
    identity: Identity
    base: Base
    method: Method
    data: Data
    held_out_loss: HeldOutLoss | None  # None when the dataset holds nothing out
    trigger: str
    limits: tuple[str, ...]
    approval: str | None = None  # who, when and for what: nobody yet


def known_limits(data: Data, loss: HeldOutLoss | None) -> tuple[str, ...]:
    """What this adapter cannot be expected to do, in plain words, from what it was made of."""
    limits = [
        "It works on the base named above and on no other.",
        "Loss measures how well it predicts the brand's own footage. It does not say that a take is on brand: people judge that.",
        f"It saw {data.train_shots} shots. Subjects, angles and light that are not among them come from the base.",
        f"It was trained on {data.num_frames} frames of {data.width}x{data.height} at {data.fps:g} fps; other sizes are untested.",
    ]
    if data.train_shots < 10:
        limits.append("With fewer than ten shots it may repeat its footage. Compare takes with the footage before showing them.")
    if loss is None:
        limits.append("Nothing was held out, so there is no evidence that it learned more than its own clips.")
    if data.earliest_expiry is not None:
        limits.append(f"The first of the rights it rests on ends on {data.earliest_expiry}: retire or retrain it by then.")
    return tuple(limits)


def write_card(folder: Path, card: Card) -> None:
    """Writes card.json and card.md into a folder."""
    files.write_json(folder / "card.json", card.model_dump(mode="json"))
    files.write_text(folder / "card.md", card_to_markdown(card))


def read_card(folder: Path) -> Card:
    """Reads card.json."""
    return Card.model_validate_json((folder / "card.json").read_text(encoding="utf-8"))


def card_to_markdown(card: Card) -> str:
    """The card for people."""
    identity, base, method, data = card.identity, card.base, card.method, card.data
    loss = card.held_out_loss
    size = f"{method.num_modules} layers, {method.num_parameters:,} parameters"
    schedule = f"{method.steps} steps of {method.batch_size} clips, learning rate {method.lr:g}"
    sections = {
        "What it is": [
            f"a LoRA on `{base.name}` (preset *{method.preset}*: {size})",
            f"trigger: `{card.trigger}`",
            f"made {identity.created_at} with {identity.made_with}, {identity.size_bytes:,} bytes",
            f"adapter SHA-256: `{identity.adapter_sha256}`",
            f"weights SHA-256: `{identity.tensors_sha256}`",
            f"base SHA-256: `{base.sha256}`",
        ],
        "How it was trained": [
            f"rank {method.rank}, alpha {method.alpha:g}, {schedule}",
            f"seed {method.seed}, precision {base.precision}, caption dropout {method.caption_dropout:g}",
            *([] if method.prior is None else [f"prior {method.prior:g}"]),
            f"recipe SHA-256: `{method.recipe_sha256}`",
        ],
        "What it saw": [
            f"{data.train_clips} clips of {data.train_shots} shots, {data.train_seconds:.1f} seconds",
            f"held out: {data.held_out_clips} clips of {data.held_out_shots} shots",
            f"owners: {', '.join(data.owners) or 'not stated'}; licences: {', '.join(data.licences) or 'not stated'}",
            f"dataset SHA-256: `{data.dataset_sha256}`, rights SHA-256: `{data.rights_sha256}`",
            *(f"footage `{digest}`" for digest in data.footage_sha256),
        ],
        "What is known": [loss.reading[0].upper() + loss.reading[1:] if loss else "Nothing was held out, so nothing was measured."],
        "Limits": list(card.limits),
        "Approval": [card.approval or "None yet."],
    }
    body = "\n\n".join(f"## {title}\n" + "\n".join(f"- {line}" for line in lines) for title, lines in sections.items())
    return f"# {identity.name}\n\n{body}\n"
