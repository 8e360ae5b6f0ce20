"""How small nova-nano is. Plain numbers: 9 frames of 192 x 128 pixels at 12 fps, latents (8, 3, 16, 24)."""

from typing import Any, Final

LATENT_CHANNELS: Final = 8  # twice the published: four hold an 8 x 8 x 4 block of a product shot too coarsely for its badge
TEXT_WIDTH: Final = 128
TEXT_ROWS: Final = 96
VOCABULARY: Final = 1536

TRANSFORMER: Final[dict[str, Any]] = {
    "image_dim": LATENT_CHANNELS,
    "image_size": [128, 192],
    "image_stride": 8,
    "text_token_dim": TEXT_WIDTH,
    "text_token_len": TEXT_ROWS,
    "image_base_size": [8, 12],
    "video_base_size": [3, 4, 6],
    "video_mixer_rank": None,
    "rotary_pos_embed": False,
    "clip_latents": 3,
    "arch": ["vit_d4w192", "vit_d7w192", "mlp_d3w256"],
}

VAE: Final[dict[str, Any]] = {
    "block_out_channels": [16, 32, 64, 64],
    "layers_per_block": 1,
    "latent_channels": LATENT_CHANNELS,
    "norm_num_groups": 4,
    "sample_size": 128,
    "scaling_factor": 1.0,
}

PHI: Final[dict[str, Any]] = {
    "hidden_size": TEXT_WIDTH,
    "intermediate_size": 4 * TEXT_WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "partial_rotary_factor": 0.5,
}

CLIP_CONTEXT: Final = 48

OPEN_CLIP: Final[dict[str, Any]] = {
    "model_cfg": {
        "embed_dim": 64,
        "vision_cfg": {"image_size": 96, "layers": 4, "width": 128, "head_width": 32, "patch_size": 12},
        "text_cfg": {
            "context_length": CLIP_CONTEXT,
            "vocab_size": VOCABULARY,
            "hf_tokenizer_name": "tokenizer",  # the folder itself: open_clip looks beside this file
            "width": 128,
            "heads": 4,
            "layers": 2,
        },
    },
    "preprocess_cfg": {
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
    },
}
