"""What one workspace has to show: the current takes, whether their clips are whole, and what was measured on them.

Reads the workspace afresh each time, so that takes rendered while the page is open appear on the next reload. Knows no
votes, no page and no web.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

from lora_studio import files
from lora_studio.brand import Brand, load_brand, load_prompts
from lora_studio.consistency.scores import Scores, TakeScore, read_scores
from lora_studio.records import Prompt, Take
from lora_studio.review.contests import Contest, contests_between
from lora_studio.wall import current_takes
from lora_studio.workspace import Workspace


@dataclass(frozen=True)
class Catalogue:
    """The takes of one workspace, ordered for showing.

    `faults` says by take id why a clip cannot be shown. `looks` is `real`, `base` and the runs by name, as far as they
    have takes. `scores` is None when nothing was measured yet.
    """

    workspace: Workspace
    brand: Brand
    prompts: tuple[Prompt, ...]
    seeds: tuple[int, ...]
    takes: tuple[Take, ...]
    faults: dict[str, str]
    scores: Scores | None

    @property
    def looks(self) -> tuple[str, ...]:
        """The columns of the wall, from left to right."""
        names = sorted({take.look for take in self.takes if take.kind == "adapter"})
        return (*(kind for kind in ("real", "base") if any(take.kind == kind for take in self.takes)), *names)

    @property
    def contestants(self) -> int:
        """How many looks can be compared blind: the adapters, and the untrained base."""
        return sum(look != "real" for look in self.looks)

    def contests(self) -> list[Contest]:
        """Every blind comparison that can be made: whole clips of prompts that ask for the brand."""
        brand_prompts = {prompt.id for prompt in self.prompts if prompt.kind == "brand"}
        return contests_between(take for take in self.takes if take.prompt_id in brand_prompts and take.take_id not in self.faults)

    def on_wall(self, prompt: Prompt, seed: int, look: str) -> Take | None:
        """The take in one cell of the wall. Real footage has no seed: it stands beside every take of its prompt."""
        here = [take for take in self.takes if take.prompt_id == prompt.id and take.look == look]
        exact = [take for take in here if take.seed == seed]
        return next(iter(exact or (here if look == "real" else [])), None)

    def take(self, take_id: str) -> Take | None:
        """The current take of that id."""
        return next((take for take in self.takes if take.take_id == take_id), None)

    def score(self, take_id: str) -> TakeScore | None:
        """What was measured on a take; None when it was not scored."""
        return next((score for score in self.scores.takes if score.take_id == take_id), None) if self.scores else None

    def prompt(self, prompt_id: str) -> Prompt | None:
        """The prompt of that id."""
        return next((prompt for prompt in self.prompts if prompt.id == prompt_id), None)

    def video(self, take_id: str) -> Path:
        """Where a take's MP4 lies."""
        return video_file(self.workspace, take_id)


def load_catalogue(workspace: Workspace) -> Catalogue:
    """Reads brand.toml, prompts.toml and the sidecars of the current takes.

    Raises:
        BrandError: brand.toml or prompts.toml is wrong, or there are takes and no prompts.toml.
        WorkspaceError: a sidecar is damaged.
    """
    takes = tuple(current_takes(workspace))
    sheet = load_prompts(workspace) if takes else None
    return Catalogue(
        workspace=workspace,
        brand=load_brand(workspace),
        prompts=sheet.prompts if sheet else (),
        seeds=tuple(dict.fromkeys(take.seed for take in takes if take.kind != "real")),
        takes=takes,
        faults={take.take_id: fault for take in takes if (fault := _fault(workspace, take))},
        scores=read_scores(workspace),
    )


def video_file(workspace: Workspace, take_id: str) -> Path:
    """Where the MP4 of a take lies."""
    return workspace.takes / f"{take_id}.mp4"


def _fault(workspace: Workspace, take: Take) -> str:
    file = video_file(workspace, take.take_id)
    status = file.stat()
    if _sha256(file, status.st_mtime_ns, status.st_size) != take.video_sha256:
        return "This clip is damaged or was changed. Delete it and run `lora-studio takes` again."
    return ""


@functools.lru_cache(maxsize=4096)
def _sha256(file: Path, mtime_ns: int, size: int) -> str:
    """Hashes a file once for as long as its time and size stay the same."""
    return files.sha256_file(file)
