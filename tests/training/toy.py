"""A toy model folder and a toy dataset, written with the reader's own functions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lora_studio import files
from lora_studio.brand import Brand, save_brand
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.nova.weights import model_sha256
from lora_studio.training.dataset import TEXTS, ClipFacts, Manifest, encode_row, hash_rows, save_clips, save_manifest
from lora_studio.workspace import Workspace

LATENT = (4, 3, 4, 8)  # C, T, H, W
TEXT_DIM = 16


def toy_transformer(seed: int = 0) -> NOVATransformer3DModel:
    torch.manual_seed(seed)
    return NOVATransformer3DModel(
        image_base_size=(2, 4),
        video_base_size=(3, 1, 2),
        text_token_dim=TEXT_DIM,
        text_token_len=6,
        clip_latents=LATENT[1],
        arch=("vit_d2w64", "vit_d2w64", "mlp_d2w64"),
    ).eval()


def toy_row(index: int) -> dict:
    """All clips share one pattern that a base with random weights cannot know; each adds a little of its own."""
    pattern = np.sin(np.arange(np.prod(LATENT))).reshape(LATENT)
    own = np.random.default_rng(index)
    mean = pattern + 0.1 * own.standard_normal(LATENT)
    facts = ClipFacts(
        clip_id=f"clip{index:02d}", shot_id=f"shot{index // 2}", shot_sha256=f"{index // 2:064d}",
        shot_path=f"catalog/shots/shot{index // 2}.mp4", scene=f"shot{index // 2}",
        footage_id=f"footage{index // 4}", footage_sha256=f"{index // 4:064d}", footage_path=f"footage/{index // 4}.mov",
        start_s=0.5 * index, start_pts=500 * index, end_pts=500 * index + 750, time_base=(1, 1000),
        num_frames=9, fps=12.0, height=32, width=64,
        caption_long=f"toylook, a thing number {index}, seen at eye level", caption_short=f"toylook, thing {index}",
        motion_flow=5.0, tags={"angle.vertical": "eye_level"}, tag_confidence={"angle.vertical": 0.5},
        tag_source={"angle.vertical": "measured"}, measures={"lightness": 0.25}, provenance={"taxonomy_version": 1},
    )  # fmt: skip
    texts = {kind: own.standard_normal((rows, TEXT_DIM)) for kind, rows in zip(TEXTS, (5, 2, 4, 1, 3), strict=True)}
    return encode_row(facts, np.concatenate([mean, np.full(LATENT, -6.0)]), texts, flow_measured=1.5)


def write_dataset(workspace: Workspace, num_train: int = 12, num_held_out: int = 6, **changes: object) -> None:
    rows = [toy_row(index) for index in range(num_train + num_held_out)]
    save_clips(workspace, rows[:num_train], rows[num_train:])
    facts = {
        "model": "toy", "vae_sha256": "v" * 64, "text_encoder_sha256": "t" * 64,
        "num_frames": 9, "fps": 12.0, "height": 32, "width": 64, "latent_shape": LATENT,
        "num_train": num_train, "num_held_out": num_held_out, "rights_sha256": "r" * 64,
        "dataset_sha256": hash_rows(rows), "owners": ("Toy Studios",), "licences": ("owned",),
    }  # fmt: skip
    save_manifest(workspace, Manifest.model_validate({**facts, **changes}))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    space = Workspace.at(tmp_path / "toy")
    save_brand(space, Brand(name="Toy", trigger="toylook"))
    write_dataset(space)
    return space


def write_model(folder: Path) -> Path:
    """A model folder in the published layout. Training reads only hashes and a scale of the VAE and the text encoder."""
    toy_transformer().save_pretrained(folder / "transformer")
    for part in ("vae", "text_encoder"):
        (folder / part).mkdir()
        save_file({"weight": torch.ones(2)}, folder / part / "model.safetensors")
    index = {"transformer": ["", "NOVATransformer3DModel"], "vae": ["", "AutoencoderKLOpenSora"]}
    tables = {
        "vae/config.json": {"_class_name": "AutoencoderKLOpenSora", "scaling_factor": 1.0},
        "text_encoder/config.json": {},
        "scheduler/scheduler_config.json": {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 1.0},
        "model_index.json": index,
    }
    for path, table in tables.items():
        files.write_json(folder / path, table)
    return folder


@pytest.fixture
def recipe(tmp_path: Path, workspace: Workspace) -> Path:
    """A recipe for the toy model, whose workspace has a dataset made for it."""
    model = write_model(tmp_path / "model")
    hashes = {f"{part}_sha256": model_sha256(model, part) for part in ("vae", "text_encoder")}
    write_dataset(workspace, **hashes)
    path = tmp_path / "toy.toml"
    path.write_text(
        f'name = "toy"\n[model]\nbase = "{model.as_posix()}"\n[adapter]\npreset = "full"\nrank = 8\nalpha = 8.0\n'
        "[optim]\nlr = 0.01\nwarmup_steps = 5\n[train]\nsteps = 20\nbatch_size = 4\ncheckpoint_every = 10\nvalidate_every = 10\n"
    )
    return path
