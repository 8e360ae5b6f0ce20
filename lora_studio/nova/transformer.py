"""The NOVA backbone: predicts a video frame by frame, and a frame patch set by patch set.

B batch, T latent frames, C H W latents, N patches per frame, M patches predicted, K patches kept, P values of a patch
(p * p * C), L condition tokens, D width, R rows (B * T). Built on diffusers' model classes; parameter names are those of
the published weights. Nothing is remembered between calls.
"""

from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.loaders.peft import PeftAdapterMixin
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook  # offloading also sees calls other than forward
from torch import Tensor

from lora_studio.errors import ModelError
from lora_studio.nova.config import image_patch, stack_size
from lora_studio.nova.decoder import ImageDecoder
from lora_studio.nova.embeddings import MaskEmbed, MotionEmbed, TextEmbed, VideoPosEmbed
from lora_studio.nova.encoders import ImageEncoder, VideoEncoder
from lora_studio.nova.layers import KVCache, gather_patches
from lora_studio.nova.positions import grid_cells, grid_embedding, rotary_angles
from lora_studio.nova.rules import check_transformer


class NOVATransformer3DModel(ModelMixin, ConfigMixin, PeftAdapterMixin):
    """Video encoder over frames, image encoder over patch sets, diffusion MLP over single patches (arXiv 2412.14169)."""

    _supports_gradient_checkpointing = True
    config: Any

    @register_to_config
    def __init__(
        self,
        image_dim: int = 4,
        image_size: int | tuple[int, int] | None = None,
        image_stride: int = 8,
        text_token_dim: int = 2560,
        text_token_len: int = 256,
        image_base_size: tuple[int, int] = (30, 48),
        video_base_size: tuple[int, int, int] = (16, 15, 24),
        video_mixer_rank: int | None = None,
        rotary_pos_embed: bool = False,
        arch: tuple[str, str, str] = ("vit_d16w1024", "vit_d32w1024", "mlp_d3w1280"),
        clip_latents: int = 9,  # ours: latent frames of a clip; published configs do not say, NOVA's clips have 33 frames
    ) -> None:
        super().__init__()
        check_transformer(dict(self.config))
        video, image, decoder = (stack_size(name) for name in arch)
        self.patch = image_patch(image_stride)
        self.width, self.head_width = video.width, video.width // video.heads
        self.video_encoder = VideoEncoder(video, image_dim, 2 * self.patch, video_mixer_rank)
        self.image_encoder = ImageEncoder(image, image_dim, self.patch)
        self.image_decoder = ImageDecoder(decoder, image_dim, self.patch, image.width)
        self.mask_embed = MaskEmbed(video.width)
        self.text_embed = TextEmbed(text_token_dim, text_token_len, video.width)
        self.video_pos_embed = None if rotary_pos_embed else VideoPosEmbed(video_base_size[0], video.width)
        self.motion_embed = MotionEmbed(video.width) if video_base_size[0] > 1 else None

    @property
    def num_patches(self) -> int:
        """Patches of one frame at the checkpoint's own size."""
        return self.config.image_base_size[0] * self.config.image_base_size[1]

    @property
    def patch_values(self) -> int:
        """Numbers in one patch: p * p * C."""
        return self.patch**2 * self.config.image_dim

    @property
    def latent_size(self) -> tuple[int, int]:
        """Height and width in latent cells of the checkpoint's own size."""
        return self.config.image_base_size[0] * self.patch, self.config.image_base_size[1] * self.patch

    @property
    def num_latents(self) -> int:
        """Latent frames of a clip this checkpoint is made for; 1 for images."""
        return self.config.clip_latents if self.config.video_base_size[0] > 1 else 1

    def forward(
        self,
        latents: Tensor,
        text: list[Tensor],
        motion_flow: Tensor | None,
        kept_ids: Tensor,
        predicted_ids: Tensor,
        noisy: Tensor,
        timesteps: Tensor,
        fps: float = 12.0,
    ) -> Tensor:
        """The whole training pass, through one call so that wrappers for several devices see it.

        Args:
            latents: (B, C, T, H, W) scaled clean latents.
            text: B tensors (n_i, D_text), valid rows only; none for the null prompt.
            motion_flow: (B,) mean optical flow, or None for no motion tokens.
            kept_ids: (B, T, K) patches shown to the image encoder.
            predicted_ids: (B, T, M) patches to predict.
            noisy: (repeats, B, T, M, P) noised patches at `predicted_ids`.
            timesteps: (repeats, B, T, M) of the schedule, 0 to 1000.
            fps: frames per second of the clips.

        Returns:
            Predictions (repeats, B, T, M, P): noise or velocity, as the checkpoint was trained.
        """
        frames = latents.to(self._weight).transpose(1, 2)  # (B, T, C, H, W)
        batch, num_frames = frames.shape[:2]
        condition = self.encode_video(latents, self.condition(text, motion_flow, fps))  # (B, T, N_video, D)
        rows = (values.flatten(0, 1) for values in (frames, condition, kept_ids, predicted_ids))
        z = self.encode_image(*rows).unflatten(0, (batch, num_frames))  # (B, T, M, D)
        context = self.image_decoder.embed_condition(z) + self.image_decoder.embed_time(timesteps)
        return self.image_decoder(noisy, self.image_decoder.modulate(context))

    def compile(self, *args: Any, dynamic: bool | None = True, **kwargs: Any) -> None:
        """Compiles, in place, what sampling spends its time in: each block of the image encoder, and the decoder.

        Sampling never calls `forward`, which is all that `torch.compile(model)` compiles. The blocks share their graphs; the
        encoder as a whole takes eight for a clip of 12 sets, each as slow to compile as all the rest. Shapes change from one set
        of patches to the next, hence `dynamic`; all arguments are those of `torch.compile`.
        """
        for part in (*self.image_encoder.blocks, self.image_decoder):
            part.compile(*args, dynamic=dynamic, **kwargs)

    @apply_forward_hook
    def condition(self, text: list[Tensor], motion_flow: Tensor | None, fps: float = 12.0) -> Tensor:
        """Condition tokens (B, L, D): text rows, then flow and fps for checkpoints of video.

        Text rows beyond `text_token_len` are cut off. An image checkpoint (no motion tokens) ignores flow and fps.
        """
        tokens = self.text_embed(text)  # (B, L_text, D)
        if motion_flow is None or self.motion_embed is None:
            return tokens
        flow = motion_flow.to(tokens.device)
        return torch.cat([tokens, self.motion_embed(flow, torch.full_like(flow, fps, dtype=torch.float32))], dim=1)

    @apply_forward_hook
    def encode_video(self, latents: Tensor, condition: Tensor) -> Tensor:
        """What each frame may know of text and earlier frames, all frames at once (teacher forcing).

        Args:
            latents: (B, C, T, H, W) clean latents; the last frame is not read.
            condition: (B, L, D).

        Returns:
            (B, T, N_video, D).
        """
        batch, _, num_frames, *size = latents.shape
        before = latents[:, :, :-1].transpose(1, 2).flatten(0, 1)  # (B * (T - 1), C, H, W)
        tokens = self.video_encoder.patch_embed(before.to(self._weight)).unflatten(0, (batch, num_frames - 1))
        tokens = torch.cat([self._no_frame(batch, size).unsqueeze(1), tokens], dim=1)  # (B, T, N_video, D)
        frames = torch.arange(num_frames, device=latents.device)
        tokens = tokens + self._video_positions(frames, num_frames, size)
        per_frame, length = tokens.shape[2], condition.shape[1]
        angles = self._video_angles(length, frames, size)
        segments = (length + per_frame,) + (per_frame,) * (num_frames - 1)
        out = self.video_encoder(torch.cat([condition, tokens.flatten(1, 2)], dim=1), segments, angles)
        first, later = out[:, length:].unflatten(1, (num_frames, per_frame)).split([1, num_frames - 1], dim=1)
        return torch.cat([first, self.video_encoder.mix(first, later)], dim=1)

    @apply_forward_hook
    def encode_video_frame(
        self,
        latent: Tensor | None,
        condition: Tensor | None,
        frame: int,
        num_frames: int,
        cache: KVCache,
        blind: Tensor | None = None,
    ) -> tuple[Tensor, KVCache]:
        """`encode_video` of one more frame.

        Args:
            latent: (B, C, H, W) of the frame before; None at frame 0.
            condition: (B, L, D) at frame 0; None after it.
            frame: index of this frame.
            num_frames: length of the whole clip in latent frames: positions in time depend on it.
            cache: what the call for the frame before handed back; an empty one at frame 0.
            blind: (B,) bool, rows to which the frame before is not shown; None shows it to all.

        Returns:
            (B, N_video, D), and the cache with this frame.
        """
        if frame == 0:
            assert condition is not None, "frame 0 needs the condition"
            size, length = self.latent_size, condition.shape[1]
            tokens = self._no_frame(len(condition), size)
        else:
            assert latent is not None, "later frames need the latents of the frame before"
            size, length, condition = tuple(latent.shape[-2:]), 0, None
            tokens = self.video_encoder.patch_embed(latent.to(self._weight))
        frames = torch.tensor([frame], device=tokens.device)
        unseen, tokens = self._no_frame(len(tokens), size), tokens + self._video_positions(frames, num_frames, size)[0]
        if blind is not None:
            tokens = torch.where(blind[:, None, None], unseen, tokens)  # (B, N_video, D), without a position, as published
        x = tokens if condition is None else torch.cat([condition, tokens], dim=1)
        x, layers = self.video_encoder.extend(x, self._video_angles(length, frames, size), cache)
        out = x[:, length:]
        if cache.first_frame is None:
            return out, KVCache(layers, out)
        return self.video_encoder.mix(cache.first_frame, out), KVCache(layers, cache.first_frame)

    @apply_forward_hook
    def encode_image(
        self, latents: Tensor, condition: Tensor, kept_ids: Tensor, predicted_ids: Tensor | None = None
    ) -> Tensor:
        """What belongs into each patch of a frame, given the patches kept and the frame's condition.

        Args:
            latents: (R, C, H, W); only the patches at `kept_ids` are read.
            condition: (R, N_video, D) of the same frames.
            kept_ids: (R, K), K may be 0.
            predicted_ids: (R, M) patches asked for; None asks for all.

        Returns:
            z (R, M, D), or (R, N, D).
        """
        size = latents.shape[-2:]
        known = self.image_encoder.patch_embed(latents.to(self._weight))  # (R, N, D)
        unknown = self.mask_embed.mask_token.expand_as(known)
        if self.config.rotary_pos_embed:
            angles = self._image_angles(condition.shape[1], kept_ids, size)
        else:
            angles, position = None, self._grid(size, self.patch, self.config.image_base_size)
            known, unknown = known + position, unknown + position
        return self.image_encoder(known, unknown, condition, kept_ids, angles, predicted_ids)

    @apply_forward_hook
    def denoise(self, noisy: Tensor, timesteps: Tensor, z: Tensor) -> Tensor:
        """Predicts noise or velocity: noisy (R, M, P), timesteps (R, M) or (), z (R, M, D) -> (R, M, P).

        A loop over many timesteps calls `image_decoder.embed_condition` once instead.
        """
        context = self.image_decoder.embed_condition(z) + self.image_decoder.embed_time(timesteps)
        return self.image_decoder(noisy, self.image_decoder.modulate(context))

    @property
    def _weight(self) -> Tensor:
        return self.image_encoder.patch_embed.proj.weight

    def _no_frame(self, batch: int, size: tuple[int, ...] | list[int]) -> Tensor:
        patches = (size[0] // (2 * self.patch)) * (size[1] // (2 * self.patch))
        return self.mask_embed.bos_token.expand(batch, patches, -1)  # (B, N_video, D)

    def _grid(self, size: tuple[int, ...] | list[int], patch: int, base: tuple[int, ...] | list[int]) -> Tensor:
        height, width = size[0] // patch, size[1] // patch
        if (height, width) != tuple(base):
            want = " x ".join(str(side * patch) for side in base)
            raise ModelError(
                f"latents are {size[0]} x {size[1]}, but this checkpoint has positions for {want} (height x width) only: "
                f"resize or crop the clip to {base[0] * patch * 8} x {base[1] * patch * 8} pixels"
            )
        return grid_embedding(height, width, self.width, self._weight.device).to(self._weight)  # (N, D)

    def _video_positions(self, frames: Tensor, num_frames: int, size: tuple[int, ...] | list[int]) -> Tensor:
        if self.video_pos_embed is None:
            return self._weight.new_zeros(len(frames), 1, 1)
        time = self.video_pos_embed(frames, num_frames).unsqueeze(1)  # (T, 1, D)
        return time + self._grid(size, 2 * self.patch, self.config.video_base_size[1:])  # (T, N_video, D)

    def video_positions(self, length: int, frames: Tensor, size: tuple[int, ...] | list[int]) -> Tensor:
        """Time, row and column of each token of the video encoder, (L + T * N_video, 3): the `length` condition tokens are at 0."""
        cells = grid_cells(size[0] // (2 * self.patch), size[1] // (2 * self.patch), frames.device)  # (N_video, 2)
        time = frames[:, None, None].expand(-1, len(cells), 1)
        positions = torch.cat([time, cells.expand(len(frames), -1, -1)], dim=-1).flatten(0, 1)  # (T * N_video, 3)
        return torch.cat([positions.new_zeros(length, 3), positions])

    def _video_angles(self, length: int, frames: Tensor, size: tuple[int, ...] | list[int]) -> Tensor | None:
        if not self.config.rotary_pos_embed:
            return None
        return rotary_angles(self.video_positions(length, frames, size), self.head_width).unsqueeze(0)  # (1, S, K / 2)

    def _image_angles(self, length: int, kept_ids: Tensor, size: tuple[int, ...] | torch.Size) -> tuple[Tensor, Tensor]:
        cells = grid_cells(size[0] // self.patch, size[1] // self.patch, kept_ids.device)  # (N, 2)
        positions = torch.nn.functional.pad(cells, (1, 0))  # (N, 3)
        second = rotary_angles(torch.cat([positions.new_zeros(length, 3), positions]), self.head_width)
        kept = gather_patches(second[length:].expand(len(kept_ids), -1, -1), kept_ids)
        first = torch.cat([second[:length].expand(len(kept_ids), -1, -1), kept], dim=1)
        return first, second.unsqueeze(0)
