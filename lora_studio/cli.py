"""The command line `lora-studio`: takes, scores, report, and what there is. Parses and prints; knows no arithmetic.

Every command imports what it needs when it runs, so that `--help` answers at once.
"""

import importlib
import importlib.metadata
import json
import logging
import math
import platform
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lora_studio.errors import LoraStudioError, ModelError, TrainingError, run_command
from lora_studio.threads import share_cores
from lora_studio.workspace import Workspace

if TYPE_CHECKING:
    from lora_studio.consistency.scores import Scores

LIBRARIES = (
    "torch", "peft", "accelerate", "datasets", "decord", "av", "open_clip_torch", "bitsandbytes", "transformers", "diffusers",
    "gradio", "lancedb", "scenedetect", "scikit-image",
)  # fmt: skip
MOST_SEED = 2**63 - 1
IMPORTED = ("decord", "av", "bitsandbytes")  # native code that may be installed and still not load

app = typer.Typer(help="Brand adapters for NOVA: takes, scores, report.", no_args_is_help=True, add_completion=False,
                  pretty_exceptions_enable=False)  # fmt: skip
model_app = typer.Typer(help="Base models.", no_args_is_help=True)
app.add_typer(model_app, name="model")

WorkspaceArgument = Annotated[Path, typer.Argument(help="the brand's folder (it holds brand.toml)", metavar="WORKSPACE")]
StepsOption = Annotated[int | None, typer.Option(min=1, help="patch sets per frame")]
DiffusionStepsOption = Annotated[int | None, typer.Option(min=1, help="diffusion steps per patch set")]
GuidanceOption = Annotated[float | None, typer.Option(min=1, help="how strongly the prompt is followed; 1 is off")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="another setting of the sampler, such as guidance_trunc=200")
]


def main() -> None:
    """The console entry point."""
    share_cores()
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of kernels that nothing here uses
    app()


@app.command()
def takes(
    workspace: WorkspaceArgument,
    seeds: Annotated[str | None, typer.Option(help="seeds instead of the prompt sheet's, such as 0,1")] = None,
    steps: StepsOption = None,
    diffusion_steps: DiffusionStepsOption = None,
    guidance: GuidanceOption = None,
    sets: SetOption = None,
    from_image: Annotated[Path | None, typer.Option(help="a picture every take begins with (image to video)")] = None,
) -> None:
    """Make the takes that are missing: every prompt and seed with the base and with each finished run."""
    given = {"num_steps": steps, "num_diffusion_steps": diffusion_steps, "guidance": guidance}
    run_command(partial(_takes, workspace, seeds, given, sets or [], from_image))


@app.command()
def generate(
    workspace: WorkspaceArgument,
    prompt: Annotated[str, typer.Argument(help="what to show; write the trigger into it for a trained look")],
    to: Annotated[Path, typer.Option(help="the file to write: .mp4 for a video, .png for a still")],
    look: Annotated[list[str] | None, typer.Option(help="base, or a finished run; repeat it to make several side by side")] = None,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED)] = 0,
    strength: Annotated[float, typer.Option(min=0, max=4, help="of the adapters: 1 as trained, 0 none")] = 1.0,
    negative: Annotated[str | None, typer.Option(help="what to steer away from")] = None,
    frames: Annotated[int | None, typer.Option(help="length in frames, 4k + 1; more than the model's own goes on and on")] = None,
    from_image: Annotated[Path | None, typer.Option(help="a picture the video begins with (image to video)")] = None,
    from_video: Annotated[Path | None, typer.Option(help="a clip to go on from; the result begins with it")] = None,
    key: Annotated[list[str] | None, typer.Option(help="FRAME=PICTURE shown at that frame; may be repeated")] = None,
    steps: StepsOption = None,
    diffusion_steps: DiffusionStepsOption = None,
    guidance: GuidanceOption = None,
    sets: SetOption = None,
) -> None:
    """Make one video or still from a prompt: text or image to video, text to image, going on from a clip, key frames."""
    given = {"num_steps": steps, "num_diffusion_steps": diffusion_steps, "guidance": guidance}
    order = {
        "prompt": prompt, "to": to, "looks": tuple(look or ["base"]), "seed": seed, "strength": strength, "negative": negative,
        "num_frames": frames, "image": from_image, "video": from_video,
    }  # fmt: skip
    run_command(partial(_generate, workspace, order, key or [], given, sets or []))


@app.command()
def score(
    workspace: WorkspaceArgument,
    vision: Annotated[Path | None, typer.Option(help="open_clip folder of identity; default: nova-nano's for its sets")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print scores.json instead of a table")] = False,
) -> None:
    """Score the current takes against the palette, the held-out footage and the base."""
    run_command(partial(_score, workspace, vision, as_json))


@app.command()
def report(workspace: WorkspaceArgument) -> None:
    """Write takes/report.md and say in plain words what was learned."""
    run_command(partial(_report, workspace))


@app.command("list")
def list_runs(workspace: WorkspaceArgument) -> None:
    """List the runs of a workspace and their adapters."""
    run_command(partial(_list_runs, workspace))


@app.command()
def card(workspace: WorkspaceArgument, run: Annotated[str, typer.Argument(help="name of a finished run")]) -> None:
    """Print the card of a run's adapter."""
    run_command(partial(_card, workspace, run))


@app.command()
def doctor() -> None:
    """Say what this machine has, and what is missing."""
    run_command(_doctor)


@app.command()
def parity(
    folder: Annotated[Path, typer.Argument(help="a recording of the published implementation, or a folder of them")],
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document instead of lines")] = False,
) -> None:
    """Replay recordings and say how far this installation is from them.

    Exit status 0: all within tolerance; 1: one beyond it; 2: a recorded tensor or fact was not checked; 3: no recording, or a
    damaged one.
    """
    run_command(partial(_parity, folder, as_json))


@app.command()
def merge(
    workspace: WorkspaceArgument,
    run: Annotated[str, typer.Argument(help="name of a finished run")],
    to: Annotated[Path, typer.Option(help="the model folder to make")],
    strength: Annotated[float, typer.Option(min=0, max=4, help="1 as trained")] = 1.0,
) -> None:
    """Write a whole model folder in the published layout with a run's adapter merged in."""
    run_command(partial(_merge, workspace, run, to, strength))


@model_app.command("pull")
def model_pull(
    name: Annotated[str, typer.Argument(help="Hub id, such as BAAI/nova-d48w1024-osp480")],
    to: Annotated[Path | None, typer.Option(help="a folder to fill; default: the Hub's cache on this machine")] = None,
) -> None:
    """Fetch a base model from the Hub, only the files it needs, and check it."""
    run_command(partial(_model_pull, name, to))


@model_app.command("verify")
def model_verify(name: Annotated[str, typer.Argument(help='"nano", a folder, or a Hub id')]) -> None:
    """Load every part of a model, so that every file, key, shape and value is looked at."""
    run_command(partial(_model_verify, name))


@model_app.command("info")
def model_info(name: Annotated[str, typer.Argument(help='"nano", a folder, or a Hub id')]) -> None:
    """Say what a base model is: clip size, sizes and hashes of its parts."""
    run_command(partial(_model_info, name))


def _parity(folder: Path, as_json: bool) -> None:
    from lora_studio.parity import report

    try:
        reports = list(report.replay_folder(folder))
    except LoraStudioError as fault:
        print(f"error: {fault}", file=sys.stderr)
        raise SystemExit(3) from None
    print(json.dumps(report.as_json(reports), indent=2) if as_json else "\n".join(report.as_lines(reports)))
    for damaged in (found for found in reports if found.fault):
        print(f"error: {damaged.name}: {damaged.fault}", file=sys.stderr)
    raise SystemExit(report.status_of(reports))


def _generate(folder: Path, order: dict[str, Any], keys: list[str], given: dict[str, Any], sets: list[str]) -> None:
    workspace = Workspace.open(folder)
    keyframes = _parse_keys(keys)
    from lora_studio.generation.settings import sampler_settings
    from lora_studio.generation.single import Order, make_order

    for path in make_order(workspace, Order(**order, keyframes=keyframes), sampler_settings(given, sets)):
        print(f"wrote {path}")


def _parse_keys(keys: list[str]) -> dict[int, Path]:
    pairs = [key.partition("=") for key in keys]
    for key, (at, _, path) in zip(keys, pairs, strict=True):
        if not at.isdecimal() or not path:
            raise LoraStudioError(f"--key takes FRAME=PICTURE, such as 16=end.png; got {key!r}")
    return {int(at): Path(path) for at, _, path in pairs}


def _takes(folder: Path, seeds: str | None, given: dict[str, Any], sets: list[str], image: Path | None) -> None:
    workspace = Workspace.open(folder)
    chosen = _parse_seeds(seeds) if seeds is not None else None
    from lora_studio.generation.settings import sampler_settings
    from lora_studio.generation.takes import make_takes

    made = make_takes(workspace, sampler_settings(given, sets), chosen, image)
    looks = list(dict.fromkeys(take.look for take in made))
    print(f"{len(made)} takes of {len(looks)} looks ({', '.join(looks)}) in {workspace.takes}")
    print(f"next: lora-studio score {folder}")


def _parse_seeds(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) <= MOST_SEED for part in parts) or len(set(parts)) < len(parts):
        raise LoraStudioError(f"--seeds takes whole numbers up to {MOST_SEED} that differ, such as 0,1; got {text!r}")
    return tuple(int(part) for part in parts)


def _score(folder: Path, vision: Path | None, as_json: bool) -> None:
    workspace = Workspace.open(folder)
    from lora_studio.consistency.index import score_workspace

    scores = score_workspace(workspace, vision)
    if as_json:
        print(json.dumps(scores.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=False))
        return
    print("\n".join(_score_lines(scores)))
    print(f"\nall figures: {workspace.takes / 'scores.json'}\nnext: lora-studio report {folder}")


def _score_lines(scores: "Scores") -> Iterator[str]:
    measured = [m for m in scores.definitions if any(m in summary.statistics for summary in scores.looks)]
    width = max(len(summary.look) for summary in scores.looks) + len(" (no trigger)")
    yield " " * width + "".join(f"{scores.definitions[m].name:>18}" for m in measured) + f"{'n':>8}"
    yield " " * width + "".join(f"{'(' + scores.definitions[m].unit + ')':>18}" for m in measured)
    for summary in scores.looks:
        name = summary.look + (" (no trigger)" if summary.side == "control" else "")
        cells = (summary.statistics.get(m) for m in measured)
        row = "".join(f"{_cell(s.mean, s.standard_error) if s is not None else '-':>18}" for s in cells)
        yield f"{name:<{width}}{row}{max(s.n for s in summary.statistics.values()):>8}"
    yield "mean ± standard error over prompts and seeds (real: over shots)"
    yield f"palette: {', '.join(scores.palette)} ({scores.palette_source})"
    yield from (f"{scores.definitions[metric].name}: {reason}" for metric, reason in scores.reasons.items())


def _cell(mean: float, standard_error: float | None) -> str:
    return f"{mean:.3f}" + (f" ± {standard_error:.3f}" if standard_error is not None else "")


def _report(folder: Path) -> None:
    workspace = Workspace.open(folder)
    from lora_studio.consistency.report import write_report

    print(write_report(workspace))
    print(f"\nreport: {workspace.takes / 'report.md'}\nreview page: python app.py --workspace {folder}")


def _list_runs(folder: Path) -> None:
    workspace = Workspace.open(folder)
    from lora_studio.runs import run_named

    runs = [run_named(workspace, path.name) for path in sorted(workspace.runs.glob("[!.]*")) if path.is_dir()]
    states = [state for run in runs if (state := run.state()) is not None]
    if not states:
        raise TrainingError(
            f"no run in {workspace.runs}: train one with "
            f"`accelerate launch train.py recipes/nano_look.toml --workspace {folder}`"
        )
    width = max(len(state.name) for state in states)
    for state in states:
        loss = ""
        if state.validation_before is not None and state.validation_after is not None:
            loss = f"  held-out loss {state.validation_before:.4f} -> {state.validation_after:.4f}"
        adapter = f"  adapter {state.adapter_sha256[:12]}" if state.adapter_sha256 is not None else ""
        print(f"{state.name:<{width}}  {state.status:<8}  {state.steps_done:>6} steps  on {state.model}{loss}{adapter}")


def _card(folder: Path, name: str) -> None:
    workspace = Workspace.open(folder)
    from lora_studio.runs import finished_runs, run_named

    path = run_named(workspace, name).folder / "card.md"
    if not path.is_file():
        finished = ", ".join(run.name for run in finished_runs(workspace)) or "none"
        raise TrainingError(f"no card of a run {name!r} in {workspace.runs}; finished runs: {finished}")
    print(path.read_text(encoding="utf-8"), end="")


def _doctor() -> None:
    import torch

    from lora_studio.precision import has_bf16

    precision = "bf16" if has_bf16() else "float32"
    print(f"python {platform.python_version()} on {platform.platform()}")
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        print(f"device: {properties.name}, {properties.total_memory / 2**30:.1f} GiB, {precision}")
    else:
        print(f"device: CPU, {torch.get_num_threads()} threads, {precision} (no CUDA: nova-nano runs, the 0.6B model is slow)")
    for library in LIBRARIES:
        print(f"{library}: {_installed(library)}")
    for module in IMPORTED:
        print(f"import {module}: {_import_fault(module) or 'ok'}")
    print(f"ffmpeg on PATH: {shutil.which('ffmpeg') or 'none (not needed: PyAV brings its own)'}")
    print(f"nova-nano: {_nano_state()}")


def _installed(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _import_fault(module: str) -> str | None:
    try:
        importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as fault:
        return f"fails ({str(fault).splitlines()[0]})"
    return None


def _nano_state() -> str:
    from lora_studio.nova import weights

    try:
        folder = weights.find_model("nano")
        for load in (weights.load_transformer, weights.load_vae, weights.load_text):  # each checks every key and shape
            load(folder)
        hashes = {part: weights.model_sha256(folder, part)[:12] for part in ("transformer", "vae", "text_encoder")}
    except ModelError as fault:
        return f"not usable ({fault})"
    return "complete; " + ", ".join(f"{part} {digest}" for part, digest in hashes.items())


def _merge(folder: Path, name: str, to: Path, strength: float) -> None:
    workspace = Workspace.open(folder)
    from lora_studio.runs import finished_runs

    runs = {run.name: run for run in finished_runs(workspace)}
    if name not in runs:
        raise TrainingError(f"no finished run {name!r} in {workspace.runs}; there are: {', '.join(runs) or 'none'}")
    from lora_studio.adapters.storage import load_adapter, merge_adapter, save_merged_
    from lora_studio.generation.plan import Base, check_adapter
    from lora_studio.nova import weights
    from lora_studio.wall import read_manifest

    source = weights.find_model(model_name := read_manifest(workspace)["model"])
    check_adapter(runs[name], Base(model_name, weights.model_sha256(source), weights.clip_shape(source)))
    model: Any = merge_adapter(load_adapter(weights.load_transformer(source), runs[name].adapter, strength))
    save_merged_(model, source, to)
    print(f"wrote {to}: a model folder like any other, with {name} at strength {strength:g} inside")
    print(f"next: lora-studio model verify {to}")


def _model_pull(name: str, to: Path | None) -> None:
    from lora_studio.nova.layout import download

    print(f"fetched {name} to {download(name, to)}")
    _model_verify(str(to or name))


def _model_verify(name: str) -> None:
    from lora_studio.nova import weights

    folder = weights.find_model(name)
    faults = weights.verify_model(folder)
    for part, fault in faults.items():
        digest = f", sha256 {weights.model_sha256(folder, part)}" if not fault and part != "scheduler" else ""
        print(f"{part}: {fault or 'complete'}{digest}")
    if wrong := [part for part, fault in faults.items() if fault]:
        raise ModelError(f"{folder}: {', '.join(wrong)} cannot be used (see above)")


def _model_info(name: str) -> None:
    from safetensors import SafetensorError, safe_open

    from lora_studio.nova import weights

    folder = weights.find_model(name)
    shape = weights.clip_shape(folder)
    print(f"{name}: {folder}")
    size = f"{shape.num_frames} frames of {shape.width}x{shape.height} at {shape.fps:g} fps"
    print(f"clip: {size}; latents (C, T, H, W) {shape.latent}")
    for part in ("transformer", "vae", "text_encoder"):
        count = 0
        for path in sorted((folder / part).glob("*.safetensors")):
            try:
                with safe_open(path, framework="numpy") as tensors:
                    count += sum(math.prod(tensors.get_slice(key).get_shape()) for key in tensors.keys())  # noqa: SIM118
            except SafetensorError as fault:
                raise ModelError(f"{path} is damaged ({fault}): fetch it again") from None
        print(f"{part}: {count:,} values, sha256 {weights.model_sha256(folder, part)}")


if __name__ == "__main__":
    main()
