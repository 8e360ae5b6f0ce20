"""The builder of nova-nano: same seed, same bytes; another seed, other weights; the result loads."""

from pathlib import Path

import pytest

from lora_studio import files
from lora_studio.nano.build import build
from lora_studio.nova import weights


def _hashes(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): files.sha256_file(path) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nano")
    build(folder, 0)
    return folder


def test_a_seed_gives_the_same_bytes(built: Path, tmp_path: Path) -> None:
    build(tmp_path, 0)
    assert _hashes(built) == _hashes(tmp_path)


def test_the_shipped_set_has_the_layout_and_the_sizes_of_this_builder(built: Path) -> None:
    shipped = weights.find_model("nano")
    assert _hashes(built).keys() == _hashes(shipped).keys() - {"card.md"}
    assert weights.clip_shape(built) == weights.clip_shape(shipped)
    configs = [path.relative_to(built) for path in built.rglob("*.json")]
    assert len(configs) > 8
    for path in configs:
        assert (built / path).read_bytes() == (shipped / path).read_bytes(), path
