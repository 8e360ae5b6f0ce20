"""How long finding takes among many shots: by tag, by words, by likeness, and by all three.

    python benchmarks/search.py --shots 100000

The shots are made up: random vectors of 512 numbers around 500 centres, tags and words drawn from the taxonomy. They go into a
catalog of their own as `data-tools tag` writes them. Prints the median and the 95th percentile of 200 queries of each kind, in one
process, after one of each to warm up; and beside them, in the same run, the time of one plain comparison of the query with all
vectors by numpy, so that the ratio can be read on any machine. Writes benchmarks/results/search.json.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from data_tools import fusion
from data_tools.catalog import Catalog, ShotRow
from lora_studio.files import write_json
from lora_studio.records import Shot, Tag
from lora_studio.taxonomy import AXES
from lora_studio.threads import share_cores
from lora_studio.workspace import Workspace

WIDTH, CENTRES, QUERIES, BATCH = 512, 500, 200, 20_000
THINGS = ("bottle", "can", "jar", "box", "cup", "flask", "cone", "ring", "tube", "figure")
COLOURS = ("red", "blue", "green", "yellow", "white", "black", "pink", "teal")


def made_up(number: int, chance: np.random.Generator) -> Shot:
    """A shot nobody shot."""
    tags = {axis: fusion.fuse({"metadata": {str(chance.choice(list(values))): 0.95}}) for axis, values in AXES.items()}
    return Shot(
        shot_id=f"{number:016x}", footage_id=f"{number // 10:016x}", index=number % 10, start_pts=0, end_pts=48, time_base=(1, 24),
        start_s=0.0, end_s=2.0, path=f"catalog/shots/{number:016x}.mp4", sha256="0" * 64, num_frames=48, fps=24.0, width=854,
        height=480,
        tags={axis: Tag.model_validate(tag.model_dump()) for axis, tag in tags.items()},
        content=f"a {chance.choice(COLOURS)} {chance.choice(THINGS)} on a {chance.choice(COLOURS)} table",
    )  # fmt: skip


def fill(catalog: Catalog, count: int) -> np.ndarray:
    """Puts shots into a catalog; returns their vectors (S, D)."""
    chance = np.random.default_rng(0)
    centres = chance.normal(size=(CENTRES, WIDTH))
    vectors = (centres[chance.integers(0, CENTRES, count)] + 0.5 * chance.normal(size=(count, WIDTH))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for start in range(0, count, BATCH):
        numbers = range(start, min(count, start + BATCH))
        catalog.put_shots([ShotRow(made_up(number, chance), {}, vectors[number]) for number in numbers])
    catalog.compact()
    return vectors


def timed(ask: Callable[[int], object]) -> dict[str, float]:
    """Milliseconds of `QUERIES` calls, after one to warm up."""
    ask(0)
    spent = []
    for number in range(QUERIES):
        start = time.perf_counter()
        ask(number)
        spent.append(1000 * (time.perf_counter() - start))
    return {"median ms": round(float(np.median(spent)), 2), "95th percentile ms": round(float(np.percentile(spent, 95)), 2)}


def main() -> None:
    """Fills, asks, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shots", type=int, default=100_000)
    options = parser.parse_args()
    share_cores()
    with tempfile.TemporaryDirectory() as folder:
        catalog = Catalog(Workspace.at(folder))
        vectors = fill(catalog, options.shots)
        catalog.index()
        chance = np.random.default_rng(1)
        asked = vectors[chance.integers(0, len(vectors), QUERIES)]
        things, scales = [chance.choice(THINGS) for _ in range(QUERIES)], list(AXES["angle.scale"])
        found = {
            "tags": timed(lambda n: catalog.find({"angle.scale": scales[n % 7], "light.direction": "back"})),
            "words": timed(lambda n: catalog.find({}, [things[n]])),
            "likeness": timed(lambda n: catalog.find({}, (), asked[n])),
            "all three": timed(lambda n: catalog.find({"angle.scale": scales[n % 7]}, [things[n]], asked[n])),
            "numpy, likeness alone": timed(lambda n: np.argpartition(vectors @ asked[n], -20)[-20:]),
        }
        nearest = [set(np.argsort(vectors @ query)[-10:].tolist()) for query in asked[:50]]
        told = [{int(row.shot.shot_id, 16) for row, _ in catalog.find({}, (), query, 10)} for query in asked[:50]]
        recall = float(np.mean([len(a & b) / 10 for a, b in zip(nearest, told, strict=True)]))
    result = {"shots": options.shots, "width": WIDTH, "recall of the nearest ten": round(recall, 3), "queries": found}
    write_json(Path(__file__).parent / "results" / "search.json", result)
    for name, times in found.items():
        print(f"{name:24}" + "".join(f"{key} {value:8.2f}   " for key, value in times.items()))
    print(f"{options.shots} shots; of the ten nearest, {recall:.1%} are found")


if __name__ == "__main__":
    main()
