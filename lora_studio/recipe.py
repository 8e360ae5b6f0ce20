"""Recipes: what to train and how, as strict TOML. Loads without torch; knows nothing of how a setting is carried out.

Every default lives here and nowhere else. All faults of a recipe are reported in one message; a recipe is never
written to after loading. `--set section.key=value` overrides are part of loading.
"""

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from lora_studio import settings
from lora_studio.errors import RecipeError
from lora_studio.records import NOT_RUNS


class Section(BaseModel):
    """A frozen table of settings that refuses keys it does not know and values of another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ModelSection(Section):
    """The frozen backbone."""

    base: str = "nano"  # "nano", a local folder in the published layout, or a Hub id


class AdapterSection(Section):
    """Which layers learn, and with how much room."""

    method: Literal["lora"] = "lora"
    preset: Literal["video_encoder", "image_encoder", "image_decoder", "full"] = "video_encoder"  # alone reads the words
    rank: int = Field(default=16, ge=1, le=256)
    alpha: float = Field(default=16.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class DataSection(Section):
    """How clips become training samples."""

    caption_dropout: float = Field(default=0.1, ge=0, le=1)  # share of samples that see the null prompt
    short_caption: float = Field(default=0.5, ge=0, le=1)  # share of the other samples that see the short caption
    prior: float = Field(default=0.0, ge=0)  # weight of staying with the base where the trigger is left out; costs a second pass


class OptimSection(Section):
    """AdamW and its schedule."""

    lr: float = Field(default=1e-4, gt=0)
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = Field(default=0.02, ge=0)
    warmup_steps: int = Field(default=50, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    max_grad_norm: float = Field(default=1.0, gt=0)


class TrainSection(Section):
    """How long, how much at once, in which precision."""

    steps: int = Field(default=1000, ge=1)
    batch_size: int = Field(default=4, ge=1)  # clips per optimizer step over all processes and accumulation
    grad_accumulation: int = Field(default=1, ge=1)
    loss_repeat: int = Field(default=4, ge=1)  # noise draws per masked clip (NOVA trains with 4)
    seed: int = Field(default=0, ge=0)
    precision: Literal["auto", "float32", "bf16"] = "auto"  # auto: bf16 where the GPU or CPU computes in it, else float32
    gradient_checkpointing: bool = False
    checkpoint_every: int = Field(default=100, ge=1)
    validate_every: int = Field(default=100, ge=1)


class Recipe(Section):
    """One training recipe. `name` is the default name of the run."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,59}$")
    description: str = ""
    model: ModelSection = ModelSection()
    adapter: AdapterSection = AdapterSection()
    data: DataSection = DataSection()
    optim: OptimSection = OptimSection()
    train: TrainSection = TrainSection()

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if name in NOT_RUNS:
            raise ValueError(f"a run cannot be called {' or '.join(NOT_RUNS)}: the wall has columns of those names")
        return name


def load_recipe(path: str | Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Reads a recipe and applies `section.key=value` overrides (values in TOML syntax; bare words are strings).

    Raises:
        RecipeError: the file is missing or not TOML, or any key is unknown or out of range; every fault is listed.
    """
    path = Path(path)
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*.toml")) if path.parent.is_dir() else []
        raise RecipeError(f"no recipe at {path}" + (f"; beside it there are: {', '.join(near)}" if near else ""))
    table = settings.read_toml(path, RecipeError)
    for override in overrides:
        _apply_override(table, override)
    return settings.validate(Recipe, table, path, RecipeError)


def recipe_to_toml(recipe: Recipe) -> str:
    """The resolved recipe, every default written out."""
    return settings.to_toml(recipe.model_dump(mode="json"))


def _apply_override(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set takes section.key=value, got {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *sections, last = key.strip().split(".")
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise RecipeError(f"--set {override}: {section} is a value, not a section")
    table[last] = value
