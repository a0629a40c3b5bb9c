"""Settings of a training: what is out of range is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from small_training import training_settings


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", -1),
        ("batch_size", 0),
        ("optimizer", "sgd"),
        ("learning_rate", 0),
        ("schedule", "linear"),
        ("warmup_steps", -1),
        ("weight_decay", -0.1),
        ("max_grad_norm", 0),
        ("ema_decay", 1.0),
        ("snr_gamma", 0),
        ("feature_distillation", -1),
        ("precision", "int8"),
        ("accumulation", 0),
        ("checkpoint_every", 0),
        ("learning_rates", 0.1),
        ("keep_prob", 0.5),
    ],
)
def test_settings_out_of_range_name_the_field(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as refusal:
        training_settings(**{field: value})
    assert refusal.value.errors()[0]["loc"][0] == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("keep_prob", (0.5,)),
        ("keep_prob", "often"),
        ("keep_prob", True),
        ("depth", "quadratic"),
        ("anneal_steps", -1),
        ("per", "pixel"),
        ("sandwich", -1),
        ("keep", 0.5),
    ],
)
def test_dropping_out_of_range_names_the_field(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as refusal:
        training_settings(dropping={field: value})
    assert refusal.value.errors()[0]["loc"][:2] == ("dropping", field)


@pytest.mark.parametrize("keep_prob", [(0.0, 1.0), (0.9, 0.5), (0.5, 1.1), (-0.5, 0.5), 0, 1.5])
@pytest.mark.parametrize("place", ["keep_prob", "by"])
def test_a_keep_probability_is_a_range_within_one(place: str, keep_prob: Any) -> None:
    value = {"mid": keep_prob} if place == "by" else keep_prob
    with pytest.raises(ValidationError, match=r"a number p or a range \[low, high\] with 0 < low"):
        training_settings(dropping={place: value})


def test_one_number_is_a_range_of_that_alone() -> None:
    dropping = training_settings(dropping={"keep_prob": 0.5, "by": {"mid": 1}}).dropping
    assert dropping.keep_prob == (0.5, 0.5)
    assert dropping.by == {"mid": (1, 1)}


def test_a_batch_has_equal_parts() -> None:
    with pytest.raises(ValidationError, match="a batch_size of 6 has no 4 equal parts"):
        training_settings(batch_size=6, accumulation=4)


def test_a_sandwich_is_of_whole_batches() -> None:
    with pytest.raises(ValidationError, match='sandwich trains whole batches: set per to "batch"'):
        training_settings(dropping={"sandwich": 1, "per": "sample"})
