from __future__ import annotations

import huggingface_hub
import pytest
from small_models import (
    make_spec,
    save_clip,
    save_pick_score,
    save_pipeline,
    save_sdxl_pipeline,
    save_siglip,
)

from evaluators.evaluator import EvaluatorSpec
from evaluators.scorers import ClipModel, TransformersModel


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
def pick_score(tmp_path_factory: pytest.TempPathFactory) -> TransformersModel:
    return save_pick_score(tmp_path_factory.mktemp("pick_score"))


@pytest.fixture(scope="session")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> TransformersModel:
    return save_siglip(tmp_path_factory.mktemp("siglip"))


@pytest.fixture(scope="session")
def spec(pipeline_folder: str, clip: ClipModel) -> EvaluatorSpec:
    return make_spec(pipeline_folder, clip)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with HF_HUB_OFFLINE=1 in the environment."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
