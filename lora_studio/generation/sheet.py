"""The prompt sheet when nobody wrote one, and which real clip stands beside a prompt. Knows captions; makes no take."""

import re
from collections.abc import Sequence
from typing import Final

from lora_studio.brand import load_brand, load_prompts, save_prompts
from lora_studio.errors import WorkspaceError
from lora_studio.records import Prompt, PromptSheet
from lora_studio.wall import Clip, dataset_clips
from lora_studio.workspace import Workspace

MOST_PROMPTS: Final = 3
SEEDS: Final = (0, 1)


def open_sheet(workspace: Workspace) -> PromptSheet:
    """The prompt sheet of the workspace; makes and saves the default one when there is no prompts.toml."""
    return load_prompts(workspace) if workspace.prompts_file.is_file() else default_sheet(workspace)


def default_sheet(workspace: Workspace) -> PromptSheet:
    """Writes prompts.toml from the captions of footage that is held out from training, for a person to edit.

    Up to three distinct captions with the clip each belongs to, the first of them once more without the brand's trigger
    as a control prompt (what an adapter changes there has leaked), and two seeds.

    Raises:
        WorkspaceError: there is no dataset, or no held-out clip in it.
    """
    clips = dataset_clips(workspace, "held_out")
    if not clips:
        raise WorkspaceError(
            f"no footage is held out in {workspace.dataset}: write {workspace.prompts_file} yourself "
            "(seeds = [0, 1] and one [[prompts]] table with id and text for each prompt), or add footage and build again"
        )
    first_of: dict[str, Clip] = {}
    for clip in clips:
        first_of.setdefault(clip.caption_long, clip)
    chosen = list(first_of.values())[:MOST_PROMPTS]
    prompts = [Prompt(id=f"prompt-{i}", text=clip.caption_long, clip_id=clip.clip_id) for i, clip in enumerate(chosen, start=1)]
    control = without_trigger(chosen[0].caption_long, load_brand(workspace).trigger)
    if control:
        prompts.append(Prompt(id="control-1", text=control, kind="control"))
    sheet = PromptSheet(seeds=SEEDS, prompts=tuple(prompts))
    save_prompts(workspace, sheet)
    return sheet


def without_trigger(caption: str, trigger: str) -> str:
    """A caption with the brand's trigger and the punctuation that hung on it taken out."""
    text = re.sub(rf"(?<!\w){re.escape(trigger)}(?!\w)\s*[,:;]?\s*", "", caption, flags=re.IGNORECASE)
    return text.strip(" ,.:;") + ("." if caption.rstrip().endswith(".") and text.strip(" ,.:;") else "")


def real_clips(prompts: Sequence[Prompt], clips: Sequence[Clip]) -> dict[str, Clip]:
    """The held-out clip shown beside each brand prompt: the one it names, else the one whose caption shares most words.

    Where possible no clip is shown twice. Ties go to the earlier clip. Control prompts get none: no footage was shot for
    them.

    Raises:
        WorkspaceError: a prompt names a clip that is not held out.
    """
    by_id = {clip.clip_id: clip for clip in clips}
    wanted = [prompt for prompt in prompts if prompt.kind == "brand"]
    unknown = [prompt for prompt in wanted if prompt.clip_id is not None and prompt.clip_id not in by_id]
    if unknown:
        raise WorkspaceError(
            f"prompts.toml: prompt {unknown[0].id} names clip {unknown[0].clip_id}, which is not among the {len(clips)} held-out "
            "clips: take the line clip_id out to have one chosen by its caption"
        )
    chosen = {prompt.id: by_id[prompt.clip_id] for prompt in wanted if prompt.clip_id is not None}
    for prompt in wanted:
        if prompt.id not in chosen and clips:
            shown = {clip.clip_id for clip in chosen.values()}
            fresh = [clip for clip in clips if clip.clip_id not in shown]
            chosen[prompt.id] = max(fresh or clips, key=lambda clip: _shared_words(prompt.text, clip))
    return chosen


def _shared_words(text: str, clip: Clip) -> float:
    """Jaccard overlap of words between a prompt and the nearer of a clip's two captions, 0 to 1."""
    return max(_overlap(_words(text), _words(caption)) for caption in (clip.caption_long, clip.caption_short))


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def _overlap(one: set[str], two: set[str]) -> float:
    return len(one & two) / max(1, len(one | two))
