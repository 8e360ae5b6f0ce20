"""One brand of the learning proof: makes what is missing, measures an adapter's clips beside the base's and real footage.

B clips, F frames, H W pixels.
"""

import fcntl
import math
import os
import statistics
from collections.abc import Sequence
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

SETTINGS: Final = SamplerSettings(num_steps=32, num_diffusion_steps=25, temperature=0.7, guidance=3.0)


def work_of(work: Path, folder: Path) -> Path:
    """Where footage, runs and clips of one model, sampled in one way, are kept: no other model or shoot meets them."""
    return work / sha256_json([model_of(folder), SETTINGS.model_dump(), learning_brand.shoots_sha256()])[:12]


def model_of(folder: Path) -> str:
    """Hash of all that makes a clip."""
    return sha256_json([model_sha256(folder, part) for part in ("transformer", "vae", "text_encoder")])


class Lines:
    """The lines of one part's table, written to its file one by one; other processes may add theirs meanwhile.

    Lines of the file are kept as long as model, sampler, recipe, shoots and judge are the same, wherever they were measured.
    """

    def __init__(self, path: Path, same: dict[str, Any]) -> None:
        self.path, self.same = path, same

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What the file holds now; none if it is of another model, sampler, recipe, shoot or judge."""
        old = read_json(self.path) if self.path.is_file() else {}
        return old["runs"] if {key: old.get(key) for key in self.same} == self.same else []

    def has(self, **key: Any) -> bool:
        """Whether a line with these values is there."""
        return any(all(line.get(name) == value for name, value in key.items()) for line in self.lines)

    def add(self, line: dict[str, Any]) -> None:
        """Keeps a line."""
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
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
        unshot = brand & ~np.array([row.was_shot for row in self.rows])
        score, base, real = self.raw(clips, ours), self.raw(self.base, theirs), self.raw(self.real, self.real_seen)
        decoded = self.raw(self.decoded, look(self.judge, self.decoded))
        told: dict[str, float | None] = {}
        for axis in score:
            ceiling = real[axis]
            told |= {f"{axis} base": base[axis][brand].mean(), f"{axis} adapter": score[axis][brand].mean()}
            told[f"{axis} real"] = ceiling.mean()
            told[f"{axis} index"] = learning_scores.index(score[axis][brand], base[axis][brand], ceiling)
            told[f"{axis} index decoded"] = learning_scores.index(decoded[axis], base[axis][brand], ceiling)
            told[f"{axis} index unshot"] = learning_scores.index(score[axis][unshot], base[axis][unshot], ceiling)
            leaked = base[axis][brand] + (score[axis] - base[axis])[~brand].mean()  # as far from the base as it moved unasked
            told[f"{axis} leakage"] = learning_scores.index(leaked, base[axis][brand], ceiling)
        asked = (learning_scores.fidelity(ours, self.rows), learning_scores.fidelity(theirs, self.rows))
        told |= {"fidelity base": asked[1].mean(), "fidelity adapter": asked[0].mean(),
                 "fidelity real": learning_scores.fidelity(self.real_seen, self.real_rows).mean(),
                 "fidelity loss": asked[1].mean() - asked[0].mean(),
                 "fidelity loss unshot": asked[1][unshot].mean() - asked[0][unshot].mean()}  # fmt: skip
        picked = Seen(ours.features[brand], {}), [row for row in self.rows if row.is_brand]
        before = Seen(theirs.features[brand], {}), picked[1]
        told["copies"] = learning_scores.copies(picked[0], self.real_seen, self.training)
        told["diversity of base"] = learning_scores.diversity(*picked) / learning_scores.diversity(*before)
        return {key: None if value is None else round(float(value), 4) for key, value in told.items()}


def strip_of(proof: Proof, clips: np.ndarray) -> np.ndarray:
    """Six prompts of a brand, middle frames: real footage above, then the base, then the adapter. (3 H, 6 W, 3)"""
    chosen = [number for number, row in enumerate(proof.rows) if row.is_brand and row.seed == 0][::2]
    real = [number for number, row in enumerate(proof.real_rows) if row.seed == 0][::2]
    rows = (proof.real[real, 4], proof.base[chosen, 4], clips[chosen, 4])
    return np.concatenate([np.concatenate(list(row), axis=1) for row in rows])


def means_of(lines: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean over brands and seeds, and the half width of its 95 % interval over the seeds' means.

    A seed that not all brands of the table have been trained with yet is left out: brands differ more than seeds do.
    """
    trained: dict[int, set[str]] = {}
    for line in lines:
        trained.setdefault(line["seed"], set()).add(line["brand"])
    seeds = sorted(seed for seed, brands in trained.items() if brands == set().union(*trained.values()))
    found: dict[str, dict[str, float]] = {}
    for key in (key for key in lines[0] if key not in ("brand", "seed")):
        values = [[line[key] for line in lines if line["seed"] == seed and line[key] is not None] for seed in seeds]
        by_seed = [statistics.fmean(part) for part in values if part]  # an axis that tells nothing of a brand leaves it out
        if not by_seed:
            continue
        error = statistics.stdev(by_seed) / len(by_seed) ** 0.5 if len(by_seed) > 1 else math.nan
        found[key] = {"mean": round(statistics.fmean(by_seed), 4), "±": round(float(stdtrit(len(by_seed) - 1, 0.975)) * error, 4)}
    return found
