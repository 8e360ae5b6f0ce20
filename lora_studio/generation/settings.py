"""How a video is sampled: the settings, with their defaults in this one place. Loads no torch model and reads no file."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from lora_studio.errors import LoraStudioError
from lora_studio.generation.guidance import Guidance
from lora_studio.settings import validate


class SamplerSettings(BaseModel):
    """How a video is sampled. The published video model was shown with 128 steps, 100 diffusion steps and guidance 7."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    num_steps: int = Field(default=12, ge=1)  # patch sets per frame
    num_diffusion_steps: int = Field(default=16, ge=1)  # per patch set
    temperature: float = Field(default=1.0, ge=0, le=1)  # factor on all noise of the patches; less: likelier pictures, more alike
    guidance: float = Field(default=3.0, ge=1)  # 1: no unconditional rows, half the work
    min_guidance: float | None = Field(default=None, ge=0)  # at the first patch set, growing evenly to `guidance` at the last
    guidance_trunc: float = Field(default=0.0, ge=0, le=1000)  # from this timestep down to 0 nothing is guided; 0: all is
    guidance_renorm: float = Field(default=1.0, gt=0, le=1)  # how far a guided prediction may be shortened; 1: not at all
    image_guidance: float = Field(default=0.0, ge=0)  # how strictly the frames before are followed; 0: as part of `guidance`
    guidance_every: int = Field(default=1, ge=1)  # an approximation: unguided rows look anew before every so many sets
    motion_flow: float = Field(default=5.0, ge=0)  # mean optical flow asked for, pixels per frame

    @field_validator("min_guidance")
    @classmethod
    def _no_more_than_guidance(cls, least: float | None, info: ValidationInfo) -> float | None:
        most = info.data.get("guidance")  # not there when it is at fault itself
        if least is not None and most is not None and least > most:
            raise ValueError(f"must not be above guidance, which is {most:g}: lower it, or raise guidance")
        return least

    def as_guidance(self) -> Guidance:
        """The part of the settings that is about guidance."""
        return Guidance(
            self.guidance, self.min_guidance, self.guidance_trunc, self.guidance_renorm, self.image_guidance, self.guidance_every
        )


def sampler_settings(given: Mapping[str, Any], sets: Sequence[str] = ()) -> SamplerSettings:
    """Settings of the command line: those of `given` that are not None, then `key=value` pairs in TOML syntax.

    Raises:
        LoraStudioError: a pair is none, a key unknown or a value out of range; every fault is listed.
    """
    table = {key: value for key, value in given.items() if value is not None}
    asked = set(table)
    for pair in sets:
        key, equals, text = pair.partition("=")
        if not equals:
            raise LoraStudioError(f"--set takes key=value, got {pair!r}")
        if key.strip() in asked:
            raise LoraStudioError(f"{key.strip()} is asked for twice, by an option of its own and by --set: give one of them")
        try:
            table[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            table[key.strip()] = text
    return validate(SamplerSettings, table, Path("--set"), LoraStudioError)
