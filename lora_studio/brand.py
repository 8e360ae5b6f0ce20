"""brand.toml and prompts.toml: who the brand is, and what it is asked. Reads and writes them; knows no video.

    name = "Acme"
    trigger = "acmelook"                  # stands first in every caption; a word nobody says by accident
    subject = "a product"                 # what is in the picture when nothing better is known
    palette = ["#D7263D", "#F4F1E8"]      # brand colours, most important first; may be empty
    [rights]                              # default for footage without a rights.toml of its own
    owner = "Acme Studios"
    licence = "owned"
    ai_training = true
"""

from pydantic import Field, field_validator

from lora_studio import files, settings
from lora_studio.errors import BrandError
from lora_studio.records import PromptSheet, Record, Rights
from lora_studio.workspace import Workspace


class Brand(Record):
    """The brand kit of one workspace."""

    name: str = Field(min_length=1)
    trigger: str = Field(min_length=3)
    subject: str = "a product"
    palette: tuple[str, ...] = ()
    rights: Rights = Rights()

    @field_validator("trigger")
    @classmethod
    def _check_trigger(cls, trigger: str) -> str:
        if trigger != trigger.strip() or "," in trigger:
            raise ValueError("the trigger must have no comma, and no space around it")
        return trigger

    @field_validator("palette")
    @classmethod
    def _check_palette(cls, palette: tuple[str, ...]) -> tuple[str, ...]:
        for colour in palette:
            digits = colour.removeprefix("#")
            if len(digits) != 6 or not all(d in "0123456789abcdefABCDEF" for d in digits) or digits == colour:
                raise ValueError(f"each colour must look like #D7263D, got {colour!r}")
        return palette


def load_brand(workspace: Workspace) -> Brand:
    """Reads brand.toml.

    Raises:
        BrandError: a key is unknown, missing or out of range; all faults are in the one message.
    """
    table = settings.read_toml(workspace.brand_file, BrandError)
    return settings.validate(Brand, table, workspace.brand_file, BrandError)


def save_brand(workspace: Workspace, brand: Brand) -> None:
    """Writes brand.toml, making the workspace folder if need be."""
    files.write_text(workspace.brand_file, settings.to_toml(brand.model_dump(mode="json", exclude_none=True)))


def load_prompts(workspace: Workspace) -> PromptSheet:
    """Reads prompts.toml.

    Raises:
        BrandError: the file is missing or wrong, or two prompts share an id.
    """
    path = workspace.prompts_file
    if not path.is_file():
        raise BrandError(f"{path} is missing: `lora-studio takes` writes one from the held-out captions when the dataset is built")
    sheet = settings.validate(PromptSheet, settings.read_toml(path, BrandError), path, BrandError)
    ids = [prompt.id for prompt in sheet.prompts]
    twice = sorted({i for i in ids if ids.count(i) > 1})
    if twice:
        raise BrandError(f"{path}: prompts.id must be unique, got {', '.join(twice)} more than once")
    if len(set(sheet.seeds)) < len(sheet.seeds):
        raise BrandError(f"{path}: seeds must differ, got {list(sheet.seeds)}")
    return sheet


def save_prompts(workspace: Workspace, sheet: PromptSheet) -> None:
    """Writes prompts.toml."""
    files.write_text(workspace.prompts_file, settings.to_toml(sheet.model_dump(mode="json", exclude_none=True)))
