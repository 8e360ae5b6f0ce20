"""What a recording is: a folder of tensors, facts and weights; and the ledger of what was compared with it.

    SET/
      golden.safetensors   inputs (`in.*`), random draws (`rng.*`) and what came out
      golden.json          facts: draws of each scenario in order (`rng`), losses, settings of each case
      weights.safetensors  weights with the published names, exact in float32
      config.json          of the part that ran

Knows no model.
"""

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lora_studio.errors import ModelError
from lora_studio.nova.layout import read_config
from lora_studio.nova.masking import split_order

logger = logging.getLogger(__name__)

TENSORS, FACTS, WEIGHTS = "golden.safetensors", "golden.json", "weights.safetensors"
FORWARD = 2e-5  # of the largest recorded value, or of 1 where that is smaller: float32 on another machine
MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError)  # what a bad set raises
DESCRIPTIONS: Final = frozenset(
    {
        "name", "versions", "seed", "shapes", "tensors", "mlp_out_ids", "fm.set_shift3",  # what this is
        "rng", "in", "prompts", "ddpm_configs",  # what was put in
        # the published code against itself and against other libraries: nothing that another implementation could meet or miss
        "encode_arrays_equals_encode_strings", "phi_checks", "kl_vs_diffusers_AutoencoderKL", "max_abs_diff_vs_diffusers",
        "osp_decode_mutates_4d_input_shape_to",
    }
)  # fmt: skip  # of golden.json; every other fact is a claim, and must be compared


@dataclass(frozen=True)
class Row:
    """One comparison: largest absolute error and what is allowed."""

    key: str
    error: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether the error is within tolerance; never for NaN or infinity."""
        return math.isfinite(self.error) and self.error <= self.tolerance


@dataclass
class Recording:
    """One set, and the ledger of what was read from it and compared with it.

    Attributes:
        folder: where it lies.
        tensors: by key.
        facts: of golden.json.
        rows: what was compared.
        notes: what could not be, and why.
        remarks: what a reader should know although nothing is left unchecked.
    """

    folder: Path
    tensors: dict[str, Tensor]
    facts: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    _read: set[str] = field(default_factory=set)
    _settled: set[str] = field(default_factory=set)

    @classmethod
    def open(cls, folder: Path) -> "Recording":
        """Reads a set.

        Raises:
            ModelError: a file is missing or damaged.
        """
        return cls(folder, read_tensors(folder / TENSORS), read_config(folder / FACTS))

    @property
    def config(self) -> dict[str, Any]:
        """config.json without diffusers' own keys."""
        return {key: value for key, value in read_config(self.folder / "config.json").items() if not key.startswith("_")}

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights that ran, in float32."""
        return {key: value.float() for key, value in read_tensors(self.folder / WEIGHTS).items()}

    def __contains__(self, key: str) -> bool:
        return key in self.tensors

    def given(self, key: str) -> Tensor:
        """A recorded tensor as an input; this accounts for it."""
        self._read.add(key)
        return self.tensors[key]

    def wanted(self, key: str) -> Tensor:
        """A recorded tensor as an input of what comes after it; it must still be compared itself."""
        return self.tensors[key]

    def draws(self, scenario: str) -> list[tuple[str, Tensor]]:
        """The random draws of a scenario, in order: operation and value."""
        entries = self.facts.get("rng", {}).get(scenario, [])
        return [(e["op"], self.given(e["key"]) if "key" in e else torch.tensor(e["value"])) for e in entries]

    def compare(self, key: str, value: Tensor, tolerance: float | None = None) -> None:
        """Compares with a recorded tensor of the same key, if there is one; any other shape is an infinite error.

        Args:
            key: of the recorded tensor.
            value: what ours gave.
            tolerance: absolute, before it is scaled by the largest recorded value; FORWARD when not given.
        """
        if key not in self.tensors:
            return
        self._read.add(key)
        want = self.tensors[key]
        largest = _finite_max(want)
        self.rows.append(Row(key, difference(want, value), (FORWARD if tolerance is None else tolerance) * max(1.0, largest)))

    def compare_number(self, key: str, value: float, want: float, tolerance: float = FORWARD) -> None:
        """Compares with a number of golden.json; `tolerance` is scaled by it where it is larger than 1."""
        self.rows.append(Row(key, abs(value - want), tolerance * max(1.0, abs(want))))

    def compare_fact(self, key: str, value: object, want: object) -> None:
        """Compares with a fact of golden.json that must be met exactly."""
        self.rows.append(Row(key, 0.0 if value == want else float("inf"), 0.0))

    def settle(self, *names: str) -> None:
        """Accounts for facts that were compared: one of golden.json, or one within it, such as `gen.g5`."""
        self._settled.update(names)

    def attempt(self, name: str, replay: Callable[[], None]) -> None:
        """Replays one case. What is wrong with it is noted, and keeps no other case from being replayed."""
        try:
            replay()
        except (ModelError, *MALFORMED) as fault:
            self.lacks(name, fault)

    def lacks(self, name: str, fault: Exception) -> None:
        """Notes that something was not replayed to its end, and why."""
        logger.debug("%s: %s", self.folder, name, exc_info=fault)
        kind = "" if isinstance(fault, ModelError) else f"{type(fault).__name__}: "
        why = f"{fault} is missing" if isinstance(fault, KeyError) else f"{kind}{fault}"
        self.notes.append(f"{name}: not replayed to its end: {why}".splitlines()[0])

    def knows(self, name: str, facts: Iterable[str], known: Iterable[str]) -> bool:
        """Whether all settings of a case are known here; if not, that is noted."""
        if unknown := sorted(set(facts) - set(known)):
            self.notes.append(f"{name}: settings not known here: {', '.join(unknown)}")
        return not unknown

    @property
    def not_checked(self) -> list[str]:
        """Recorded tensors that were neither compared nor read as an input, and claims of golden.json that were not compared."""
        return [*sorted(set(self.tensors) - self._read), *(f"{FACTS}: {name}" for name in self._open_claims())]

    def _open_claims(self) -> list[str]:
        names: list[str] = []
        for name, value in self.facts.items():
            if name in DESCRIPTIONS or name in self._settled:
                continue
            names += [f"{name}.{inner}" for inner in value] if isinstance(value, dict) else [name]
        return sorted(set(names) - self._settled)


class Replay:
    """A noise source that hands out recorded draws, in order."""

    def __init__(self, draws: Iterable[tuple[str, Tensor]]) -> None:
        self.left = [value for _, value in draws]

    def order(self, num_patches: int) -> Tensor:
        """The recorded order of the patches, (B, N)."""
        uniform = self._next()
        return uniform.reshape(len(uniform), num_patches).argsort(1)

    def grid(self, channels: int, height: int, width: int) -> Tensor:
        """The next recorded noise, (B, C, H, W)."""
        noise = self._next()
        return noise.reshape(len(noise), channels, height, width)

    def _next(self) -> Tensor:
        if not self.left:
            raise ModelError("the recording holds fewer random draws than this generation asks for")
        return self.left.pop(0)


def difference(want: Tensor, value: Tensor) -> float:
    """Largest absolute difference; infinite where shapes or infinities differ, NaN where one is."""
    if want.shape != value.shape:
        return float("inf")
    if not want.numel():
        return 0.0
    a, b = want.double(), value.detach().cpu().double()
    same = (a == b) & a.isinf()  # equal infinities, as in an attention mask
    return float((a - b).abs().masked_fill(same, 0.0).max())


def mask_of(uniform: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    """Recorded uniform draws (R, N, 1) and the ratio -> kept ids (R, K) and the mask (R, N, 1), 1 where hidden."""
    kept, _ = split_order(uniform[..., 0].argsort(1), ratio)
    return kept, torch.ones_like(uniform).scatter(1, kept.unsqueeze(-1), 0.0)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file.

    Raises:
        ModelError: it is missing or damaged.
    """
    if not path.is_file():
        raise ModelError(f"{path} is missing: the recording is incomplete")
    try:
        return load_file(path)
    except SafetensorError as fault:
        raise ModelError(f"{path} is damaged ({fault}): fetch it again") from None


def _finite_max(tensor: Tensor) -> float:
    finite = tensor.double()[tensor.double().isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0
