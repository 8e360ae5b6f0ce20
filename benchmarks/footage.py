"""Taking in and tagging footage, beside the two tools one would else put together; and its memory and cost as footage grows.

    python benchmarks/footage.py                          # about half an hour on two cores
    python benchmarks/footage.py --minutes 1 --compare 1  # smaller films: for trying it out

Draws films of 1920 x 1080 at 24 frames a second (H.264, a key frame every 250), textures that the camera moves over, with
known cuts. `ours` is `data-tools ingest` and `tag`: hash, cuts, normalised clips, everything that is measured, and five frames a
shot looked at by open_clip. `plain` is PySceneDetect's command line with its adaptive detector and then a loop that shows every
frame to the same open_clip model, in batches of 32. The model is a ViT-B-32 of random weights: speed does not depend on them. Both
run on one film, taking turns, each in processes of its own; then ours runs alone on every film. Memory is the largest
resident set that one process had, polled ten times a second. Writes benchmarks/results/footage.json.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))
from data_tools.catalog import Catalog
from lora_studio.files import write_json
from lora_studio.video import write_video
from lora_studio.workspace import Workspace

FPS, HEIGHT, WIDTH, MARGIN = 24, 1080, 1920, 240
SHOTS_S = (3.0, 5.0, 2.0, 6.0, 4.0)  # in turn
MODEL = "ViT-B-32"
BATCH = 32
# compiled modules are kept, as they are where nobody forbids it: else every process would spend seconds on compiling torch's
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
RESULT = Path(__file__).parent / "results" / "footage.json"


def texture(seed: int) -> np.ndarray:
    """A picture full of corners, larger than a frame, (H, W, 3) uint8."""
    chance = np.random.default_rng(seed)
    coarse = chance.integers(0, 256, (HEIGHT // 40 + 14, WIDTH // 40 + 14, 1)) // 3
    fine = chance.integers(0, 256, (HEIGHT // 8 + 70, WIDTH // 8 + 70, 1)) // 3
    large = [np.kron(part, np.ones((size, size, 1))) for part, size in ((coarse, 40), (fine, 8))]
    grey = sum(part[: HEIGHT + MARGIN, : WIDTH + MARGIN] for part in large) + 40
    return np.clip(grey * chance.uniform(0.4, 1.2, 3), 0, 255).astype(np.uint8)


def draw_film(path: Path, minutes: float, seed: int) -> list[float]:
    """Writes a film; returns its cuts in seconds."""
    lengths: list[int] = []
    while sum(lengths) < minutes * 60 * FPS:
        lengths.append(round(SHOTS_S[len(lengths) % len(SHOTS_S)] * FPS))

    def frames():
        for number, length in enumerate(lengths):
            picture, move = texture(1000 * seed + number), number % 3
            for index in range(length):
                x, y = (index if move == 1 else 0), (index if move == 2 else 0)
                yield picture[y : y + HEIGHT, x : x + WIDTH]

    write_video(path, frames(), Fraction(FPS), crf=23, gop=250)
    return [float(cut) / FPS for cut in np.cumsum(lengths)[:-1]]


def run(command: list[str]) -> tuple[float, float, float]:
    """Runs a command; returns seconds, and the largest resident set in MB of the process itself and of one of its children."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = psutil.Popen([str(part) for part in command], stdout=said, stderr=subprocess.STDOUT, env=ENVIRONMENT)
        own = children = 0.0
        while process.poll() is None:
            try:
                own = max(own, process.memory_info().rss / 2**20)
                children = max([children, *(child.memory_info().rss / 2**20 for child in process.children(recursive=True))])
            except psutil.NoSuchProcess:
                pass  # one ended while it was looked at
            time.sleep(0.1)
        said.seek(0)
        if process.returncode:
            raise SystemExit(f"{command} failed:\n{said.read().decode()}")
    return time.perf_counter() - started, own, children


def ours(film: Path, model: Path, folder: Path) -> dict[str, float]:
    """Seconds and megabytes of taking in and tagging one film in a workspace of its own."""
    tools = [sys.executable, "-m", "data_tools"]
    run([*tools, "init", folder, "--name", "Bench", "--trigger", "benchlook", "--owner", "Bench", "--cleared"])
    ingest = run([*tools, "ingest", folder, film.parent])
    tag = run([*tools, "tag", folder, "--vision", model])
    return {"ingest s": ingest[0], "tag s": tag[0], "s": ingest[0] + tag[0],
            "worker MB": max(ingest[2], tag[2]), "parent MB": max(ingest[1], tag[1])}  # fmt: skip


def plain(film: Path, model: Path, folder: Path) -> dict[str, float]:
    """Seconds and megabytes of PySceneDetect's command line and a loop over every frame."""
    tool = Path(sys.executable).with_name("scenedetect")
    cuts = run([tool, "--quiet", "--input", film, "--output", folder, "detect-adaptive", "list-scenes"])
    loop = run([sys.executable, __file__, "--loop", film, model])
    return {"cuts s": cuts[0], "loop s": loop[0], "s": cuts[0] + loop[0], "MB": max(cuts[1], loop[1])}


def loop_over(film: Path, model_folder: Path) -> None:
    """Shows every frame of a film to an open_clip model."""
    import av
    import open_clip
    import torch

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{model_folder}")
    model.eval()
    with av.open(str(film)) as container, torch.inference_mode():
        waiting = []
        for frame in container.decode(video=0):
            waiting.append(preprocess(frame.to_image()))  # type: ignore[operator]
            if len(waiting) == BATCH:
                model.encode_image(torch.stack(waiting))
                waiting = []
        if waiting:
            model.encode_image(torch.stack(waiting))


def make_model(folder: Path) -> None:
    """An open_clip folder of random weights."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    config = open_clip.get_model_config(MODEL)
    save_file(open_clip.create_model(MODEL).state_dict(), folder / "open_clip_model.safetensors")
    numbers = {"size": 224, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    preprocess = {**numbers, "interpolation": "bicubic", "resize_mode": "longest"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))


def starts_of(workspace: Path) -> list[float]:
    """Where our shots begin, the first left out."""
    return sorted(row.shot.start_s for row in Catalog(Workspace.open(workspace)).shots() if row.shot.index)


def listed(folder: Path) -> list[float]:
    """Where PySceneDetect's scenes begin, the first left out."""
    (table,) = folder.glob("*-Scenes.csv")
    rows = [row for row in csv.reader(table.open()) if row and row[0].isdecimal()]
    return [float(row[3]) for row in rows[1:]]


def agree(cuts: list[float], others: list[float]) -> bool:
    """The same cuts, to one frame."""
    return len(cuts) == len(others) and all(abs(a - b) <= 1.01 / FPS for a, b in zip(cuts, others, strict=True))


def rounded(row: dict[str, float]) -> dict[str, float]:
    """To one decimal."""
    return {key: round(value, 1) for key, value in row.items()}


def main() -> None:
    """Draws, runs, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 2, 4, 8], help="lengths of the films")
    parser.add_argument("--compare", type=float, default=2, metavar="MINUTES", help="the film that both run on")
    parser.add_argument("--repeats", type=int, default=3, help="turns of the comparison")
    parser.add_argument("--loop", nargs=2, metavar=("FILM", "MODEL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.loop:
        loop_over(*map(Path, options.loop))
        return
    with tempfile.TemporaryDirectory() as scratch:
        root, model = Path(scratch), Path(scratch) / "model"
        model.mkdir()
        make_model(model)
        films = {minutes: root / f"{minutes:g}" / "film.mp4" for minutes in sorted({*options.minutes, options.compare})}
        truth = {minutes: draw_film(film, minutes, number) for number, (minutes, film) in enumerate(films.items())}
        turns = []
        for turn in range(options.repeats):
            ours_row = ours(films[options.compare], model, root / f"ours{turn}")
            plain_row = plain(films[options.compare], model, root / f"plain{turn}")
            turns.append({"ours": rounded(ours_row), "plain": rounded(plain_row), "ratio": plain_row["s"] / ours_row["s"]})
            print(turns[-1], flush=True)
        found, theirs = starts_of(root / "ours0"), listed(root / "plain0")
        growth = {f"{minutes:g}": rounded(ours(film, model, root / f"grow{minutes:g}")) for minutes, film in films.items()}
        right = all(agree(starts_of(root / f"grow{minutes:g}"), truth[minutes]) for minutes in films)
    ratios = [turn["ratio"] for turn in turns]
    result = {
        "film minutes": options.compare, "turns": turns, "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(one, 2) for one in ratios], "same cuts as PySceneDetect": agree(found, theirs),
        "all cuts right": right, "growth": growth,
    }  # fmt: skip
    write_json(RESULT, result)
    print(f"plain / ours: {result['ratio']} (each turn: {result['ratios']}); same cuts: {result['same cuts as PySceneDetect']}")
    for minutes, row in growth.items():
        print(f"{minutes:>5} min: {row['s']:7.1f} s, {row['s'] / float(minutes):6.1f} s a minute, "
              f"a worker {row['worker MB']:.0f} MB, the parent {row['parent MB']:.0f} MB")  # fmt: skip
    print(f"all cuts where they were drawn: {right}")


if __name__ == "__main__":
    main()
