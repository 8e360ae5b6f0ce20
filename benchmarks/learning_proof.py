"""One brand of the learning proof: makes what is missing, measures an adapter's clips beside the base's and real footage.

B clips, F frames, H W pixels.
"""

import fcntl
import math
import os
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.special import stdtrit

from benchmarks import learning_brand, learning_scores
from benchmarks.judge import load_judge
from benchmarks.learning_scores import Seen, look
from benchmarks.segmenter import load_segmenter
from data_tools.stage import BrandKit
from lora_studio.adapters.storage import adapter_sha256
from lora_studio.files import read_json, sha256_json, write_json
from lora_studio.generation.settings import SamplerSettings
from lora_studio.nova.weights import model_sha256
from lora_studio.runs import Run

PICTURED: Final = (0, 3, 5, 6, 9, 11)  # of a brand's twelve prompts: two of each angle, every light, shot and not
SETTINGS: Final = SamplerSettings(num_steps=32, num_diffusion_steps=25, temperature=0.7, guidance=3.0)


def work_of(work: Path, folder: Path, kits: Iterable[BrandKit]) -> Path:
    """Where footage, runs and clips of one model, sampled in one way, are kept: no other model or shoot meets them."""
    return work / sha256_json([model_of(folder), SETTINGS.model_dump(), learning_brand.shoots_sha256(kits)])[:12]


def model_of(folder: Path) -> str:
    """Hash of all that makes a clip."""
    return sha256_json([model_sha256(folder, part) for part in ("transformer", "vae", "text_encoder")])


def require_same(path: Path, same: dict[str, Any]) -> None:
    """Nothing, if the table at `path` was made with what `same` says, or there is none.

    Raises:
        SystemExit: it was made with something else; hours of measurements are not written over.
    """
    old = read_json(path) if path.is_file() else same
    other = [key for key in same if old.get(key) != same[key]]
    if other:
        raise SystemExit(f"{path} was measured with another {', '.join(other)}: move it away to begin a new table")


class Lines:
    """The lines of one part's table, written to its file one by one; other processes may add theirs meanwhile."""

    def __init__(self, path: Path, same: dict[str, Any]) -> None:
        """Opens the table at `path`, whose lines all have the model, sampler, recipe, shoots and judge of `same`.

        Raises:
            SystemExit: the table there is of another model, sampler, recipe, shoot or judge.
        """
        self.path, self.same = path, same
        require_same(path, same)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What the file holds now."""
        return read_json(self.path)["runs"] if self.path.is_file() else []

    def has(self, **key: Any) -> bool:
        """Whether a line with these values is there."""
        return any(all(line.get(name) == value for name, value in key.items()) for line in self.lines)

    def add(self, line: dict[str, Any]) -> None:
        """Keeps a line."""
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            require_same(self.path, self.same)
            write_json(self.path, {**self.same, "runs": [*self.lines, line]})
        finally:
            os.close(folder)


class Proof:
    """One brand: its footage, what is asked, and the ruler that its clips are measured with."""

    def __init__(
        self, work: Path, kit: BrandKit, folder: Path, model: str, num_files: int = 12, seeds: Sequence[int] = learning_brand.SEEDS
    ) -> None:
        self.kit, self.folder = kit, folder
        name = kit.name.lower() if num_files == 12 else f"{kit.name.lower()}_{num_files}"
        self.rows, self.judge, self.segmenter = learning_brand.asked(kit, seeds), load_judge(), load_segmenter()
        self.clips_folder = work / f"{name}_clips_{len(seeds)}"
        self.workspace = learning_brand.prepare(work, name, kit, model, num_files)
        real = learning_brand.clips_of(self.clips_folder / "real.npy", lambda: learning_brand.real_clips(kit, self.rows))
        self.real, self.real_seen = real, look(self.judge, real)
        self.decoded = learning_brand.clips_of(self.clips_folder / "decoded.npy", lambda: learning_brand.through_vae(folder, real))
        self.usual_shares = learning_scores.usual_shares(self.colour_shares(real))
        self.real_rows = [row for row in self.rows if row.is_brand and row.seed < 2]
        self.trained_cells = learning_brand.trained_cells(self.workspace)
        products = learning_brand.gallery(kit, self.rows)
        self.look_alikes = [look(self.judge, stills[:, None]).features for stills in products]
        self.training = look(self.judge, learning_brand.training_frames(self.workspace)[:, None]).features
        self.base = self.clips(None)

    def clips(self, run: Run | None) -> np.ndarray:
        """All that is asked for, by the base or with a run's adapter; made once for each adapter."""
        rows = [(row.text, row.seed) for row in self.rows]
        name = "base" if run is None else f"{run.name}-{adapter_sha256(run.adapter)[:12]}"
        adapter = None if run is None else run.adapter
        path = self.clips_folder / f"{name}.npy"
        return learning_brand.clips_of(path, lambda: learning_brand.make_clips(self.folder, rows, SETTINGS, adapter))

    def raw(self, clips: np.ndarray, seen: Seen) -> dict[str, np.ndarray]:
        """What can be indexed, clip by clip."""
        colours = learning_scores.palette(self.colour_shares(clips), self.usual_shares)
        named = learning_scores.identity(seen, self.look_alikes)
        return {"palette": colours, "identity": named, "motion": learning_scores.motion(clips)}

    def colour_shares(self, clips: np.ndarray) -> np.ndarray:
        """(B, K), how much of the product is near each of the brand's colours."""
        return learning_scores.colour_shares(learning_scores.product_cells(self.segmenter, clips), self.kit.product)

    def measure(self, clips: np.ndarray) -> dict[str, float | None]:
        """One line of the table: the scores of an adapter's clips beside those of the base."""
        ours, theirs = look(self.judge, clips), look(self.judge, self.base)
        brand = np.array([row.is_brand for row in self.rows])
        unshot = brand & np.array([(row.angle, row.light) not in self.trained_cells for row in self.rows])
        told = self._indices(clips, ours, theirs, brand, unshot)
        asked = (learning_scores.fidelity(ours, self.rows), learning_scores.fidelity(theirs, self.rows))
        told |= {"fidelity base": asked[1].mean(), "fidelity adapter": asked[0].mean(),
                 "fidelity real": learning_scores.fidelity(self.real_seen, self.real_rows).mean(),
                 "fidelity loss": asked[1].mean() - asked[0].mean(),
                 "fidelity loss unshot": asked[1][unshot].mean() - asked[0][unshot].mean()}  # fmt: skip
        for side, made in (("base", self.base), ("adapter", clips)):
            named = zip(learning_scores.backdrops(self.segmenter, made), self.rows, strict=True)
            told[f"backdrop {side}"] = float(np.mean([name == row.backdrop for name, row in named if row.is_brand]))
        rows = [row for row in self.rows if row.is_brand]
        picked, before = Seen(ours.features[brand], {}), Seen(theirs.features[brand], {})
        told["copies"] = learning_scores.copies(picked, self.real_seen, self.training)
        told["diversity of base"] = learning_scores.diversity(picked, rows) / learning_scores.diversity(before, rows)
        return {key: None if value is None else round(float(value), 4) for key, value in told.items()}

    def _indices(
        self, clips: np.ndarray, ours: Seen, theirs: Seen, brand: np.ndarray, unshot: np.ndarray
    ) -> dict[str, float | None]:
        """Palette, identity and motion: the raw scores of all sides and the index of this one, whole and in parts."""
        score, base, real = self.raw(clips, ours), self.raw(self.base, theirs), self.raw(self.real, self.real_seen)
        decoded = self.raw(self.decoded, look(self.judge, self.decoded))
        prompts, real_prompts = [row.prompt_id for row in self.rows if row.is_brand], [row.prompt_id for row in self.real_rows]
        told: dict[str, float | None] = {}
        for axis, floor in base.items():
            ceiling, sides = real[axis], (score[axis][brand], floor[brand], real[axis])
            told |= {f"{axis} base": floor[brand].mean(), f"{axis} adapter": score[axis][brand].mean()}
            told |= {f"{axis} real": ceiling.mean(), f"{axis} index": learning_scores.index(*sides)}
            if told[f"{axis} index"] is not None:
                low, high = learning_scores.index_interval(*sides, prompts, real_prompts)
                told |= {f"{axis} index low": low, f"{axis} index high": high}
            told[f"{axis} index decoded"] = learning_scores.index(decoded[axis], floor[brand], ceiling)
            told[f"{axis} index unshot"] = learning_scores.index(score[axis][unshot], floor[unshot], ceiling)
            leaked = floor[brand] + (score[axis] - floor)[~brand].mean()  # as far from the base as it moved unasked
            told[f"{axis} leakage"] = learning_scores.index(leaked, floor[brand], ceiling)
        return told


def strip_of(proof: Proof, clips: np.ndarray) -> np.ndarray:
    """Six prompts of a brand, middle frames: real footage above, then the base, then the adapter. (3 H, 6 W, 3)"""
    chosen = [number for number, row in enumerate(proof.rows) if row.is_brand and row.seed == 0]
    real = [number for number, row in enumerate(proof.real_rows) if row.seed == 0]
    chosen, real = ([numbers[prompt] for prompt in PICTURED] for numbers in (chosen, real))
    rows = (proof.real[real, 4], proof.base[chosen, 4], clips[chosen, 4])
    return np.concatenate([np.concatenate(list(row), axis=1) for row in rows])


def means_of(lines: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean over brands and seeds, the half width of its 95 % interval over the seeds' means, and each brand's mean.

    A seed that not all brands of the table have been trained with yet is left out: brands differ more than seeds do. So is a brand
    of which an axis tells nothing.
    """
    brands = list(dict.fromkeys(line["brand"] for line in lines))
    seeds = sorted({line["seed"] for line in lines})
    kept = [seed for seed in seeds if {line["brand"] for line in lines if line["seed"] == seed} == set(brands)]
    found: dict[str, dict[str, float]] = {}
    for key in dict.fromkeys(key for line in lines for key in line if key not in ("brand", "seed")):
        known = [line for line in lines if line["seed"] in kept and line.get(key) is not None]
        by_seed = [statistics.fmean(part) for seed in kept if (part := [line[key] for line in known if line["seed"] == seed])]
        if not by_seed:
            continue
        error = statistics.stdev(by_seed) / len(by_seed) ** 0.5 if len(by_seed) > 1 else math.nan
        found[key] = {"mean": round(statistics.fmean(by_seed), 4), "±": round(float(stdtrit(len(by_seed) - 1, 0.975)) * error, 4)}
        for brand in brands:
            if part := [line[key] for line in known if line["brand"] == brand]:
                found[key][brand] = round(statistics.fmean(part), 4)
    return found
