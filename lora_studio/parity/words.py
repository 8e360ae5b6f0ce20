"""Replays a recorded text path: tokens, the text encoder's rows, padding and the null prompt, and their projection.

L rows of text, D_text width of the text encoder.
"""

import torch

from lora_studio.errors import ModelError
from lora_studio.nova import weights
from lora_studio.nova.embeddings import TextEmbed
from lora_studio.parity.recordings import Recording


@torch.no_grad()
def replay(recording: Recording) -> None:
    """Compares token ids, hidden states, padded rows, projected rows and what caption dropout drops."""
    prompts = recording.facts["prompts"]
    length = recording.wanted("encode_prompts").shape[1]
    embed = _embed(recording, length)
    encoder = weights.load_words(recording.folder, length)
    ids = [encoder.token_ids(prompt) for prompt in prompts]
    recording.compare_fact("input_ids", ids, recording.facts["input_ids"])
    padded = [(row[:length] + [0] * length)[:length] for row in ids]
    if "padded_ids" in recording.facts:
        recording.compare_fact("padded_ids", padded, recording.facts["padded_ids"])
    recording.settle("input_ids", "padded_ids")
    rows = encoder.encode(prompts)
    recording.compare("hidden0", rows[0].unsqueeze(0))
    recording.compare("encode_prompts", embed.pad(rows))
    recording.compare("null", embed.pad([rows[0][:0]])[0])
    recording.compare("tokens", embed(rows))
    for seed, fact in recording.facts.get("caption_dropout_by_np_seed", {}).items():
        dropped = [draw < 0.1 for draw in fact["draws"]]
        recording.compare_fact(f"caption dropout, numpy seed {seed}", _effective(dropped, ids), _effective(fact["dropped"], ids))
        recording.settle(f"caption_dropout_by_np_seed.{seed}")


def _effective(dropped: list[bool], ids: list[list[int]]) -> list[bool]:
    """An empty caption is the null prompt whether it is dropped or not."""
    return [drop or not row for drop, row in zip(dropped, ids, strict=True)]


def _embed(recording: Recording, length: int) -> TextEmbed:
    state = {key.removeprefix("text_embed."): value for key, value in recording.weights.items()}
    if missing := {"proj.weight", "weight"} - set(state):
        raise ModelError(f"{recording.folder / 'weights.safetensors'} has no {', '.join(sorted(missing))} of the text embedding")
    width, text_width = state["proj.weight"].shape
    embed = TextEmbed(text_width, length, width)
    embed.load_state_dict(state)
    return embed.eval()
