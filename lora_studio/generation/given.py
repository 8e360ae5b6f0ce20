"""What a caller hands the sampler, held against the model before anything is worked out. Samples nothing, reads no file.

B samples, F pixel frames, H W pixels, T latent frames, C h w latents, n rows of one text, D_text their width.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from torch import Tensor

from lora_studio.errors import ModelError

PIXELS: Final = 8  # of one latent cell, in height and in width
_AXES: Final = {5: "(B, F, H, W, 3)", 4: "(B, H, W, 3)"}


def check_text(name: str, text: Sequence[Tensor], config: Any) -> list[Tensor]:
    """Features of texts: B tensors (n_i, D_text), n_i no more than the model reads.

    Args:
        name: of the argument.
        text: what was given for it.
        config: of the backbone; `text_token_dim` and `text_token_len` are asked for.

    Raises:
        ModelError: there are none, or one is not what this model's text encoder gives.
    """
    width, most = config.text_token_dim, config.text_token_len
    if not isinstance(text, list | tuple) or not text or not all(isinstance(rows, Tensor) for rows in text):
        wanted = f"{name} must be a list with the features of each prompt, as load_text(folder).encode([prompt]) gives them"
        raise ModelError(f"{wanted}; got {'an empty list' if isinstance(text, list | tuple) and not text else _what(text)}")
    for index, rows in enumerate(text):
        if rows.ndim != 2 or rows.shape[1] != width or not rows.is_floating_point():
            raise ModelError(
                f"{name}[{index}] must be floating-point rows (n, {width}), got {_what(rows)}: encode the prompt with the text "
                "encoder of this model"
            )
        if len(rows) > most:
            raise ModelError(
                f"{name}[{index}] has {len(rows)} rows, one for each token, and this model reads {most}: shorten the prompt, or "
                f"leave out the last {len(rows) - most} rows"
            )
    return list(text)


def check_pictures(name: str, pictures: np.ndarray, num_axes: int) -> None:
    """Pictures are uint8 (B, F, H, W, 3) or (B, H, W, 3): of any other kind nobody knows which number is white.

    Raises:
        ModelError: they are not.
    """
    if isinstance(pictures, np.ndarray) and pictures.dtype == np.uint8 and pictures.ndim == num_axes and pictures.shape[-1] == 3:
        return
    advice = f"arrange the axes as {_AXES[num_axes]}"
    if not isinstance(pictures, np.ndarray):
        advice = "give a numpy array"
    elif np.issubdtype(pictures.dtype, np.integer) and pictures.dtype != np.uint8:
        advice = 'if 255 is white, give x.astype("uint8")'
    elif pictures.dtype != np.uint8:
        advice = 'if 1 is white, give (x * 255).round().astype("uint8")'
    raise ModelError(f"{name} must be uint8 {_AXES[num_axes]} with values 0 to 255, got {_what(pictures)}: {advice}")


def check_fit(name: str, pictures: np.ndarray, count: int, latent_size: tuple[int, int]) -> None:
    """Pictures (B, ..., H, W, 3) are as many as the prompts, and of the model's size.

    Raises:
        ModelError: they are not.
    """
    _check_count(name, len(pictures), count)
    (height, width), (had_height, had_width) = (side * PIXELS for side in latent_size), pictures.shape[-3:-1]
    if (had_height, had_width) != (height, width):
        raise ModelError(
            f"{name} is {had_height} x {had_width} and this model makes {height} x {width} (height x width): crop it to "
            f"{height} x {width} pixels"
        )


def clip_length(num_latents: int | None, trained: int) -> int:
    """Latent frames of a clip: as many as asked for, or as the model was trained on.

    Raises:
        ModelError: it is not a whole number of 1 or more.
    """
    if num_latents is None:
        return trained
    if not _is_whole(num_latents) or num_latents < 1:
        raise ModelError(
            f"num_latents: a clip has 1 or more latent frames (each after the first is four frames), got {num_latents!r}"
        )
    return int(num_latents)


def given_frames(first: Tensor | None, keyframes: Mapping[int, Tensor], shape: tuple[int, ...], length: int) -> dict[int, Tensor]:
    """The latent frames that are not painted but given.

    Args:
        first: (B, C, T0, h, w), how each clip begins.
        keyframes: latent frame -> (B, C, h, w).
        shape: (B, C, h, w) of the clips to be made.
        length: their latent frames.

    Returns:
        Latent frame -> (B, C, h, w) float32.

    Raises:
        ModelError: one has another shape, lies outside the clip or is given twice, or none is left to be made.
    """
    if first is not None and first.ndim != 5:
        raise ModelError(f"first_latents must be (B, C, T, H, W), got {tuple(first.shape)}")
    given = {} if first is None else dict(enumerate(first.float().unbind(2)))
    for index in keyframes:
        if not _is_whole(index):
            raise ModelError(f"keyframes go by latent frame, a whole number such as 2; got {index!r}")
        if index in given:
            raise ModelError(
                f"latent frame {index} is given twice, by keyframes and by the first frames (latent frames 0 to "
                f"{len(given) - 1}): leave out one of them"
            )
    names = {index: f"keyframes[{index}]" for index in keyframes}
    given |= {int(index): frame.float() for index, frame in keyframes.items()}
    for index, frame in given.items():
        _check_latents(names.get(index, "first_latents"), frame, shape)
        if not 0 <= index < length:
            raise ModelError(f"latent frame {index} is given, but the clip has only 0 to {length - 1}: ask for a longer clip")
    if len(given) == length:
        raise ModelError(f"all {length} latent frames are given, none is left to generate: give fewer, or ask for a longer clip")
    return given


def _check_latents(name: str, frame: Tensor, shape: tuple[int, ...]) -> None:
    if frame.ndim == 4:
        _check_count(name, len(frame), shape[0])
    if frame.shape != shape:
        raise ModelError(
            f"{name}: the frames given have latents {tuple(frame.shape)}; needed are {shape[0]} clips of {shape[1]} x {shape[2]} x "
            f"{shape[3]}: crop them to {shape[2] * PIXELS} x {shape[3] * PIXELS} pixels (height x width)"
        )


def _check_count(name: str, have: int, want: int) -> None:
    if have != want:
        raise ModelError(
            f"{name} is for {have} clip{'s' if have != 1 else ''} and there are {want} prompts: give one for each prompt, such as "
            f"the same {want} times"
        )


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _what(value: object) -> str:
    if isinstance(value, np.ndarray | Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}" + (" tensor" if isinstance(value, Tensor) else "")
    if isinstance(value, list | tuple):
        return f"a list of {', '.join(sorted({type(item).__name__ for item in value}))}"
    return type(value).__name__
