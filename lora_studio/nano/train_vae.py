"""Trains nova-nano's causal video VAE on lessons: `python -m lora_studio.nano.train_vae recipes/nano/vae.toml --work FOLDER`.

First crops of single frames, then crops of clips, at last whole clips and stills, because the norms look at the whole picture.
What is minimised: absolute error of pixels, of their differences to the neighbours in space and time, and of what `cell_patterns`
says of each latent cell, and a little KL. At the beginning the latents are also drawn towards these eight numbers: left alone, an
encoder found two of three colour directions in 4,000 steps and hardly any detail in 7,000. The decoder sees latents with some
noise added, as the backbone's will have.

B batch, F pixel frames, T latent frames, H W pixels, h w latent cells.
"""

import copy
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import torch
import typer
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor, nn

from lora_studio.errors import TrainingError, run_command
from lora_studio.nano import sizes
from lora_studio.nano.build import write_part
from lora_studio.nano.lessons import Lessons, as_pixels
from lora_studio.nano.progress import Course, Progress, autocast, read_course, training_device
from lora_studio.nova.vae import AutoencoderKLOpenSora, sample_moments
from lora_studio.nova.vae_layers import Downsample, FrameAttention, FrameResnet, Resnet, Upsample

_CROP: Final = (64, 96)
_PATCH: Final = 16  # pixels: two latent cells, eight pixels each
_LEAST_DEVIATION: Final = 0.15
# light, red against green, both against blue: rows that turn RGB into three numbers of about unit deviation
_OPPONENTS: Final = ((0.6, 0.6, 0.6), (1.7, -1.7, 0.0), (0.7, 0.7, -1.4))
# half waves down and across a cell, and the factor that brings the lightness of lessons, seen through them, to a deviation of 0.6
_WAVES: Final = ((1, 0, 15.0), (0, 1, 15.0), (1, 1, 45.0), (2, 0, 28.0), (0, 2, 28.0))
_HALVES: Final = (((1, 1), (1, 1)), ((1, -1), (1, -1)), ((1, 1), (-1, -1)), ((1, -1), (-1, 1)))  # Haar's four patterns of 2 x 2


class VaeCourse(Course):
    """How the VAE is trained."""

    frames_until: float = Field(default=0.5, ge=0, le=1)  # share of the steps that see crops of single frames
    crops_until: float = Field(default=0.8, ge=0, le=1)  # share of the steps after which pictures are whole
    pull: float = Field(default=1.0, ge=0)  # of the latents to the cells' patterns at the first step; 0 after `frames_until`
    patterns: float = Field(default=0.5, ge=0)  # weight of the error of patterns
    kl: float = Field(default=2e-4, ge=0)
    latent_noise: float = Field(default=0.05, ge=0)  # standard deviation, of the latents' own
    product_weight: float = Field(default=0.0, ge=0)  # added to a pixel's weight of 1, as far as the product covers its patch
    colours: float = Field(default=0.0, ge=0)  # weight of the error of the two colour directions, beside that of the pixels
    stay: float = Field(default=0.0, ge=0)  # weight of how far the latents' means go from those of the weights it begins with
    decoder_only: bool = False  # latents stay as they are, and so does all that was made or trained with them

    @property
    def keeps_latents(self) -> bool:
        """Backbones and datasets of the weights it begins with stay in use."""
        return self.decoder_only or self.stay > 0


def start_straight_(vae: AutoencoderKLOpenSora) -> None:
    """Starts almost linear: Haar's wavelets on the way down, repetition on the way up, residual blocks that add nothing.

    From PyTorch's own start the error of crops stays at 0.19 after 400 steps, from means alone on the way down it is 0.12.
    """
    for module in vae.modules():
        if isinstance(module, Resnet | FrameResnet):
            _zero_(module.conv2)
            if module.conv_shortcut is not None:
                nn.init.dirac_(module.conv_shortcut.weight)
        elif isinstance(module, FrameAttention):
            _zero_(module.to_out[0])
        elif isinstance(module, Upsample):
            weight, same = module.conv.weight.data, torch.arange(len(module.conv.weight))
            weight.mul_(0.1)[same, same, -1, 1, 1] += 1
    _start_encoder_(vae.encoder)
    _start_decoder_(vae)
    last = vae.quant_conv
    assert isinstance(last, nn.Conv3d)
    assert last.bias is not None
    last.weight.data[sizes.LATENT_CHANNELS :] *= 0.1
    last.bias.data[sizes.LATENT_CHANNELS :] = -6.0  # little noise at first: the means have yet to grow


def _start_encoder_(encoder: nn.Module) -> None:
    """Lets the colours through, and as many of their differences at each size as there are channels for."""
    used, first = 3, encoder.get_submodule("conv_in")
    assert isinstance(first, nn.Conv2d)
    first.weight.data.mul_(0.1)[range(used), range(used), 1, 1] += 1
    for module in encoder.modules():
        if isinstance(module, Downsample):
            used = _halve_(module.conv, used)


def _start_decoder_(vae: AutoencoderKLOpenSora) -> None:
    """Lets the three latents of the mean colour through to the pixels, each in its own channel on the way.

    Without it the decoder takes thousands of steps to find the second and third direction of colour.
    """
    first, last, channels = vae.decoder.conv_in, vae.decoder.conv_out, range(sizes.LATENT_CHANNELS)
    first.weight.data.mul_(0.1)[channels, channels, -1, 1, 1] += 1
    colours = torch.linalg.inv(torch.tensor(_OPPONENTS))  # opponents -> RGB
    last.weight.data.mul_(0.1)[:, :3, -1, 1, 1] += colours  # SiLU halves small numbers, the norm about doubles them
    same = vae.post_quant_conv
    assert isinstance(same, nn.Conv3d)
    nn.init.dirac_(same.weight)


def _halve_(conv: nn.Conv2d | nn.Conv3d, used: int) -> int:
    """Means of the channels in use, then their differences; of frames always the mean. Returns how many channels are in use now."""
    weight = conv.weight.data.mul_(0.1)
    if weight.ndim == 5:
        weight = weight[:, :, 1:] if weight.shape[2] > 1 else weight
    share = 4 * (weight.shape[2] if weight.ndim == 5 else 1)
    for row in range(min(len(weight), 4 * used)):
        source, pattern = (row, 0) if row < used else ((row - used) // 3, 1 + (row - used) % 3)
        weight[row, source, ..., :2, :2] += torch.tensor(_HALVES[pattern]) / share
    return min(len(weight), 4 * used)


def _zero_(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def cell_patterns(pixels: Tensor) -> Tensor:
    """Eight numbers on every latent cell: its mean colour as opponents, and five cosine patterns of its lightness.

    (B, 3, F, H, W) -> (B, 8, T, h, w); of the four frames of a cell, their mean.
    """
    later = pixels[:, :, 1:].unflatten(2, (-1, 4)).mean(3) if pixels.shape[2] > 1 else pixels[:, :, 1:]
    cells = torch.cat([pixels[:, :, :1], later], dim=2).unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8))  # (B, 3, T, h, 8, w, 8)
    return torch.einsum("kcij,bcthiwj->bkthw", _patterns().to(pixels.device), cells)


def _patterns() -> Tensor:
    """(8, 3, 8, 8): what each number weighs a cell's values with."""
    colours = torch.tensor(_OPPONENTS)[:, :, None, None].expand(-1, -1, 8, 8)
    phase = torch.pi * (torch.arange(8) + 0.5) / 8
    waves = torch.stack([factor / 3 * torch.outer((down * phase).cos(), (across * phase).cos()) for down, across, factor in _WAVES])
    return torch.cat([colours, waves[:, None].expand(-1, 3, -1, -1)]) / 64


def loss_of(
    vae: AutoencoderKLOpenSora,
    pixels: Tensor,
    course: VaeCourse,
    generator: torch.Generator,
    pull: float = 0.0,
    cover: Tensor | None = None,
    begun: AutoencoderKLOpenSora | None = None,
) -> dict[str, Tensor]:
    """The losses of (B, 3, F, H, W) pixels in -1..1.

    Args:
        pull: draws the latents towards the cells' patterns.
        cover: (B, 1, F, H, W) in [0, 1], how much of each pixel's patch the product covers; for `course.product_weight`.
        begun: whose latents are to be kept near; for `course.stay`.
    """
    half = autocast()
    with half, torch.set_grad_enabled(not course.decoder_only):
        moments = vae.encode(pixels).parameters.float()
    mean, log_variance = moments.chunk(2, dim=1)
    noise = torch.randn(2, *mean.shape, generator=generator).to(pixels.device)
    latents = sample_moments(moments, noise[0])
    latents = latents + course.latent_noise * latents.detach().std() * noise[1]
    with half, torch.enable_grad():
        error = vae.decode(latents).float() - pixels
    if cover is not None:
        weights = 1 + course.product_weight * cover
        error = error * (weights / weights.mean())
    kl = 0.5 * (mean.square() + log_variance.clamp(-30, 20).exp() - 1 - log_variance).mean()
    edges = sum(error.diff(dim=dim).abs().mean() for dim in (2, 3, 4) if error.shape[dim] > 1)
    assert isinstance(edges, Tensor)
    patterns = course.patterns * cell_patterns(error).abs().mean()
    losses = {"pixels": error.abs().mean(), "edges": edges, "patterns": patterns, "kl": course.kl * kl}
    if course.colours > 0:
        colours = torch.einsum("kc,bcthw->bkthw", torch.tensor(_OPPONENTS[1:], device=error.device), error)
        losses["colours"] = course.colours * colours.abs().mean()
    if begun is not None:
        with half, torch.no_grad():
            kept = begun.encode(pixels).parameters.float().chunk(2, dim=1)[0]
        losses["stay"] = course.stay * (mean - kept).square().mean()
    if pull > 0:
        losses["pull"] = pull * (mean - cell_patterns(pixels)).square().mean()
    return losses


def batch_of(step: int, course: VaeCourse, clips: Lessons, stills: Lessons | None) -> tuple[Tensor, Tensor, torch.Generator]:
    """The pixels of one step (B, 3, F, H, W), their cover (B, 1, F, H, W), and the generator for its noise."""
    chance = np.random.default_rng((course.seed, step))
    generator = torch.Generator().manual_seed(int(chance.integers(2**62)))
    whole, alone = step >= course.crops_until * course.steps, step < course.frames_until * course.steps
    source = stills if whole and stills is not None and step % 2 else clips
    count = 1 if whole and source is clips else 2 * course.batch_size if alone else course.batch_size
    frames = [_cut(_with_cover(source, int(chance.integers(len(source)))), chance, whole, alone) for _ in range(count)]
    channels = as_pixels(frames)
    return channels[:, :3], (channels[:, 3:] + 1) / 2, generator


def _with_cover(lessons: Lessons, index: int) -> np.ndarray:
    """(F, H, W, 4) uint8: a lesson's pixels, and how much of the patch around each the product covers."""
    frames = lessons.frames(index)
    cover = lessons.cover([index])[0].reshape(-1, *(size // _PATCH for size in frames.shape[1:3]))  # (T, H / 16, W / 16)
    of_frame = cover[[(frame + 3) // 4 for frame in range(len(frames))]].mul(255).round().byte().numpy()
    return np.concatenate([frames, of_frame.repeat(_PATCH, 1).repeat(_PATCH, 2)[..., None]], axis=-1)


def _cut(frames: np.ndarray, chance: np.random.Generator, whole: bool, alone: bool) -> np.ndarray:
    """A crop (or all) of (F, H, W, C), or of one of its frames, mirrored half of the time."""
    if alone:
        frames = frames[int(chance.integers(len(frames)))][None]
    if not whole:
        top, left = (int(chance.integers(size - crop + 1)) for size, crop in zip(frames.shape[1:3], _CROP, strict=True))
        frames = frames[:, top : top + _CROP[0], left : left + _CROP[1]]
    return np.ascontiguousarray(frames[:, :, ::-1] if chance.random() < 0.5 else frames)


def balance_(vae: AutoencoderKLOpenSora, clips: Lessons, count: int = 128) -> None:
    """Brings every latent channel to mean 0 and to the deviation it deserves, and teaches the decoder to undo it; pixels stay.

    Three channels carry light and colour: they get deviation 1, so that a backbone learns both with equal care. The others
    carry edges and grain: theirs is in proportion to what they do to pixels, or a backbone would spend most of its care on them.
    """
    indices = range(0, len(clips), max(1, len(clips) // count))
    with torch.inference_mode():
        means = [vae.encode(as_pixels([clips.frames(index)]).to(vae.device)).mean for index in indices]
    latents = torch.cat(means).transpose(0, 1).flatten(1)  # (C, ...)
    middle, spread = latents.mean(1), latents.std(1)
    effect = _pixel_effect(vae, torch.cat(means[:: max(1, len(means) // 8)])[:, :, :1], spread)
    deserved = (effect / effect.sort(descending=True).values[2]).clamp(_LEAST_DEVIATION, 1.0)
    _rescale_(vae, middle, deserved / spread)


def _pixel_effect(vae: AutoencoderKLOpenSora, latents: Tensor, spread: Tensor) -> Tensor:
    """Root mean square of what noise in one channel, of a third of its deviation, does to pixels: (B, C, 1, h, w) -> (C,)."""
    noise = 0.3 * torch.randn(latents[:, 0].shape, generator=torch.Generator().manual_seed(0)).to(latents.device)
    effects = []
    with torch.inference_mode():
        pixels = vae.decode(latents)
        for channel, deviation in enumerate(spread):
            changed = latents.clone()
            changed[:, channel] += deviation * noise
            effects.append((vae.decode(changed) - pixels).square().mean().sqrt())
    return torch.stack(effects)


def _rescale_(vae: AutoencoderKLOpenSora, middle: Tensor, factor: Tensor) -> None:
    """Latents z become (z - middle) * factor, channel by channel; the decoder undoes it."""
    into, out, channels = vae.quant_conv, vae.post_quant_conv, len(middle)
    assert isinstance(into, nn.Conv3d)
    assert isinstance(out, nn.Conv3d)
    assert into.bias is not None
    assert out.bias is not None
    out.bias.data += out.weight.data.flatten(1) @ middle
    out.weight.data /= factor[None, :, None, None, None]
    into.weight.data[:channels] *= factor[:, None, None, None, None]
    into.bias.data[:channels] = (into.bias.data[:channels] - middle) * factor
    into.bias.data[channels:] += 2 * factor.log()


def train(course_file: Path, work: Path, minutes: float, out: Path | None, start: Path | None = None) -> None:
    """Goes on with this course in `work`, which begins with the weights in `start` if given; writes the VAE to `out`.

    Raises:
        TrainingError: the course keeps latents, and there are no weights whose latents these would be.
    """
    course = read_course(course_file, VaeCourse)
    assert isinstance(course, VaeCourse)
    if course.keeps_latents and start is None:
        raise TrainingError(f"{course_file} keeps the latents of the weights it begins with: name their file with --start")
    clips = Lessons(work / "lessons", "clips")
    stills = Lessons(work / "lessons", "stills") if any((work / "lessons").glob("stills_*.npy")) else None
    torch.manual_seed(course.seed)
    vae = AutoencoderKLOpenSora(**sizes.VAE)
    start_straight_(vae)
    if start is not None:
        vae.load_state_dict({name: value.float() for name, value in load_file(start).items()})
        if not course.keeps_latents:
            balance_(vae, clips)
    begun = copy.deepcopy(vae).requires_grad_(False).to(training_device()) if course.stay else None  # type: ignore[arg-type]
    progress = Progress(vae, course, work / f"{course_file.stem}.safetensors")

    def loss_of_step(step: int) -> dict[str, Tensor]:
        pixels, cover, generator = batch_of(step, course, clips, stills)
        alone = course.frames_until * course.steps
        pull = course.pull * (1 - step / alone) if step < alone else 0.0
        weighed = cover.to(vae.device) if course.product_weight else None
        return loss_of(vae, pixels.to(vae.device), course, generator, pull, weighed, begun)

    progress.advance(minutes, loss_of_step)
    if out is not None:
        progress.use_average()
        if not course.keeps_latents:
            balance_(vae.eval(), clips)
        write_part(out / "vae", sizes.VAE, vae)


def main(
    course: Annotated[Path, typer.Argument(help="recipes/nano/vae.toml")],
    work: Annotated[Path, typer.Option(help="Folder of the lessons and of the progress.")],
    minutes: Annotated[float, typer.Option(help="Stop after so many; the next call goes on.")] = 1e6,
    out: Annotated[Path | None, typer.Option(help="The model folder to write the VAE to.")] = None,
    start: Annotated[Path | None, typer.Option(help="A file of weights to begin with, instead of chance.")] = None,
) -> None:
    """Train nova-nano's video VAE."""
    run_command(lambda: train(course, work, minutes, out, start))


if __name__ == "__main__":
    typer.run(main)
