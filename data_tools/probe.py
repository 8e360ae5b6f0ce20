"""Tags learned from people: for each axis a logistic regression from the shots' vectors to what was stated of some of them.

Knows vectors and words only. An axis is learned once enough shots have a statement, and its answers are used only where
cross-validation says that they are right more often than those of the image-text model and than the commonest statement. Folds
are made of whole scenes: takes of one set-up look alike, and a fold that shared one would find what it was told.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax

LEAST_SHOTS: Final = 20  # with a statement
LEAST_OF_A_VALUE: Final = 3  # else it is not learned, and counts as missed
FOLDS: Final = 5
_DECAY: Final = 1.0  # of the squared weights, for vectors scaled to a mean square of 1 a number
_TEMPERATURES: Final = (-2.0, 3.0)  # natural logarithms of the least and the most


@dataclass(frozen=True)
class Example:
    """One shot: its vector (D,), its scene, what people or reports state of the axis, and what the image-text model says."""

    vector: np.ndarray
    scene: str
    stated: str | None
    looked: str | None


@dataclass(frozen=True)
class Learned:
    """What came of learning one axis. Shares are of the shots with a statement, the probe's from folds that it was not shown."""

    num_shots: int
    right: float
    right_looked: float  # of the image-text model; no answer is not right
    right_commonest: float  # of always saying what is stated most often
    scores: list[dict[str, float]]  # of every shot: value -> probability; empty dicts where the probe is not better

    @property
    def is_better(self) -> bool:
        """Whether its answers are used."""
        return any(self.scores)


def learn(examples: Sequence[Example]) -> Learned | None:
    """Learns one axis; None where too little was stated.

    Args:
        examples: every shot of the library that has a vector.
    """
    told = [one for one in examples if one.stated is not None]
    counts = Counter(one.stated for one in told)
    values = sorted(value for value, number in counts.items() if value is not None and number >= LEAST_OF_A_VALUE)
    folds = np.array([zlib.crc32(one.scene.encode()) % FOLDS for one in told])
    if len(told) < LEAST_SHOTS or len(values) < 2 or len(set(folds.tolist())) < 2:
        return None
    scale = _scale(np.stack([one.vector for one in examples]))
    vectors = scale(np.stack([one.vector for one in told]))
    answers = np.array([values.index(one.stated) if one.stated in values else -1 for one in told])
    logits = np.zeros((len(told), len(values)))
    for fold in set(folds.tolist()):
        shown = (folds != fold) & (answers >= 0)
        logits[folds == fold] = _predict(_fit(vectors[shown], answers[shown], len(values)), vectors[folds == fold])
    right = logits.argmax(axis=1) == answers
    looked = np.array([one.looked == one.stated for one in told])
    commonest = np.array([one.stated == counts.most_common(1)[0][0] for one in told])
    scores: list[dict[str, float]] = [{} for _ in examples]
    if _is_better(right, looked) and _is_better(right, commonest):
        weights = _fit(vectors[answers >= 0], answers[answers >= 0], len(values))
        sharpness = _sharpness(logits[answers >= 0], answers[answers >= 0])
        chances = softmax(_predict(weights, scale(np.stack([one.vector for one in examples]))) * sharpness, axis=1)
        scores = [{value: round(float(p), 4) for value, p in zip(values, row, strict=True)} for row in chances]
    return Learned(len(told), float(right.mean()), float(looked.mean()), float(commonest.mean()), scores)


def _scale(vectors: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    centre = vectors.mean(axis=0)
    size = np.sqrt(np.square(vectors - centre).mean()) + 1e-12
    return lambda some: (some - centre) / size


def _is_better(right: np.ndarray, other: np.ndarray) -> bool:
    """More often right on the same shots, by more than one standard error."""
    gain = right.astype(float) - other.astype(float)
    return bool(gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)))


def _fit(vectors: np.ndarray, answers: np.ndarray, num_values: int) -> np.ndarray:
    """Weights (D + 1, values) that minimise cross entropy plus `_DECAY` times the squared weights; each value counts alike."""
    inputs = np.hstack([vectors, np.ones((len(vectors), 1))])
    wanted = np.eye(num_values)[answers]
    present = np.maximum(wanted.sum(axis=0), 1)
    importance = (wanted / present).sum(axis=1, keepdims=True) * (len(answers) / max((wanted.sum(axis=0) > 0).sum(), 1))

    def cost(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(-1, num_values)
        logs = log_softmax(inputs @ weights, axis=1)
        decay = np.vstack([_DECAY * weights[:-1], np.zeros((1, num_values))])
        slope = inputs.T @ (importance * (np.exp(logs) - wanted)) + decay
        return float(-(importance * wanted * logs).sum() + 0.5 * (decay * weights).sum()), slope.ravel()

    start = np.zeros(inputs.shape[1] * num_values)
    return minimize(cost, start, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x.reshape(-1, num_values)


def _predict(weights: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return vectors @ weights[:-1] + weights[-1]


def _sharpness(logits: np.ndarray, answers: np.ndarray) -> float:
    """What to multiply logits by so that probabilities of held-out shots come true (Guo et al., 2017)."""

    def cost(log_sharpness: float) -> float:
        return float(-log_softmax(logits * np.exp(log_sharpness), axis=1)[np.arange(len(answers)), answers].mean())

    low, high = _TEMPERATURES
    best: Any = minimize_scalar(cost, bounds=(-high, -low), method="bounded")
    return float(np.exp(best.x))
