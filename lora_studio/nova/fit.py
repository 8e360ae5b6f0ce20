"""Whether the parts of one folder fit each other, from their configs alone; a folder with some of the parts is no fault."""

from pathlib import Path

from lora_studio.errors import ModelError
from lora_studio.nova.layout import clip_shape, read_config, transformer_config, vae_config
from lora_studio.nova.vae import AutoencoderKLImage

_PARTS = ("vae", "text_encoder")


def check_fit(folder: Path, *parts: str) -> None:
    """Refuses parts that do not fit the backbone; without `parts`, looks at all. Reads configs only: milliseconds.

    Raises:
        ModelError: they do not fit, or one of the configs is damaged.
    """
    if faults := [words for part in parts or _PARTS if (words := misfit(folder, part))]:
        raise ModelError("; ".join(faults))


def misfit(folder: Path, part: str) -> str:
    """How `vae` or `text_encoder` does not fit the backbone; "" where it does, or where either is not there."""
    if not all((folder / name / "config.json").is_file() for name in ("transformer", part)):
        return ""
    faults = _vae_misfits(folder) if part == "vae" else _text_misfits(folder)
    return f"{folder}: {'; '.join(faults)}: take all parts from one checkpoint" if faults else ""


def _vae_misfits(folder: Path) -> list[str]:
    (network, vae), backbone, faults = vae_config(folder), transformer_config(folder), []
    if vae["latent_channels"] != backbone["image_dim"]:
        faults.append(
            f"latent_channels of vae/config.json must equal image_dim of transformer/config.json ({backbone['image_dim']}), "
            f"got {vae['latent_channels']}"
        )
    if (stride := 2 ** (len(vae["block_out_channels"]) - 1)) != backbone["image_stride"]:
        faults.append(
            f"image_stride of transformer/config.json must be the pixels to a latent cell of the VAE ({stride}), "
            f"got {backbone['image_stride']}"
        )
    if issubclass(network, AutoencoderKLImage) and (frames := clip_shape(folder).num_frames) > 1:
        faults.append(f"the VAE is for single images (AutoencoderKL), and the backbone for clips of {frames} frames")
    return faults


def _text_misfits(folder: Path) -> list[str]:
    width = read_config(folder / "text_encoder" / "config.json").get("hidden_size", 2048)  # the default of Phi's config
    if width == (want := transformer_config(folder)["text_token_dim"]):
        return []
    return [
        f"hidden_size of text_encoder/config.json must equal text_token_dim of transformer/config.json ({want}), got {width!r}"
    ]
