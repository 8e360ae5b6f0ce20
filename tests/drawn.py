"""A small workspace drawn by hand: shots in brand colours, a dataset of five clips, and takes of known quality."""

from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from lora_studio import files
from lora_studio.brand import Brand, save_brand, save_prompts
from lora_studio.records import AdapterRef, Prompt, PromptSheet, Take
from lora_studio.runs import RunState, run_named
from lora_studio.video import write_video
from lora_studio.workspace import Workspace

HEIGHT, WIDTH, NUM_FRAMES, FPS = 48, 64, 9, 12.0
RED, CREAM, GREEN = (0xD7, 0x26, 0x3D), (0xF4, 0xF1, 0xE8), (0x20, 0xA0, 0x50)
CLIPS = {  # clip id -> shot id, split, captions
    "clip-a": ("shot-a", "train", "acmelook, a red box on cream, seen from a high angle.", "acmelook, a red box"),
    "clip-b": ("shot-b", "train", "acmelook, a red ball on cream, lit from the left.", "acmelook, a red ball"),
    "clip-c": ("shot-c", "held_out", "acmelook, a red cup on cream, seen at eye level.", "acmelook, a red cup"),
    "clip-d": ("shot-d", "held_out", "acmelook, a red bottle on cream, seen in close-up.", "acmelook, a red bottle"),
}
PROMPTS = (
    Prompt(id="cup", text="acmelook, a red cup at eye level"),
    Prompt(id="bottle", text="acmelook, a red bottle in close-up"),
    Prompt(id="control", text="a red cup at eye level", kind="control"),
)


def picture(colour: tuple[int, int, int], seed: int, flicker: float = 0.0, pan: int = 1) -> np.ndarray:
    """A coloured patch on cream with some grain that moves by `pan` pixels per frame; (9, 48, 64, 3) uint8."""
    grain = gaussian_filter(np.random.default_rng(seed).normal(0, 60, (HEIGHT, WIDTH + NUM_FRAMES * 4)), 2)
    frames = np.empty((NUM_FRAMES, HEIGHT, WIDTH, 3))
    for t in range(NUM_FRAMES):
        frames[t] = CREAM
        frames[t, 8:40, 12:52] = colour
        frames[t] = (frames[t] + grain[:, pan * t : pan * t + WIDTH, None]) * (1 + flicker * (-1) ** t)
    return np.clip(frames, 0, 255).round().astype(np.uint8)


def draw_workspace(root: Path, palette: tuple[str, ...] = ("#D7263D", "#F4F1E8")) -> Workspace:
    """brand.toml, prompts.toml, four shots and the dataset made of them."""
    workspace = Workspace.at(root)
    save_brand(workspace, Brand(name="Acme", trigger="acmelook", palette=palette))
    save_prompts(workspace, PromptSheet(seeds=(0, 1), prompts=PROMPTS))
    for number, (shot_id, *_) in enumerate(CLIPS.values()):
        write_video(workspace.shots / f"{shot_id}.mp4", picture(RED, number), FPS)
    _write_dataset(workspace)
    return workspace


def _write_dataset(workspace: Workspace) -> None:
    from datasets import Dataset, DatasetDict

    splits = {}
    for split in ("train", "held_out"):
        splits[split] = Dataset.from_list(
            [
                {"clip_id": clip, "shot_id": shot, "start_s": 0.0, "caption_long": long, "caption_short": short, "moments": b""}
                for clip, (shot, its_split, long, short) in CLIPS.items()
                if its_split == split
            ]
        )
    DatasetDict(splits).save_to_disk(str(workspace.dataset / "clips"))
    manifest = {"model": "nano", "num_frames": NUM_FRAMES, "fps": FPS, "height": HEIGHT, "width": WIDTH, "dataset_sha256": "d" * 64}
    files.write_json(workspace.dataset / "manifest.json", manifest)


def finish_run(workspace: Workspace, name: str, before: float = 1.0, after: float = 0.8) -> RunState:
    """A run.json that says a run is finished; there is no adapter beside it."""
    state = RunState(
        name=name, status="finished", recipe_sha256="r" * 64, dataset_sha256="d" * 64, model="nano", model_sha256="m" * 64,
        num_modules=4, num_parameters=4096, steps_done=100, validation_before=before, validation_after=after,
        adapter_sha256=(name[0] * 64),
    )  # fmt: skip
    run_named(workspace, name).save_state(state)
    return state


def draw_take(workspace: Workspace, frames: np.ndarray, prompt: Prompt, seed: int, look: str, clip_id: str | None = None) -> Take:
    """Writes frames as a take of `look` (`real`, `base` or the name of a finished run) with its sidecar."""
    take_id = files.sha256_json([prompt.id, seed, look])[:16]
    path = workspace.takes / f"{take_id}.mp4"
    write_video(path, frames, FPS)
    take = Take(
        take_id=take_id, kind=look if look in ("real", "base") else "adapter", prompt_id=prompt.id, prompt=prompt.text, seed=seed,
        adapter=None if look in ("real", "base") else AdapterRef(run=look, sha256=look[0] * 64), clip_id=clip_id,
        model="nano", num_frames=len(frames), fps=FPS, width=WIDTH, height=HEIGHT, seconds=0.0,
        video_sha256=files.sha256_file(path),
    )  # fmt: skip
    files.write_json(workspace.takes / f"{take_id}.json", take.model_dump(mode="json"))
    return take


def draw_takes(workspace: Workspace) -> list[Take]:
    """Real clips; a base that is green and flickers; a run `look` that is red and steady. Control prompts stay green."""
    finish_run(workspace, "look")
    takes = []
    for number, prompt in enumerate(PROMPTS):
        if prompt.kind == "brand":
            takes.append(draw_take(workspace, picture(RED, 2 + number), prompt, 0, "real", ("clip-c", "clip-d")[number]))
        for seed in (0, 1):
            grain = 10 * number + seed
            takes.append(draw_take(workspace, picture(GREEN, grain, flicker=0.03 + 0.01 * seed), prompt, seed, "base"))
            colour = RED if prompt.kind == "brand" else GREEN
            takes.append(draw_take(workspace, picture(colour, grain, flicker=0.002 * seed), prompt, seed, "look"))
    return takes
