"""Running ``evounet`` without a new process, on a small UNet and tables invented for it."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from experiments.cli import main
from experiments.unets import choose_unet
from latency_tables import LatencyRow, LatencyTable, TableMetadata
from supernet.parts import Inventory

# Two stages: 12 ResNet and 6 cross-attention blocks, 0.1 M weights.
SMALL: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "sample_size": 8,
    "block_out_channels": [8, 16],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "cross_attention_dim": 12,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}


# The demo in miniature: every stage of a search, on pictures too few to mean anything.
TINY_DEMO = (
    "evaluation.prompts.count=2",
    "evaluation.sampling.num_inference_steps=1",
    "evaluation.sampling.batch_size=2",
    "training.pictures=64",
    "training.round.steps=2",
    "training.round.batch_size=4",
    "training.final.steps=2",
    "training.final.batch_size=4",
    "comparison.prompts.count=2",
    "comparison.sampling.num_inference_steps=1",
    "comparison.repetitions=3",
    "search.evaluations=50",
)


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


class Evounet:
    """Call it with arguments, as one would type them behind ``evounet``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: object) -> Answer:
        self._monkeypatch.setattr(sys, "argv", ["evounet", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        captured = self._capsys.readouterr()
        return Answer(int(end.value.code or 0), captured.out, captured.err)

    def refused(self, *arguments: object) -> str:
        """The one line that bad input is answered with."""
        answer = self(*arguments)
        assert answer.code == 2
        assert answer.err.startswith("evounet: ")
        assert answer.err.count("\n") == 1
        return answer.err


def write_json(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def invented_table(unet: str | Inventory, name: str = "toy", **conditions: object) -> LatencyTable:
    """A table that covers a UNet: its first row takes 1 ms, its second 2 ms, and so on."""
    inventory = choose_unet(unet).inventory if isinstance(unet, str) else unet
    values: dict[str, object] = {
        "name": name,
        "device": "a toy",
        "chip": "T1",
        "os": "ToyOS 1",
        "runtime": "torch",
        "runtime_version": "2.14.1",
        "precision": "fp32",
        "method": "measured",
        "measured_how": "by nobody",
        "measured_at": date(2026, 11, 24),
        "command": "python measure_toy.py",
    }
    signatures = inventory.all_signatures()
    rows = {each: LatencyRow(i + 1.0, 0.01, 30) for i, each in enumerate(signatures)}
    return LatencyTable(TableMetadata.model_validate(values | conditions), rows)
