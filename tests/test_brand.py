"""brand.toml and prompts.toml survive a round trip and say what is wrong with them."""

from datetime import date

import pytest

from lora_studio.brand import Brand, load_brand, load_prompts, save_brand, save_prompts
from lora_studio.errors import BrandError, WorkspaceError
from lora_studio.records import Consent, Prompt, PromptSheet, Rights
from lora_studio.workspace import Workspace

RIGHTS = Rights(owner="Acme Studios", licence="owned", ai_training=True, expires=date(2030, 1, 31))


def test_round_trip(tmp_path):
    workspace = Workspace.at(tmp_path / "acme")
    brand = Brand(name='Ac"me', trigger="acmelook", palette=("#D7263D", "#f4f1e8"), rights=RIGHTS)
    save_brand(workspace, brand)
    assert load_brand(Workspace.open(tmp_path / "acme")) == brand
    sheet = PromptSheet(seeds=(0, 3), prompts=(Prompt(id="a", text="acmelook, a can"), Prompt(id="b", text="a", kind="control")))
    save_prompts(workspace, sheet)
    assert load_prompts(workspace) == sheet


def test_faults_name_file_and_key(tmp_path):
    (tmp_path / "brand.toml").write_text('name = "A"\ntriger = "acme"\npalette = ["red"]\n')
    with pytest.raises(BrandError) as caught:
        load_brand(Workspace.open(tmp_path))
    message = str(caught.value)
    assert "brand.toml has 3 faults" in message
    assert "triger is not a known key; did you mean trigger?" in message
    assert "trigger is missing" in message
    assert "each colour must look like #D7263D, got 'red'" in message


def test_two_prompts_may_not_share_an_id(tmp_path):
    (tmp_path / "prompts.toml").write_text('[[prompts]]\nid = "a"\ntext = "x"\n[[prompts]]\nid = "a"\ntext = "y"\n')
    with pytest.raises(BrandError, match="must be unique, got a more than once"):
        load_prompts(Workspace.at(tmp_path))


def test_missing_workspace_says_what_to_do(tmp_path):
    with pytest.raises(WorkspaceError, match="no workspace at .*nowhere.*data-tools init"):
        Workspace.open(tmp_path / "nowhere")


def test_paths_inside_a_workspace_are_relative(tmp_path):
    workspace = Workspace.at(tmp_path / "acme")
    stored = workspace.relative(tmp_path / "clips" / "a.mp4")
    assert stored == "../clips/a.mp4"
    assert workspace.absolute(stored) == tmp_path / "clips" / "a.mp4"


def with_people(*people: Consent) -> Rights:
    return RIGHTS.model_copy(update={"people": people})


@pytest.mark.parametrize(
    ("rights", "objection"),
    [
        (RIGHTS, None),
        (Rights(), "no owner stated"),
        (Rights(owner="A"), "not cleared for AI training"),
        (RIGHTS.model_copy(update={"expires": date(2026, 1, 1)}), "rights expired on 2026-01-01"),
        (RIGHTS.model_copy(update={"withdrawn": True}), "withdrawn"),
        (RIGHTS.model_copy(update={"starts": date(2026, 6, 2)}), "rights begin on 2026-06-02"),
        (with_people(Consent(person="p-07", ai_training=True)), None),
        (with_people(Consent(person="p-07", ai_training=True), Consent(person="p-08")), "p-08 has not agreed to AI training"),
        (with_people(Consent(person="p-07", ai_training=True, revoked=date(2026, 6, 1))), "p-07 revoked consent on 2026-06-01"),
        (with_people(Consent(person="p-07", ai_training=True, revoked=date(2026, 6, 2))), None),
        (with_people(Consent(person="p", ai_training=True, expires=date(2026, 5, 31))), "the consent of p expired on 2026-05-31"),
    ],
)
def test_rights_object_in_words(rights, objection):
    assert rights.objection(date(2026, 6, 1)) == objection


def test_the_first_thing_to_end_counts():
    assert RIGHTS.last_day() == date(2030, 1, 31)
    assert with_people(Consent(person="p-07", expires=date(2027, 1, 1))).last_day() == date(2027, 1, 1)
    assert Rights().last_day() is None


@pytest.mark.parametrize("seeds", ["[]", "[0, 0]", "[-1]", "[99999999999999999999]"])
def test_seeds_that_cannot_be_used_are_refused(tmp_path, seeds):
    (tmp_path / "prompts.toml").write_text(f'seeds = {seeds}\n[[prompts]]\nid = "a"\ntext = "x"\n')
    with pytest.raises(BrandError, match="seeds"):
        load_prompts(Workspace.at(tmp_path))


def test_a_sheet_without_prompts_is_refused(tmp_path):
    (tmp_path / "prompts.toml").write_text("seeds = [0]\nprompts = []\n")
    with pytest.raises(BrandError, match="prompts"):
        load_prompts(Workspace.at(tmp_path))


def test_a_typo_inside_a_prompt_is_told_with_the_keys_of_a_prompt(tmp_path):
    workspace = Workspace.at(tmp_path)
    (tmp_path / "prompts.toml").write_text('seeds = [0]\n[[prompts]]\nid = "a"\ntext = "a can"\nkynd = "control"\n')
    with pytest.raises((BrandError, WorkspaceError), match=r"prompts\.0\.kynd is not a known key; did you mean kind\?"):
        load_prompts(workspace)
