"""A pipeline for each file of tests that asks for one."""

import pytest

from lora_studio.generation.pipeline import NovaPipeline


@pytest.fixture(scope="module")
def pipeline() -> NovaPipeline:
    return NovaPipeline.from_pretrained("nano")
