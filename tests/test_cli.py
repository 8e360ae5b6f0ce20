"""The command line: what it prints of a drawn workspace, and one clear line for every mistake."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from drawn import draw_takes, draw_workspace, finish_run
from typer.testing import CliRunner, Result

from lora_studio.cli import app
from lora_studio.errors import ModelError
from lora_studio.nova import layout
from lora_studio.nova.weights import find_model, model_sha256
from lora_studio.runs import run_named
from lora_studio.workspace import Workspace


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def one_line(result: Result) -> str:
    """The message of a command that failed as it should: one line, no traceback."""
    assert result.exit_code == 1, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = draw_workspace(tmp_path_factory.mktemp("drawn"))
    draw_takes(workspace)
    return workspace


def test_help_answers_without_torch() -> None:
    code = "import sys; from lora_studio import cli; print([m for m in ('torch', 'numpy', 'datasets', 'peft') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    result = call("--help")
    assert result.exit_code == 0
    for command in ("takes", "score", "report", "list", "card", "doctor", "model"):
        assert command in result.stdout


def test_mistakes_get_one_line(tmp_path: Path) -> None:
    for command in ("takes", "score", "report", "list"):
        assert "no workspace at" in one_line(call(command, tmp_path / "nowhere"))
    workspace = draw_workspace(tmp_path / "drawn")
    assert "no run in" in one_line(call("takes", workspace.root))
    assert "no takes in" in one_line(call("score", workspace.root))
    assert "nothing to report" in one_line(call("report", workspace.root))
    assert "no run in" in one_line(call("list", workspace.root))
    assert "--seeds takes whole numbers" in one_line(call("takes", workspace.root, "--seeds", "0,one"))
    assert "--seeds takes whole numbers" in one_line(call("takes", workspace.root, "--seeds", "3,3"))
    shutil.rmtree(workspace.dataset)
    assert "data-tools build" in one_line(call("takes", workspace.root))
    assert "no model" in one_line(call("model", "info", "nosuch"))


def test_score_prints_a_table_and_json(drawn: Workspace, tiny_vision_folder: Path) -> None:
    result = call("score", drawn.root, "--vision", tiny_vision_folder)
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if re.match(r"(real|base|look) ", line)}
    assert "flicker" in result.stdout.splitlines()[0]
    assert rows["real"].split()[-1] == "2"
    assert "not measured" in result.stdout
    scores = json.loads(call("score", drawn.root, "--vision", tiny_vision_folder, "--json").stdout)
    share = next(s for s in scores["looks"] if (s["look"], s["side"]) == ("base", "brand"))["statistics"]["palette_share"]
    assert f"{share['mean']:.3f} ± {share['standard_error']:.3f}" in result.stdout
    assert (drawn.takes / "scores.json").is_file()


def test_report_prints_the_paragraph_and_where_it_lies(drawn: Workspace) -> None:
    result = call("report", drawn.root)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] in (drawn.takes / "report.md").read_text()
    assert str(drawn.takes / "report.md") in result.stdout


def test_list_and_card_show_the_runs(drawn: Workspace) -> None:
    finish_run(drawn, "other", before=1.5, after=1.25)
    lines = call("list", drawn.root).stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [["look", "finished"], ["other", "finished"]]
    assert "1.5000 -> 1.2500" in lines[1]
    assert "adapter oooooooooooo" in lines[1]
    assert "finished runs: look, other" in one_line(call("card", drawn.root, "nosuch"))
    (run_named(drawn, "other").folder / "card.md").write_text("# other\n")
    assert call("card", drawn.root, "other").stdout == "# other\n"


def test_doctor_says_what_there_is() -> None:
    result = call("doctor")
    assert result.exit_code == 0, result.output
    assert re.search(r"^torch: 2\.\d+", result.stdout, re.M)
    assert re.search(r"^import av: ok$", result.stdout, re.M)
    assert re.search(r"^device: ", result.stdout, re.M)


def test_the_module_is_the_command(tmp_path: Path) -> None:
    """`python -m lora_studio.cli` does what `lora-studio` does."""
    words = [sys.executable, "-m", "lora_studio.cli"]
    assert "Usage" in subprocess.run([*words, "--help"], capture_output=True, text=True, check=True).stdout
    done = subprocess.run([*words, "list", str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"error: no workspace at {tmp_path}" in done.stderr


def test_model_verify_looks_at_every_part(tmp_path: Path) -> None:
    result = call("model", "verify", "nano")
    assert result.exit_code == 0, result.output
    parts = [line.partition(":")[0] for line in result.stdout.splitlines() if ": complete" in line]
    assert sorted(parts) == ["scheduler", "text_encoder", "transformer", "vae"]
    assert f"transformer: complete, sha256 {model_sha256(find_model('nano'))}" in result.stdout
    folder = shutil.copytree(find_model("nano"), tmp_path / "model")
    for path in (folder / "vae").glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:1000])
    result = call("model", "verify", folder)
    assert one_line(result) == f"error: {folder}: vae cannot be used (see above)"
    assert re.search(r"^vae: .*is damaged", result.stdout, re.M)
    assert "transformer: complete" in result.stdout
    assert "no model 'nosuch'" in one_line(call("model", "verify", "nosuch"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, Path | None]]:
    """In place of the Hub: hands out nova-nano under any name; what was asked for."""
    asked: list[tuple[str, Path | None]] = []

    def download(name: str, to: Path | None = None) -> Path:
        asked.append((name, to))
        if name == "owner/nothing":
            raise ModelError(f"no folder {name!r} here, and it could not be fetched from the Hub either")
        return Path(shutil.copytree(find_model("nano"), to or tmp_path / "cache", dirs_exist_ok=True))

    monkeypatch.setattr(layout, "download", download)
    return asked


def test_model_pull_fetches_and_verifies(hub: list[tuple[str, Path | None]], tmp_path: Path) -> None:
    result = call("model", "pull", "owner/model", "--to", tmp_path / "model")
    assert result.exit_code == 0, result.output
    assert hub == [("owner/model", tmp_path / "model")]
    assert f"fetched owner/model to {tmp_path / 'model'}" in result.stdout
    assert result.stdout.count(": complete") == 4
    result = call("model", "pull", "owner/model")
    assert result.exit_code == 0, result.output
    assert f"fetched owner/model to {tmp_path / 'cache'}" in result.stdout
    assert result.stdout.count(": complete") == 4
    assert "could not be fetched" in one_line(call("model", "pull", "owner/nothing"))


def test_model_pull_says_when_what_came_is_not_whole(hub: list[tuple[str, Path | None]], tmp_path: Path) -> None:
    (tmp_path / "model" / "transformer").mkdir(parents=True)
    (tmp_path / "model" / "transformer" / "left.safetensors").write_bytes(b"from another model")
    result = call("model", "pull", "owner/model", "--to", tmp_path / "model")
    assert "transformer cannot be used (see above)" in one_line(result)
    assert hub == [("owner/model", tmp_path / "model")]


def test_model_info_counts_values() -> None:
    folder = Path(__file__).parents[1] / "lora_studio" / "assets" / "nova_nano"
    if not (folder / "model_index.json").is_file():
        pytest.fail("nova-nano ships with the package and is not in this checkout")
    from lora_studio.nova.weights import load_transformer

    result = call("model", "info", "nano")
    assert result.exit_code == 0, result.output
    count = sum(tensor.numel() for tensor in load_transformer(find_model("nano")).state_dict().values())
    assert f"transformer: {count:,} values, sha256 {model_sha256(folder)}" in result.stdout
    assert "9 frames of 192x128 at 12 fps" in result.stdout
