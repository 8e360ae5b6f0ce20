"""What the model knows when it paints the next frame: all frames so far, or, beyond the trained length, a sliding window.

A clip no longer than the checkpoint was trained for is read as published: every frame once, with a growing cache. Beyond
that length a new frame is always painted as the last one of a clip of the trained length, whose beginning stays (text and
first frame, so that subject and look are not forgotten) and whose other frames are the most recent ones.
B samples, R rows of the model, N patches, C H W latents, D width.
"""

from collections import deque

from torch import Tensor

from lora_studio.errors import ModelError
from lora_studio.generation.guidance import Guidance
from lora_studio.nova.layers import KVCache
from lora_studio.nova.transformer import NOVATransformer3DModel

_ANCHORED = 2  # positions of a clip that stay for ever: the first frame, and the one that sees it


class Story:
    """The frames so far, as the video encoder reads them."""

    def __init__(
        self, transformer: NOVATransformer3DModel, condition: Tensor, guidance: Guidance, num_samples: int, num_latents: int
    ) -> None:
        """Begins without frames.

        Args:
            transformer: the backbone.
            condition: (R, L, D) of text and motion.
            guidance: how samples become rows.
            num_samples: B.
            num_latents: latent frames the clip shall have in the end.

        Raises:
            ModelError: the checkpoint cannot make clips of that length.
        """
        self._length = min(num_latents, transformer.num_latents)
        if num_latents > self._length and self._length <= _ANCHORED:
            raise ModelError(
                f"this checkpoint makes clips of {transformer.num_latents} latent frames and cannot go on beyond them, "
                f"got {num_latents}: ask for at most {4 * transformer.num_latents - 3} frames"
            )
        self._transformer, self._condition, self._guidance = transformer, condition, guidance
        self._blind = guidance.blind_rows(num_samples, condition.device)
        self._count = 0
        self._recent: deque[Tensor] = deque(maxlen=self._length)
        self._read, self._cache, self._context = 0, KVCache(), condition
        self._anchor: KVCache | None = None

    def add(self, frame: Tensor) -> None:
        """The next frame is settled: (B, C, H, W)."""
        if self._count < self._length:
            self._read_next()
        self._recent.append(frame)
        self._count += 1

    def context(self) -> Tensor:
        """What is known of the frame to come, (R, N_video, D)."""
        if self._count < self._length:
            self._read_next()
            return self._context
        assert self._anchor is not None
        cache, context = self._anchor, self._context
        window = list(self._recent)[-(self._length - _ANCHORED) :]
        for position, frame in enumerate(window, start=_ANCHORED):
            context, cache = self._encode(frame, position, cache)
        return context

    def _read_next(self) -> None:
        """Reads the newest frame into the cache, once."""
        if self._read > self._count:
            return
        before = self._recent[-1] if self._recent else None
        self._context, self._cache = self._encode(before, self._count, self._cache)
        self._read += 1
        if self._read == _ANCHORED:
            self._anchor = self._cache

    def _encode(self, before: Tensor | None, position: int, cache: KVCache) -> tuple[Tensor, KVCache]:
        shown = None if before is None else self._guidance.repeat(before)
        condition = self._condition if before is None else None
        return self._transformer.encode_video_frame(shown, condition, position, self._length, cache, self._blind)
