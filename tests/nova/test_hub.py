"""Names of models, and which files are fetched: with a stand-in for the Hub, as tests open no network."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import DryRunError, LocalEntryNotFoundError

from lora_studio.errors import ModelError
from lora_studio.nova import weights
from lora_studio.nova.layout import download

CONFIGS = [
    "model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json", "tokenizer/merges.txt",
    "tokenizer/vocab.json", "transformer/config.json", "vae/config.json",
]  # fmt: skip
WEIGHTS = ["text_encoder/model.safetensors", "transformer/model.safetensors", "vae/model.safetensors"]


class StandIn:
    """`snapshot_download` over a list of files: remembers what it was asked to fetch."""

    def __init__(self, listed: list[str], is_up: bool = True, cached: Path | None = None) -> None:
        self.listed, self.is_up, self.cached = listed, is_up, cached
        self.fetched: list[str] | None = None

    def __call__(self, name: str, local_dir: Path | None = None, allow_patterns: Any = None, **options: bool) -> Any:
        if options.get("dry_run"):
            if not self.is_up:
                raise DryRunError("no route") from TimeoutError("it took too long")
            return [SimpleNamespace(filename=file) for file in self.listed]
        if options.get("local_files_only") and self.cached is None:
            raise LocalEntryNotFoundError("nothing here")
        self.fetched = allow_patterns
        return str(self.cached or local_dir)


def _stand_in(monkeypatch: pytest.MonkeyPatch, *listed: str, is_up: bool = True, cached: Path | None = None) -> StandIn:
    hub = StandIn([*CONFIGS, *listed], is_up, cached)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    return hub


def test_weights_come_in_one_precision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    variants = ["text_encoder/model.fp16.safetensors", "vae/model.fp16.safetensors", "transformer/model.bin"]
    hub = _stand_in(monkeypatch, *WEIGHTS, *variants)
    assert download("owner/model", tmp_path) == tmp_path
    assert hub.fetched == sorted([*CONFIGS, *WEIGHTS])


def test_a_variant_is_fetched_where_nothing_else_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shards = [f"text_encoder/model.fp16-0000{part}-of-00002.safetensors" for part in (1, 2)]
    index = "text_encoder/model.safetensors.index.fp16.json"
    hub = _stand_in(monkeypatch, *WEIGHTS[1:], *shards, "text_encoder/model.int8.safetensors", index)
    download("owner/model", tmp_path)
    assert hub.fetched == sorted([*CONFIGS, *WEIGHTS[1:], *shards, index])


def test_weights_that_may_hold_code_end_in_help(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub = _stand_in(monkeypatch, *WEIGHTS[1:], "text_encoder/pytorch_model.bin")
    want = r"owner/model has no \.safetensors weights in text_encoder: pytorch_model\.bin may hold code .*torch\.load.*hf download"
    with pytest.raises(ModelError, match=want):
        download("owner/model", tmp_path)
    assert hub.fetched is None


def test_without_the_hub_what_was_fetched_before_will_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    _stand_in(monkeypatch, is_up=False, cached=tmp_path)
    assert weights.find_model("owner/model") == tmp_path
    _stand_in(monkeypatch, is_up=False)
    with pytest.raises(ModelError, match=r"could not be fetched from the Hub either \(TimeoutError\)"):
        weights.find_model("owner/model")


@pytest.mark.parametrize("name", ["./nope", "../nope", "/nope", "/no/pe", "~/nope", "."])
def test_a_path_is_never_asked_of_the_hub(name: str) -> None:
    with pytest.raises(ModelError, match=r"no such folder|has no model_index\.json"):
        weights.find_model(name)
    with pytest.raises(ModelError, match=r"is no Hub id: it must be owner/model.*lora-studio model verify"):
        download(name)


MALFORMED = ["a/b/c", "-a/b", "a/b-", "a/b.", "a--b/c", "a/b..c", "a/b.git", "a/", "a/b\n", f"a/{'b' * 96}", ""]


@pytest.mark.parametrize("name", MALFORMED)
def test_names_of_another_form_are_refused(name: str) -> None:
    with pytest.raises(ModelError, match="owner/model|no such folder|has no model_index"):
        weights.find_model(name)
    with pytest.raises(ModelError, match="is no Hub id: it must be owner/model"):
        download(name)
