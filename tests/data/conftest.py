from __future__ import annotations

import pytest
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from tiny_pipelines import build_sd, build_xl


@pytest.fixture(scope="session")
def sd() -> StableDiffusionPipeline:
    return build_sd()


@pytest.fixture(scope="session")
def xl() -> StableDiffusionXLPipeline:
    return build_xl()
