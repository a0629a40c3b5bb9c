"""A real search is followed from its beginning to its end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from looking import Look
from playwright.sync_api import expect
from shown_runs import served

from tests.experiments.in_process import TINY_DEMO

_PATIENCE_MS = 900_000  # of a stage of the search, on a machine that others use too


@pytest.mark.slow
def test_a_real_search_is_followed(look: Callable[..., Look], tmp_path: Path) -> None:
    run = tmp_path / "runs" / "tiny"
    overrides = [part for setting in TINY_DEMO for part in ("--set", setting)]
    command = [sys.executable, "-m", "experiments.cli", "search", "demo", "--run", str(run)]
    search = subprocess.Popen([*command, "--workers", "1", *overrides])
    try:
        while not (run / "inventory.json").exists():
            assert search.poll() is None
        with served(tmp_path / "runs") as address:
            page = look(address).open("?view=live")
            expect(page.locator(".status")).to_contain_text(
                "Running: round 1", timeout=_PATIENCE_MS
            )
            page.get_by_role("button", name="CLIP and latency").click()
            expect(page.get_by_role("button", name="after round 1")).to_be_visible(
                timeout=_PATIENCE_MS
            )
            page.get_by_role("button", name="Live").click()
            expect(page.locator(".status")).to_contain_text("Finished", timeout=_PATIENCE_MS)
            page.get_by_role("button", name="Training").click()
            expect(page.locator("#figure .main-svg").first).to_be_visible()
            page.close()  # before its server
        search.wait(timeout=_PATIENCE_MS / 1000)
    finally:
        search.terminate()
        search.wait()
    assert search.returncode == 0
