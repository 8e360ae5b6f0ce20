"""Trains one adapter: a recipe and a workspace in, a run folder out.

    accelerate launch train.py recipes/nano_look.toml --workspace demo/acme

Running the same command again goes on from the last checkpoint; a finished run is left as it is. Knows the order of things
and nothing of how they are done. Heavy libraries are imported after the command line is understood.
"""

import argparse
import logging
import re

from lora_studio.errors import run_command
from lora_studio.records import NOT_RUNS
from lora_studio.threads import share_cores


def main() -> None:
    """The console entry point."""
    parser = argparse.ArgumentParser(description="Train one adapter on a workspace's dataset; run again to go on or to do nothing.")
    parser.add_argument("recipe", help="a TOML recipe, such as recipes/nano_look.toml")
    parser.add_argument("--workspace", required=True, help="the brand's folder, with a dataset made by `data-tools build`")
    parser.add_argument("--name", type=_run_name, help="name of the run (default: the recipe's name)")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override one value; repeatable")
    arguments = parser.parse_args()
    share_cores()
    run_command(lambda: train(arguments))


def train(arguments: argparse.Namespace) -> None:
    """Everything in order: run folder, backbone and adapter, training, adapter and card."""
    from lora_studio.brand import load_brand
    from lora_studio.recipe import load_recipe
    from lora_studio.runs import run_named
    from lora_studio.workspace import Workspace

    # the recipe, the brand and the run: wrong input is told before anything heavy is loaded
    recipe = load_recipe(arguments.recipe, tuple(arguments.set))
    workspace = Workspace.open(arguments.workspace)
    brand, run = load_brand(workspace), run_named(workspace, arguments.name or recipe.name)
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of kernels that nothing here uses

    # the data, and whether there is anything to do
    from lora_studio.nova.weights import find_model, model_sha256
    from lora_studio.training import delivery, learner, loop, start
    from lora_studio.training.dataset import load_clips

    clips, folder = load_clips(workspace), find_model(recipe.model.base)
    base_sha256 = model_sha256(folder)
    state = start.check_run(run, recipe, clips.manifest.dataset_sha256, base_sha256)
    if state is not None and delivery.is_delivered(run, state):
        print(f"{run.name} is finished ({state.steps_done} steps, {run.adapter}): nothing to do; train anew with --name NEW")
        return

    # devices, the frozen backbone and its adapter
    accelerator = loop.start_accelerator(recipe.train)
    student = learner.build_learner(folder, recipe, clips.manifest, accelerator)
    if accelerator.is_main_process and state is None:
        state = start.first_state(run, recipe, clips.manifest.dataset_sha256, base_sha256, student.attached)
        start.write_start(run, recipe, state)
    accelerator.wait_for_everyone()

    # train
    attached, done = student.attached, state.steps_done if state is not None else 0
    accelerator.print(f"base {recipe.model.base} on {accelerator.device} in {loop.precision_of(accelerator)}")
    accelerator.print(f"adapter {recipe.adapter.preset}: {attached.num_modules} layers, {attached.num_parameters:,} parameters")
    accelerator.print(f"data: {len(clips.train)} clips to train on, {len(clips.held_out)} held out")
    accelerator.print(f"steps: {done} of {recipe.train.steps} done; everything goes to {run.folder}")
    losses = loop.train(run, recipe, clips, student, accelerator)

    # save the adapter, prove it, write its card
    if accelerator.is_main_process:
        delivery.deliver(run, recipe, clips, student, losses, brand.trigger, loop.precision_of(accelerator))
        print(f"adapter: {run.adapter}\ncard: {run.folder / 'card.md'}")
        print(delivery.summary(losses))
    accelerator.end_training()


def _run_name(text: str) -> str:
    if text in NOT_RUNS or not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,59}", text):
        taken = " or ".join(NOT_RUNS)
        raise argparse.ArgumentTypeError(f"a run's name is 1 to 60 of a-z, 0-9, _ and -, and not {taken}, got {text!r}")
    return text


if __name__ == "__main__":
    main()
