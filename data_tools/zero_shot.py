"""Tags from an image-text model without training: which phrase of an axis fits a shot best. Knows vectors and words only.

One softmax per axis; several phrases and templates per value, averaged as vectors; and a correction for what the model says
of every picture anyway: a value's mean score over the library is taken off before the softmax. So a library of one shot
gets no answer, and a library that is all alike gets none either: there is nothing to compare with.
"""

from typing import TYPE_CHECKING, Protocol

import numpy as np

from lora_studio import files
from lora_studio.taxonomy import AXES, TAXONOMY_VERSION, Phrases

if TYPE_CHECKING:
    from torch import Tensor

TEMPLATES = ("{}", "a film still, {}", "a frame from a commercial, {}", "cinematography: {}")
SEEN_AXES = tuple(axis for axis in AXES if axis not in ("angle.movement", "angle.steadiness", "angle.dutch"))  # in one frame
# a yes or no is not asked: compared with the library's mean, every rare thing would be true of half of all shots
LOOKED_AXES = tuple(axis for axis in SEEN_AXES if set(AXES[axis]) != {"yes", "no"})


class ImageTextModel(Protocol):
    """What is needed of `lora_studio.vision.Vision`."""

    @property
    def logit_scale(self) -> float: ...
    @property
    def knows_colours(self) -> bool: ...
    def embed_images(self, frames: np.ndarray) -> "Tensor": ...
    def embed_texts(self, texts: list[str]) -> "Tensor": ...


def prompts_sha256() -> str:
    """The content key of everything this module asks a model."""
    return files.sha256_json([TAXONOMY_VERSION, TEMPLATES, {axis: AXES[axis] for axis in LOOKED_AXES}])


def embed_shot(model: ImageTextModel, frames: np.ndarray) -> np.ndarray:
    """The mean of the frames' vectors, (D,) float32; its products with texts are the frames' mean products."""
    return model.embed_images(frames).float().mean(dim=0).numpy()


def score_shots(model: ImageTextModel, vectors: np.ndarray, words: Phrases = AXES) -> list[dict[str, dict[str, float]]]:
    """Scores every shot of a library on every axis that a single frame can show.

    Args:
        model: the model the vectors came from.
        vectors: (S, D), one per shot of the whole library.
        words: the axes and words that the model was taught.

    Returns:
        For each shot, axis -> value -> probability; empty when the model fails the colour cards (it was never trained).
    """
    if not model.knows_colours:
        return [{} for _ in vectors]
    found: list[dict[str, dict[str, float]]] = [{} for _ in vectors]
    for axis in (axis for axis in LOOKED_AXES if axis in words):
        logits = model.logit_scale * vectors @ _class_vectors(model, words[axis]).T  # (S, values)
        probabilities = _softmax(logits - logits.mean(axis=0))
        for scores, row in zip(found, probabilities, strict=True):
            scores[axis] = {value: round(float(p), 4) for value, p in zip(words[axis], row, strict=True)}
    return found


def _class_vectors(model: ImageTextModel, said: dict[str, tuple[str, ...]]) -> np.ndarray:
    rows = []
    for phrases in said.values():
        texts = [template.format(phrase) for phrase in phrases for template in TEMPLATES]
        mean = model.embed_texts(texts).float().mean(dim=0).numpy()
        rows.append(mean / np.linalg.norm(mean))
    return np.stack(rows)  # (values, D)


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
