"""A vision-language model of the transformers library from a local folder, asked about pictures. Judges no answer.

Any model that `AutoModelForImageTextToText` loads and whose processor has a chat template will do: Qwen3-VL, Qwen2.5-VL, SmolVLM,
InternVL, LLaVA. Nothing is downloaded: the folder must hold everything.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from lora_studio.errors import ModelError

MOST_TOKENS: Final = 64  # of an answer


class ChatDescriber:
    """A model and its processor, on one device."""

    def __init__(self, model: Any, processor: Any) -> None:
        self._model, self._processor = model, processor

    @torch.inference_mode()
    def describe(self, frames: np.ndarray, question: str) -> str:
        """(F, H, W, 3) uint8 and a question -> the most likely answer."""
        pictures = [{"type": "image", "image": Image.fromarray(frame)} for frame in frames]
        asked = [{"role": "user", "content": [*pictures, {"type": "text", "text": question}]}]
        inputs = self._processor.apply_chat_template(
            asked, tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        ).to(self._model.device, self._model.dtype)
        answered = self._model.generate(**inputs, max_new_tokens=MOST_TOKENS, do_sample=False)
        return self._processor.batch_decode(answered[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0]


def load_describer(folder: Path) -> ChatDescriber:
    """Loads a model folder onto the GPU in bfloat16 where there is one, else onto the CPU in float32.

    Raises:
        ModelError: there is no such folder, it holds no such model, or its processor has no chat template.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor

    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no config.json: give the folder of a vision-language model as transformers saves it")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    try:
        processor = AutoProcessor.from_pretrained(str(folder), local_files_only=True)
        loaded = AutoModelForImageTextToText.from_pretrained(str(folder), dtype=dtype, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, KeyError) as fault:
        first = str(fault).strip().splitlines()[0]
        raise ModelError(f"{folder} cannot be loaded as a vision-language model: {first}") from fault
    if getattr(processor, "chat_template", None) is None:
        raise ModelError(f"{folder} has no chat template, so it cannot be asked: take a chat model (Qwen3-VL, SmolVLM, InternVL)")
    model: Any = loaded
    return ChatDescriber(model.to(device).eval(), processor)
