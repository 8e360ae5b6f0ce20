"""open_clip from a local folder: what is refused, what the vectors are, and whether the model knows colours."""

import json
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from data_tools.stage import render
from data_tools.stage.lessons import lesson
from lora_studio.errors import ModelError
from lora_studio.taxonomy import AXES
from lora_studio.vision import COLOUR_CARDS, CONFIG_NAME, WEIGHTS_NAME, Vision, load_vision

NANO = Path(__file__).parents[1] / "lora_studio" / "assets" / "nova_nano" / "open_clip"


@pytest.fixture(scope="module")
def folder(tiny_vision_folder: Path) -> Path:
    return tiny_vision_folder


@pytest.fixture(scope="module")
def vision(folder: Path) -> Vision:
    return load_vision(folder)


def test_vectors_have_length_one_and_do_not_depend_on_the_batch(vision: Vision) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (5, 40, 64, 3), dtype=np.uint8)
    once = vision.embed_images(frames)
    assert once.shape == (5, 32)
    assert once.dtype == torch.float32
    assert torch.allclose(once.norm(dim=1), torch.ones(5), atol=1e-5)
    assert torch.allclose(once, vision.embed_images(torch.from_numpy(frames), batch_size=2), atol=1e-5)
    texts = vision.embed_texts(["a red image", "a wide shot"])
    assert torch.allclose(texts.norm(dim=1), torch.ones(2), atol=1e-5)
    assert vision.logit_scale == pytest.approx(1 / 0.07, rel=1e-4)


def test_the_whole_frame_is_seen(vision: Vision) -> None:
    """A 4:1 frame keeps its ratio: 32 wide and 8 high in the middle, black (normalised) above and below."""
    white = np.full((50, 200, 3), 255, dtype=np.uint8)
    pixels = vision._preprocess(Image.fromarray(white))  # (3, 32, 32)
    rows = (pixels[0] > pixels[0].min() + 0.5).all(dim=1)
    assert rows.sum() == 8
    assert rows[12:20].all()
    marked = white.copy()
    marked[:, :20] = 0  # a centre crop would never see the left tenth
    assert not torch.allclose(vision.embed_images(white[None]), vision.embed_images(marked[None]), atol=1e-4)


def test_an_untrained_model_fails_the_colour_cards(vision: Vision) -> None:
    assert len(COLOUR_CARDS) == 8
    assert vision.colour_cards_right < 7
    assert not vision.knows_colours


@pytest.fixture(scope="module")
def shipped() -> Vision:
    if not (NANO / WEIGHTS_NAME).is_file():
        pytest.fail("nova-nano ships with the package and is not in this checkout")
    return load_vision(NANO)


def test_the_shipped_model_knows_colours(shipped: Vision) -> None:
    assert shipped.knows_colours


def test_the_shipped_model_finds_the_words_of_stage_frames_it_has_not_seen(shipped: Vision) -> None:
    """Of 96 descriptions a still's own comes first where chance would say one in 96; key and height of the camera can be told."""
    unseen = [lesson("stills", 1_000_000 + number) for number in range(96)]
    frames = shipped.embed_images(np.stack([render(item.scene, 128, 192, 1, 12)[0] for item in unseen]))
    texts = shipped.embed_texts([item.truth["content"] for item in unseen])
    own = (frames @ texts.T).argmax(dim=1) == torch.arange(96)
    assert own.float().mean() > 0.5
    for axis, least in (("light.key", 0.85), ("angle.vertical", 0.5)):
        said = shipped.embed_texts([phrases[0] for phrases in AXES[axis].values()])
        named = [list(AXES[axis])[index] for index in (frames @ said.T).argmax(dim=1)]
        right = [name == item.truth["tags"][axis] for name, item in zip(named, unseen, strict=True)]
        assert np.mean(right) > least, axis


def test_the_hash_follows_weights_and_configuration(folder: Path, tmp_path: Path) -> None:
    first = load_vision(folder).sha256
    _copy(folder, tmp_path)
    assert load_vision(tmp_path).sha256 == first
    weights = load_file(tmp_path / WEIGHTS_NAME)
    weights["logit_scale"] = weights["logit_scale"] + 1
    save_file(weights, tmp_path / WEIGHTS_NAME)
    changed = load_vision(tmp_path)
    assert changed.sha256 != first
    assert changed.logit_scale == pytest.approx(np.e / 0.07, rel=1e-4)


def test_missing_weights_are_an_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"open_clip_config\.json is missing"):
        load_vision(tmp_path)
    (tmp_path / CONFIG_NAME).write_bytes((folder / CONFIG_NAME).read_bytes())
    with pytest.raises(ModelError, match=r"open_clip_model\.safetensors is missing"):
        load_vision(tmp_path)


def test_weights_of_another_shape_are_an_error(folder: Path, tmp_path: Path) -> None:
    _copy(folder, tmp_path)
    config = json.loads((tmp_path / CONFIG_NAME).read_text())
    config["model_cfg"]["embed_dim"] = 16
    (tmp_path / CONFIG_NAME).write_text(json.dumps(config))
    with pytest.raises(ModelError, match="do not fit"):
        load_vision(tmp_path)


def test_a_text_tower_from_the_network_is_refused(folder: Path, tmp_path: Path) -> None:
    _copy(folder, tmp_path)
    config = json.loads((tmp_path / CONFIG_NAME).read_text())
    config["model_cfg"]["text_cfg"]["hf_model_name"] = "roberta-base"
    (tmp_path / CONFIG_NAME).write_text(json.dumps(config))
    with pytest.raises(ModelError, match="hf_model_name"):
        load_vision(tmp_path)


def test_no_socket_is_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError(f"a socket was opened: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    load_vision(folder).embed_texts(["offline"])


def _copy(source: Path, target: Path) -> None:
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        (target / name).write_bytes((source / name).read_bytes())
