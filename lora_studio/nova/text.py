"""Text to rows of numbers: the tokenizer and Phi, as the checkpoints were trained with. Remembers no text.

The reference pads every text and then throws the padded rows away; a causal encoder gives the same valid rows unpadded.
"""

from typing import Any

import torch
from torch import Tensor


class TextEncoder:
    """Encodes captions and prompts.

    Attributes:
        max_rows: texts are cut off after this many tokens (the checkpoint's `text_token_len`).
    """

    def __init__(self, tokenizer: Any, model: torch.nn.Module, max_rows: int) -> None:
        self.tokenizer = tokenizer
        self.model = model
        self.max_rows = max_rows

    @torch.no_grad()
    def encode(self, texts: list[str]) -> list[Tensor]:
        """Last hidden states (n_i, D_text) of each text, on the encoder's device, in its precision; "" has no rows.

        What goes beyond `max_rows` tokens is left out: `cut_off` tells what that is.
        """
        return [self._encode(self.token_ids(text)[: self.max_rows]) for text in texts]

    def token_ids(self, text: str) -> list[int]:
        """All token ids of a text, not cut off: compare the length with `max_rows` to see what would be lost."""
        return self.tokenizer(text)["input_ids"] if text else []

    def cut_off(self, text: str) -> str:
        """The end of `text` that the encoder never sees; "" when it sees all."""
        return self.tokenizer.decode(self.token_ids(text)[self.max_rows :])

    def _encode(self, ids: list[int]) -> Tensor:
        parameter = next(self.model.parameters())
        if not ids:
            return parameter.new_zeros(0, self.model.config.hidden_size)  # type: ignore[union-attr]
        tokens = torch.tensor([ids], device=parameter.device)
        return self.model(input_ids=tokens, use_cache=False).last_hidden_state[0]
