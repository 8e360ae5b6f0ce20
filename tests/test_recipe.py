"""Recipes: every fault in one message, defaults in one place, overrides as part of loading."""

from pathlib import Path

import pytest

from lora_studio.errors import RecipeError
from lora_studio.recipe import Recipe, load_recipe, recipe_to_toml


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_resolved_recipe_loads_as_itself(tmp_path):
    recipe = Recipe(name="look", description='say "look"\nand — more')
    assert load_recipe(write(tmp_path, recipe_to_toml(recipe))) == recipe


def test_all_faults_come_in_one_message_with_the_nearest_key(tmp_path):
    path = write(tmp_path, 'name = "x"\n[adapter]\nrnk = 4\nalpha = -1.0\n[optim]\nlr = "fast"\n[trian]\nsteps = 3\n')
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    message = str(caught.value)
    assert "has 4 faults" in message
    assert "adapter.rnk is not a known key; did you mean rank?" in message
    assert "adapter.alpha: input should be greater than 0, got -1.0" in message
    assert "optim.lr: input should be a valid number, got 'fast'" in message
    assert "trian is not a known key; did you mean train?" in message


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("optim.lr=3e-4", "optim", "lr", 3e-4),
        ("train.steps=7", "train", "steps", 7),
        ("adapter.preset=image_encoder", "adapter", "preset", "image_encoder"),
        ('adapter.preset="image_encoder"', "adapter", "preset", "image_encoder"),
        ("optim.betas=[0.8, 0.9]", "optim", "betas", (0.8, 0.9)),
        ("train.gradient_checkpointing=true", "train", "gradient_checkpointing", True),
    ],
)
def test_overrides(tmp_path, override, section, key, value):
    recipe = load_recipe(write(tmp_path, 'name = "x"\n'), (override,))
    assert getattr(getattr(recipe, section), key) == value


@pytest.mark.parametrize("override", ["optim.lr", "=3", "name.deep=1", "train.steps=0", "train.steps=1.5"])
def test_bad_overrides_are_recipe_errors(tmp_path, override):
    with pytest.raises(RecipeError):
        load_recipe(write(tmp_path, 'name = "x"\n'), (override,))


def test_missing_recipe_names_its_neighbours(tmp_path):
    write(tmp_path, 'name = "x"\n')
    with pytest.raises(RecipeError, match=r"no recipe at .*other\.toml; beside it there are: mine\.toml"):
        load_recipe(tmp_path / "other.toml")


def test_broken_toml_says_where(tmp_path):
    with pytest.raises(RecipeError, match=r"not valid TOML: .*line 1"):
        load_recipe(write(tmp_path, "name = \n"))


def test_recipes_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Recipe(name="x").train.steps = 3  # type: ignore[misc]


@pytest.mark.parametrize("name", ["real", "base"])
def test_a_run_is_never_called_after_a_column_of_the_wall(tmp_path, name):
    with pytest.raises(RecipeError, match="a run cannot be called real or base"):
        load_recipe(write(tmp_path, f'name = "{name}"\n'))


def test_infinite_values_are_refused(tmp_path):
    with pytest.raises(RecipeError, match=r"optim\.lr"):
        load_recipe(write(tmp_path, 'name = "x"\n'), ("optim.lr=inf",))
