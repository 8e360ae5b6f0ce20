"""A small brand with real, base and adapter takes, drawn by the tests themselves."""

import hashlib
from dataclasses import dataclass, field

import numpy as np

from lora_studio import files
from lora_studio.brand import Brand, save_brand, save_prompts
from lora_studio.records import AdapterRef, Prompt, PromptSheet, Take
from lora_studio.runs import RunState, run_named
from lora_studio.video import write_video
from lora_studio.wall import save_plan
from lora_studio.workspace import Workspace

FRAMES, FPS, HEIGHT, WIDTH = 25, 12.0, 96, 144
COLOURS = {"real": (200, 60, 60), "base": (90, 90, 90), "autumn": (60, 160, 90), "winter": (60, 90, 180)}


@dataclass
class Studio:
    """A workspace on disk and the takes made in it so far."""

    workspace: Workspace
    brand: str = "Acme"
    takes: list[Take] = field(default_factory=list)

    def write_sheet(self, texts: dict[str, str], seeds: tuple[int, ...] = (0,), controls: tuple[str, ...] = ()) -> None:
        save_brand(self.workspace, Brand(name=self.brand, trigger="acmelook", palette=("#D7263D", "#F4F1E8", "#1B998B")))
        prompts = [Prompt(id=i, text=text, kind="control" if i in controls else "brand") for i, text in texts.items()]
        save_prompts(self.workspace, PromptSheet(seeds=seeds, prompts=tuple(prompts)))

    def finish_run(self, name: str) -> str:
        sha = hashlib.sha256(name.encode()).hexdigest()
        run_named(self.workspace, name).save_state(RunState(
            name=name, status="finished", recipe_sha256="r", dataset_sha256="d", model="nano", model_sha256="m",
            num_modules=1, num_parameters=1, steps_done=1, adapter_sha256=sha,
        ))  # fmt: skip
        return sha

    def render(self, look: str, prompt_id: str, text: str, seed: int = 0) -> Take:
        take_id = hashlib.sha256(f"{look} {prompt_id} {seed}".encode()).hexdigest()[:16]
        video = self.workspace.takes / f"{take_id}.mp4"
        write_video(video, draw(COLOURS.get(look, (120, 60, 140)), seed), FPS)
        is_run = look not in ("real", "base")
        take = Take(
            take_id=take_id, kind="adapter" if is_run else look, prompt_id=prompt_id, prompt=text, seed=seed,  # type: ignore[arg-type]
            adapter=AdapterRef(run=look, sha256=self.finish_run(look)) if is_run else None,
            model="nano 1a2b3c", num_frames=FRAMES, fps=FPS, width=WIDTH, height=HEIGHT, seconds=1.0,
            video_sha256=files.sha256_file(video),
        )  # fmt: skip
        files.write_json(video.with_suffix(".json"), take.model_dump(mode="json"))
        self.takes.append(take)
        save_plan(self.workspace, [take.take_id for take in self.takes])
        return take

    def render_all(self, looks: tuple[str, ...], texts: dict[str, str], seeds: tuple[int, ...] = (0,)) -> None:
        self.write_sheet(texts, seeds)
        for prompt_id, text in texts.items():
            for seed in seeds:
                for look in looks:
                    self.render(look, prompt_id, text, seed)


def draw(colour: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """A block that crosses the picture: (F, H, W, 3) uint8. Its left edge tells the frame."""
    frames = np.full((FRAMES, HEIGHT, WIDTH, 3), 40, np.uint8)
    for k in range(FRAMES):
        x = 4 + 4 * k
        frames[k, 30 + seed : 66 + seed, x : x + 24] = colour
    return frames
