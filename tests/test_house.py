"""The house itself: floors, doors, sizes, and that what the README and the recipes say still holds."""

import ast
import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FLOORS = {
    "lora_studio": 0, "lora_studio.errors": 0, "lora_studio.files": 0, "lora_studio.settings": 0, "lora_studio.threads": 0,
    "lora_studio.recipe": 1, "lora_studio.records": 1, "lora_studio.brand": 1, "lora_studio.workspace": 1,
    "lora_studio.runs": 1, "lora_studio.wall": 1, "lora_studio.taxonomy": 0,
    "lora_studio.video": 2, "lora_studio.vision": 2, "lora_studio.precision": 2,
    "lora_studio.nova": 3,
    "lora_studio.adapters": 4,
    "lora_studio.training": 5, "lora_studio.generation": 5, "lora_studio.consistency": 5,
    "lora_studio.review.store": 5, "lora_studio.review.contests": 5,
    "lora_studio.nano": 6, "lora_studio.review": 6, "lora_studio.parity": 6,
    "lora_studio.cli": 7, "data_tools": 7, "train": 7, "app": 7,
}  # fmt: skip
ROOMS = ("lora_studio.nova", "lora_studio.adapters", "lora_studio.training", "lora_studio.generation",
         "lora_studio.consistency", "lora_studio.nano", "lora_studio.review", "lora_studio.parity", "data_tools")  # fmt: skip
DOORS = {
    "gradio": ("lora_studio.review.page", "lora_studio.review.server", "data_tools.review.page"),
    "peft": ("lora_studio.adapters",),
    "decord": ("lora_studio.video",),
    "av": ("lora_studio.video",),
    "open_clip": ("lora_studio.vision", "lora_studio.nano"),
    "bitsandbytes": ("lora_studio.training.optim", "lora_studio.nova.quantise"),
    "accelerate": ("lora_studio.training", "train"),
    "lancedb": ("data_tools.catalog",),
    "scenedetect": ("data_tools.shots",),
    "ray": ("data_tools.on_ray",),
    "sqlalchemy": ("lora_studio.review.store",),
}
LIGHT = ("torch", "numpy", "gradio", "datasets", "transformers", "diffusers", "peft", "accelerate")


def sources() -> list[Path]:
    return sorted([*ROOT.glob("lora_studio/**/*.py"), *ROOT.glob("data_tools/**/*.py"), ROOT / "train.py", ROOT / "app.py"])


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def floor_of(module: str) -> int | None:
    while module:
        if module in FLOORS:
            return FLOORS[module]
        module = module.rpartition(".")[0]
    return None


def room_of(module: str) -> str:
    return next((room for room in ROOMS if module == room or module.startswith(room + ".")), module)


def imports(path: Path) -> list[tuple[str, int, bool]]:
    """(imported module, line, whether it is imported as soon as the file is)."""
    found = []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lazy = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno, id(node) not in lazy) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute in this house"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                is_module = (ROOT / Path(*full.split("."))).with_suffix(".py").exists() or (ROOT / Path(*full.split("."))).is_dir()
                found.append((full if is_module else node.module, node.lineno, id(node) not in lazy))
    return found


def test_floors_hold():
    broken = []
    for path in sources():
        here = module_name(path)
        floor = floor_of(here)
        assert floor is not None, f"{here} stands on no floor: add it to FLOORS"
        for target, line, _ in imports(path):
            if target.split(".")[0] not in ("lora_studio", "data_tools", "train", "app"):
                continue
            below = floor_of(target)
            assert below is not None, f"{path}:{line}: {target} stands on no floor"
            if below > floor:
                broken.append(f"{path}:{line}: {here} (floor {floor}) imports {target} (floor {below}): arrows point down only")
            elif below == floor == 5 and room_of(here) != room_of(target):
                broken.append(f"{path}:{line}: {here} imports {target}: rooms on one floor do not know each other")
            elif here.startswith("lora_studio") and target.startswith("data_tools"):
                broken.append(f"{path}:{line}: lora_studio never imports data_tools")
    assert not broken, "\n".join(broken)


def test_one_library_has_one_door():
    broken = []
    for path in sources():
        here = module_name(path)
        for target, line, _ in imports(path):
            doors = DOORS.get(target.split(".")[0])
            if doors and not any(here == door or here.startswith(door + ".") for door in doors):
                broken.append(f"{path}:{line}: {target} may be imported only in {', '.join(doors)}")
    assert not broken, "\n".join(broken)


def test_low_floors_load_without_heavy_libraries():
    low = [m for p in sources() if (m := module_name(p)) in FLOORS and FLOORS[m] <= 1]
    code = f"import sys\nfor m in {low!r}: __import__(m)\nprint([m for m in {LIGHT!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_files_and_functions_keep_their_size():
    long_files, long_functions, undocumented = [], [], []
    for path in sources():
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        if text.count("\n") > 450:
            long_files.append(f"{path}: {text.count(chr(10))} lines")
        if not ast.get_docstring(tree):
            undocumented.append(str(path))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.end_lineno and node.end_lineno - node.lineno + 1 > 60:
                long_functions.append(f"{path}:{node.lineno}: {node.name} has {node.end_lineno - node.lineno + 1} lines")
    assert not long_files, long_files
    assert not long_functions, long_functions
    assert not undocumented, undocumented


def test_no_vague_file_names():
    vague = [p for p in sources() if p.stem in ("utils", "helpers", "common", "misc")]
    assert not vague


@pytest.mark.parametrize("path", sorted(ROOT.glob("recipes/*.toml")), ids=lambda p: p.stem)
def test_every_recipe_parses(path: Path):
    from lora_studio.recipe import load_recipe

    recipe = load_recipe(path)
    assert recipe.name == path.stem


COMMANDS = ["data-tools --help", "lora-studio --help", "python train.py --help", "python app.py --help"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_answers_without_torch(command: str):
    """`--help` may take a second of processor time; measured as the fastest of three, without importing torch."""
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run(command.split(), capture_output=True, text=True, cwd=ROOT, env=environment, check=True)
        seconds.append(time.perf_counter() - start)
        assert "Usage" in done.stdout or "usage" in done.stdout
        assert not re.search(r"\| +(torch|gradio|transformers|diffusers|peft)$", done.stderr, re.M)
    print(f"{command}: fastest of three {min(seconds):.2f} s")


def readme_commands() -> list[str]:
    """Every command line shown in a fenced block of the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:sh|bash)\n(.*?)```", text, re.S)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def test_readme_commands_exist():
    """Each command of the README names a real make target, subcommand, recipe or script."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    helps = {tool: _subcommands(tool) for tool in ("data-tools", "lora-studio")}
    commands = readme_commands()
    assert commands, "the README shows no commands"
    for command in commands:
        words = command.split()
        if words[0] == "make":
            assert words[1] in targets, command
        elif words[0] in helps:
            assert words[1] in helps[words[0]], command
        elif "train.py" in words:
            assert (ROOT / words[words.index("train.py") + 1]).is_file(), command
        elif words[0] == "python":
            assert (ROOT / words[1]).is_file(), command
        else:
            assert words[0] in ("git", "cd"), f"README shows a command nothing checks: {command}"


def _subcommands(tool: str) -> set[str]:
    if tool == "data-tools":
        from data_tools.__main__ import app
    else:
        from lora_studio.cli import app
    import typer.main

    return set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_version_is_one():
    import lora_studio

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == lora_studio.__version__


def test_lock_names_no_host():
    assert "://" not in (ROOT / "requirements.lock").read_text()


def test_every_makefile_data_command_is_public():
    """`make demo` is nothing but public commands: each line starts with one of them."""
    text = (ROOT / "Makefile").read_text()
    body = re.search(r"^demo:.*?\n(.*?)\n\n", text, re.S | re.M)
    assert body
    lines = [line.strip() for line in body[1].splitlines() if line.startswith("\t")]
    assert len(lines) >= 11
    for line in lines:
        assert line.split()[0] in ("data-tools", "lora-studio", "accelerate", "python", "@echo"), line
