"""Trains nova-nano's transformer and text encoder together: `python -m lora_studio.nano.train_backbone recipes/nano/backbone.toml`.

First on stills (text to image), then on clips and stills in turn. The loss is the one adapters are trained with. The text
encoder learns along, because a small Phi that has read nothing knows nothing; after this it is frozen, as the published one is.
It begins with the weights of the model folder: chance where the folder was just built, else what an earlier course has learned.

Two things make words count early, without which 50,000 samples taught pictures of any colour but the one asked for: a share of the
steps hides every patch, and a linear reading of what the video encoder hands over, thrown away afterwards, must tell the
picture coarsely. Noise cannot drown that error, nor visible patches explain it. The other steps hide any share of the patches: the
published range, 70 % and more, hides the neighbours of nearly every patch of a small product, and after 130,000 samples each patch
still had a colour of its own, and 40 % of visible patches helped no more than 20 %.
"""

import random
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import torch
import typer
from pydantic import Field
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lora_studio.errors import run_command
from lora_studio.nano import sizes
from lora_studio.nano.build import write_part, write_weights
from lora_studio.nano.latents import Latents, encode_lessons
from lora_studio.nano.lessons import Lessons, compose_caption, draw_content, draw_lesson, draw_name, draw_support
from lora_studio.nano.progress import Course, Progress, autocast, read_course, training_device
from lora_studio.nova.masking import split_order
from lora_studio.nova.schedules import FlowMatchScheduler
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.nova.weights import load_text, load_transformer
from lora_studio.training.objective import draw, training_loss

MOTION_FLOW: Final = 5.0
# plain products on a CPU: with rows this short a whole step takes three quarters of the time that its fused kernel needs
_ATTENTION: Final = {"cpu": [SDPBackend.MATH], "cuda": [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]}


class BackboneCourse(Course):
    """How transformer and text encoder are trained."""

    stills_share: float = Field(default=0.6, ge=0, le=1)  # of the steps, the first ones: stills alone
    clips_share: float = Field(default=0.5, ge=0, le=1)  # of the others: clips, spread evenly
    clip_batch_size: int = Field(default=12, ge=1)
    held_share: float = Field(default=0.0, ge=0, le=1)  # of the clips' steps: stills for a clip's length, "the camera is static"
    held_lessons: int = Field(default=2048, ge=1)  # how many stills are encoded so, the first ones
    loss_repeat: int = Field(default=4, ge=1)
    null_prompts: float = Field(default=0.1, ge=0, le=1)
    blank_share: float = Field(default=0.3, ge=0, le=1)  # of the steps: nothing is visible
    least_hidden: float = Field(default=0.2, gt=0, le=1)  # of the patches in all other steps: drawn evenly from here to all
    small_share: float = Field(default=0.35, gt=0, le=1)  # of the lessons whose product is a dot or has no outline
    context_noise: float = Field(default=0.3, ge=0)  # most of it in what is visible; see `spoiled`
    context_drift: float = Field(default=0.0, ge=0)
    context_blur: float = Field(default=0.0, ge=0, le=1)
    product_weight: float = Field(default=4.0, ge=1)  # of the patches where the product may be, beside the others
    outlook: float = Field(default=1.0, ge=0)  # weight of the error of the video encoder's linear reading


class Pupil(nn.Module):
    """What is trained: both networks under one roof."""

    def __init__(self, model: Path) -> None:
        super().__init__()
        reader = load_text(model)
        self.tokenizer, self.text_encoder = reader.tokenizer, reader.model
        self.transformer = load_transformer(model)
        self.outlook = nn.Linear(*_outlook_size(self.transformer))
        self._handed_over: Tensor | None = None
        self.transformer.video_encoder.register_forward_hook(self._keep)
        self.train().requires_grad_(True)

    def _keep(self, _module: nn.Module, _given: object, handed_over: Tensor) -> None:
        self._handed_over = handed_over

    def outlook_error(self, latents: Tensor, weights: Tensor) -> Tensor:
        """Squared error of what the video encoder, asked last, tells of (B, C, T, H, W) latents; weights (B, T, N)."""
        assert self._handed_over is not None
        rows, columns = (size // _outlook_patch(self.transformer) for size in latents.shape[-2:])
        cells = latents.unflatten(-1, (columns, -1)).unflatten(-3, (rows, -1))  # (B, C, T, rows, p, columns, p)
        wanted = cells.permute(0, 2, 3, 5, 1, 4, 6).flatten(4).flatten(1, 3)  # (B, T * rows * columns, C * p * p)
        told = self.outlook(self._handed_over[:, -wanted.shape[1] :])
        grid = weights.to(wanted.device).unflatten(-1, (sizes.TRANSFORMER["image_base_size"][0], -1))
        counts = nn.functional.adaptive_avg_pool2d(grid, (rows, columns)).flatten(1)
        return ((told.float() - wanted).square().mean(-1) * counts).sum() / counts.sum()

    def encode(self, captions: list[str]) -> list[Tensor]:
        """Captions -> rows (n_i, D_text) each, with gradients; "" has none."""
        ids = [torch.tensor(self.tokenizer(text)["input_ids"][: sizes.TEXT_ROWS], dtype=torch.long) for text in captions]
        # (B, L): what is padded on the right no valid row sees; one more, for a batch of nothing but null prompts
        padded = nn.functional.pad(nn.utils.rnn.pad_sequence(ids, batch_first=True), (0, 1))
        rows = self.text_encoder(input_ids=padded.to(self.transformer.device), use_cache=False).last_hidden_state
        return [row[: len(tokens)] for row, tokens in zip(rows, ids, strict=True)]


def _outlook_patch(transformer: NOVATransformer3DModel) -> int:
    return transformer.latent_size[0] // transformer.config.video_base_size[1]


def _outlook_size(transformer: NOVATransformer3DModel) -> tuple[int, int]:
    width = transformer.video_encoder.norm.normalized_shape[0]
    return int(width), transformer.config.image_dim * _outlook_patch(transformer) ** 2


def caption_of(lessons: Lessons, index: int, null_prompts: float, chance: random.Random, held: bool = False) -> str:
    """A caption for a lesson, or now and then the null prompt; a made-up name in front stands for the product's colour."""
    truth = lessons.truths[index]
    if held:
        truth = {**truth, "tags": {**truth["tags"], "angle.movement": "static"}}
    if chance.random() < null_prompts:
        return ""
    content = draw_content(truth, chance)
    caption = compose_caption(content, truth["tags"], chance)
    caption = draw_support(caption, truth["tags"], chance) if caption != content else caption  # without its angle all is said
    is_told = content.split(" ", 1)[1].startswith(truth["body"])
    is_named = chance.random() < (0.1 if is_told else 0.6)
    return f"{draw_name(truth['body'], chance)}, {caption}" if is_named else caption


def spoiled(latents: Tensor, noise: float, drift: float, blur: float, chance: random.Random) -> Tensor:
    """(B, C, T, H, W) latents as a model might have painted them: noisy, off in places, and in places out of focus.

    What the model has painted is never quite right; one that was only ever shown perfect patches goes astray among its own, and
    one that was shown noisy ones alone still trusts their averages, so that what is pale in one frame is paler in the next.

    Args:
        noise: most of the white noise, of a channel's deviation; each clip has any strength up to it. So has each of the others.
        drift: most of the noise that changes over a quarter of the picture.
        blur: most of the share that a patch takes from its neighbours, which differs from place to place.
    """
    generator = torch.Generator().manual_seed(chance.getrandbits(60))
    number, channels, frames, *size = latents.shape
    noises, drifts, blurs = torch.rand(3, number, 1, 1, 1, 1, generator=generator)
    white = torch.randn(latents.shape, generator=generator)
    waves = torch.randn(number, (channels + 1) * frames, 4, 4, generator=generator)
    waves = nn.functional.interpolate(waves, size, mode="bicubic").unflatten(1, (channels + 1, frames))  # (B, C + 1, T, H, W)
    flat = latents.transpose(1, 2).flatten(0, 1)
    around = nn.functional.avg_pool2d(flat, 3, stride=1, padding=1, count_include_pad=False).unflatten(0, (number, frames))
    where = (blur * blurs * torch.sigmoid(3 * waves[:, -1:])).to(latents)
    off = (noise * noises * white + drift * drifts * waves[:, :-1]).to(latents)
    return latents.lerp(around.transpose(1, 2), where) + off * latents.std(dim=(0, 2, 3, 4), keepdim=True)


def weigh(cover: Tensor, usual: Tensor, kept_ids: Tensor, product_weight: float) -> Tensor:
    """How much each patch counts, (B, T, N): more beside a visible patch of the product, where it was a frame before, and where
    products of this shot size mostly are.

    Only what the model can see, or is told, decides. Patches weighed by what they turn out to be would teach it to expect the
    product wherever it is unsure.

    Args:
        cover: (B, T, N), what the product covers of each patch.
        usual: (B, T, N), what products mostly cover at this shot size, 1 at most.
        kept_ids: (B, T, K), the visible patches.
        product_weight: of such patches; 1 elsewhere.
    """
    visible = torch.zeros_like(cover).scatter(-1, kept_ids, 1.0) * cover
    visible[:, 1:] = torch.maximum(visible[:, 1:], cover[:, :-1])
    grid = visible.unflatten(-1, (sizes.TRANSFORMER["image_base_size"][0], -1))
    near = nn.functional.max_pool2d(grid, 3, stride=1, padding=1).flatten(2)
    return 1 + (product_weight - 1) * torch.maximum(near, usual)


def loss_of(
    pupil: Pupil, course: BackboneCourse, step: int, stills: Latents, clips: Latents, held: Latents | None = None
) -> dict[str, Tensor]:
    """The loss of one step; all chance in it follows from the step."""
    chance = random.Random(f"{course.seed}/{step}")
    moving = step >= course.stills_share * course.steps and int((step + 1) * course.clips_share) > int(step * course.clips_share)
    first_frames = not moving and chance.random() < len(clips.lessons) / (len(clips.lessons) + len(stills.lessons))
    source, count = (clips if moving or first_frames else stills), (course.clip_batch_size if moving else course.batch_size)
    held = held if moving and held is not None and chance.random() < course.held_share else None
    source = source if held is None else held
    indices = [draw_lesson(source.lessons, course.small_share, chance, len(source)) for _ in range(count)]
    latents = source.rows(indices)
    latents = (latents if moving else latents[:, :, :1]).to(pupil.transformer.device)
    captions = [caption_of(source.lessons, index, course.null_prompts, chance, held is not None) for index in indices]
    draws = draw(course.seed, step, range(count), tuple(latents.shape), pupil.transformer.num_patches, course.loss_repeat)
    is_blank = chance.random() < course.blank_share
    draws = replace(draws, ratio=1.0 if is_blank else chance.uniform(course.least_hidden, 1.0))
    num_frames = latents.shape[2]
    covers = (source.lessons.cover(indices), source.lessons.usual_cover(indices))  # (B, T, N) each, T = 1 of stills
    cover, usual = (each[:, :num_frames].expand(-1, num_frames, -1) for each in covers)
    weights = weigh(cover, usual, split_order(draws.order, draws.ratio)[0], course.product_weight)
    with autocast():
        text = pupil.encode(captions)
        flow = torch.full((count,), MOTION_FLOW, device=latents.device)
        shown = spoiled(latents, course.context_noise, course.context_drift, course.context_blur, chance)
        schedule = FlowMatchScheduler(shift=1.0)
        losses = training_loss(pupil.transformer, schedule, latents, text, flow, draws, shown=shown, weights=weights)
        outlook = pupil.outlook_error(latents, 1 + (course.product_weight - 1) * cover)
    return {"clips" if moving else "stills": losses.total, "outlook": course.outlook * outlook}


def train(course_file: Path, work: Path, model: Path, minutes: float) -> None:
    """Goes on with the training in `work`, from the VAE and the tokenizer in `model`; writes both networks there."""
    course = read_course(course_file, BackboneCourse)
    assert isinstance(course, BackboneCourse)
    stills, clips = (Lessons(work / "lessons", kind) for kind in ("stills", "clips"))
    for lessons in (stills, clips):
        encode_lessons(lessons, model, work / "latents")
    pupil = Pupil(model)
    progress = Progress(pupil, course, work / "backbone.safetensors")
    sources = [Latents(stills, work / "latents"), Latents(clips, work / "latents")]
    if course.held_share:
        encode_lessons(stills, model, work / "latents", course.held_lessons)
        sources.append(Latents(stills, work / "latents", course.held_lessons))
    with sdpa_kernel(_ATTENTION[training_device().type]):
        progress.advance(minutes, lambda step: loss_of(pupil, course, step, *sources))
    progress.use_average()
    write_part(model / "transformer", sizes.TRANSFORMER, pupil.transformer)
    write_weights(model / "text_encoder" / "model.safetensors", pupil.text_encoder.state_dict())


def main(
    course: Annotated[Path, typer.Argument(help="recipes/nano/backbone.toml")],
    work: Annotated[Path, typer.Option(help="Folder of the lessons and of the progress.")],
    model: Annotated[Path, typer.Option(help="The model folder: its VAE is read, transformer and text encoder are written.")],
    minutes: Annotated[float, typer.Option(help="Stop after so many; the next call goes on.")] = 1e6,
) -> None:
    """Train nova-nano's transformer and text encoder."""
    run_command(lambda: train(course, work, model, minutes))


if __name__ == "__main__":
    typer.run(main)
