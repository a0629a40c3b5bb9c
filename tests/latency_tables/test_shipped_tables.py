"""Every table that is shipped keeps the contract of tables."""

from __future__ import annotations

import pytest

from latency_tables import LatencyTable, read_table
from latency_tables.contract import TableContract
from latency_tables.registry import SHIPPED

NAMES = sorted(path.stem for path in SHIPPED.glob("*.toml"))


def test_there_are_some() -> None:
    assert len(NAMES) >= 2


class TestShipped(TableContract):
    @pytest.fixture(params=NAMES)
    def table(self, request: pytest.FixtureRequest) -> LatencyTable:
        return read_table(SHIPPED / request.param)
