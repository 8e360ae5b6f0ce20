"""Starting a run, or going on with one. Knows run folders and hashes; loads no model and reads no clip."""

from lora_studio import files
from lora_studio.adapters.attach import Attached
from lora_studio.errors import TrainingError
from lora_studio.recipe import Recipe, recipe_to_toml
from lora_studio.runs import Run, RunState


def recipe_sha256(recipe: Recipe) -> str:
    """The hash of everything a recipe says, defaults included."""
    return files.sha256_json(recipe.model_dump(mode="json"))


def check_run(run: Run, recipe: Recipe, dataset_sha256: str, model_sha256: str) -> RunState | None:
    """What is known of a run that was started before; None when there is none of that name.

    Raises:
        TrainingError: it was started with another recipe, dataset or base: going on would make neither one nor the other.
    """
    state = run.state()
    if state is None:
        return None
    now = {"recipe": recipe_sha256(recipe), "dataset": dataset_sha256, "base model": model_sha256}
    then = {"recipe": state.recipe_sha256, "dataset": state.dataset_sha256, "base model": state.model_sha256}
    changed = [what for what in now if now[what] != then[what]]
    if changed:
        raise TrainingError(
            f"run {run.name!r} was started with another {' and another '.join(changed)} ({state.steps_done} steps done): "
            f"train under a new name with --name NEW, or bring the old {' and '.join(changed)} back"
        )
    return state


def first_state(run: Run, recipe: Recipe, dataset_sha256: str, model_sha256: str, attached: Attached) -> RunState:
    """run.json of a run with no step done."""
    return RunState(
        name=run.name,
        status="training",
        recipe_sha256=recipe_sha256(recipe),
        dataset_sha256=dataset_sha256,
        model=recipe.model.base,
        model_sha256=model_sha256,
        num_modules=attached.num_modules,
        num_parameters=attached.num_parameters,
        steps_done=0,
    )


def write_start(run: Run, recipe: Recipe, state: RunState) -> None:
    """Makes the run folder: the resolved recipe first, then run.json."""
    files.write_text(run.recipe_file, recipe_to_toml(recipe))
    run.save_state(state)
