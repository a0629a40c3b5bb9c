"""Who may ask the server, and what it never does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from experiments.dashboard.scene import Library
from experiments.dashboard.server import make_app

HOME = "http://127.0.0.1:8050"


def client(runs: Path, host: str = "127.0.0.1", token: str | None = None) -> FlaskClient:
    return make_app(Library([runs]), host, token).server.test_client()


@pytest.mark.parametrize("name", ["127.0.0.1:8050", "localhost:8050", "[::1]:8050"])
def test_answers_to_the_names_of_this_machine(runs: Path, name: str) -> None:
    assert client(runs).get("/", base_url=f"http://{name}").status_code == 200


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example", "192.168.0.7"])
def test_a_name_that_was_pointed_here_gets_nothing(runs: Path, name: str) -> None:
    """DNS rebinding: a page of that name would otherwise read all runs."""
    for place in ("/", "/table.csv", "/_dash-layout", "/assets/dashboard.js"):
        assert client(runs).get(place, base_url=f"http://{name}").status_code == 403


def test_another_sites_page_gets_nothing(runs: Path) -> None:
    own = client(runs)
    for origin, code in ((HOME, 200), ("http://evil.example", 403), ("null", 403)):
        answer = own.get("/", base_url=HOME, headers={"Origin": origin})
        assert answer.status_code == code, origin


def test_the_browser_is_told_to_fetch_nothing_from_elsewhere(runs: Path) -> None:
    policy = client(runs).get("/", base_url=HOME).headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy


def test_whoever_knows_the_token_may_ask(runs: Path) -> None:
    own = client(runs, "0.0.0.0", "s3cret")
    far = "http://192.168.0.7:8050"
    for place in ("/", "/table.csv", "/_dash-layout", "/assets/dashboard.js"):
        assert own.get(place, base_url=far).status_code == 401
    assert own.get("/?token=wrong", base_url=far).status_code == 401
    assert own.get("/", base_url="http://evil.example").status_code == 403
    bearer = {"Authorization": "Bearer s3cret"}
    assert own.get("/table.csv", base_url=far, headers=bearer).status_code == 200
    first = own.get("/?view=blocks&token=s3cret", base_url=far)
    assert first.headers["Location"] == "/?view=blocks"  # the token is not seen any longer
    assert "HttpOnly" in first.headers["Set-Cookie"]
    assert own.get("/table.csv", base_url=far).status_code == 200


@pytest.mark.parametrize(
    "asked",
    [
        "title=../../state&number=0",
        "title=base&number=7",
        "title=base&number=-1",
        "title=x&number=y",
    ],
)
def test_only_pictures_of_a_run_are_handed_out(runs: Path, asked: str) -> None:
    own = client(runs)
    good = own.get("/sample.png?run=first&of=end&title=base&number=0", base_url=HOME)
    assert good.data.startswith(b"\x89PNG")
    assert own.get(f"/sample.png?run=first&of=end&{asked}", base_url=HOME).status_code == 404
    assert own.get("/sample.png?run=no&of=end&title=base&number=0").status_code == 404


def test_nothing_is_written_and_torch_is_not_needed(runs: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    code = f"""
import sys
from pathlib import Path
from experiments.dashboard.scene import Library
from experiments.dashboard.server import make_app
from experiments.dashboard.views import VIEWS
client = make_app(Library([Path({str(runs)!r})])).server.test_client()
for view in VIEWS:
    assert client.get(f"/table.csv?view={{view}}").status_code == 200, view
assert client.get("/spec.json?open=after+r1").status_code == 200
print([name for name in ("torch", "ray", "optuna", "diffusers") if name in sys.modules])
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "[]", answer.stderr
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*")} == before
