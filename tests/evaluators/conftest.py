from __future__ import annotations

import pytest
from small_models import make_spec, save_clip, save_pipeline, save_sdxl_pipeline

from evaluators.clip_score import ClipModel
from evaluators.evaluator import EvaluatorSpec


@pytest.fixture(scope="session")
def pipeline_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_pipeline(tmp_path_factory.mktemp("pipeline"))


@pytest.fixture(scope="session")
def sdxl_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_sdxl_pipeline(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> ClipModel:
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def spec(pipeline_folder: str, clip: ClipModel) -> EvaluatorSpec:
    return make_spec(pipeline_folder, clip)
