"""``evounet dashboard``: what it says, and what it refuses."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from experiments.browser import NoBrowserError, find_browser


def evounet(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "experiments.cli", "dashboard", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def refused(*arguments: object) -> str:
    process = evounet(*arguments)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.count("\n") == 1
    return err


def test_serves_at_the_address_that_it_says(runs: Path) -> None:
    process = evounet(runs, "--port", 0)
    try:
        said = process.stdout.readline()
        assert said.startswith("dashboard: http://127.0.0.1:")
        with urllib.request.urlopen(said.split()[1]) as page:
            assert b"evounet dashboard" in page.read()
    finally:
        process.terminate()
        process.communicate()


def test_refuses_what_cannot_be(runs: Path, tmp_path: Path) -> None:
    assert f"{tmp_path}: is no run folder and holds none" in refused(tmp_path)
    assert "--host 0.0.0.0: others can reach that; give a --token" in refused(
        runs, "--host", "0.0.0.0"
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"--port {port}: cannot listen there" in refused(runs, "--port", port)


def test_says_how_to_get_a_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NoBrowserError, match="apt-get install chromium"):
        find_browser()
