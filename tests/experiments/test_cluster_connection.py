"""Finding a cluster's Jobs API and its token."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from in_process import Evounet

from experiments.cluster.connection import ClusterError, connect, dashboard_url, token_header


@pytest.fixture(autouse=True)
def no_ray_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ADDRESS", "API_SERVER_ADDRESS", "AUTH_MODE", "AUTH_TOKEN", "AUTH_TOKEN_PATH"):
        monkeypatch.delenv(f"RAY_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (None, "http://127.0.0.1:8265"),
        ("head", "http://head:8265"),
        ("head:80", "http://head:80"),
        ("http://head:8265/", "http://head:8265"),
        ("https://jobs.example.org", "https://jobs.example.org"),
    ],
)
def test_an_address_is_completed(address: str | None, url: str) -> None:
    assert dashboard_url(address, {}) == url


def test_what_is_asked_for_goes_before_the_environment() -> None:
    both = {"RAY_API_SERVER_ADDRESS": "http://jobs:1", "RAY_ADDRESS": "http://head:2"}
    assert dashboard_url("other:3", both) == "http://other:3"
    assert dashboard_url(None, both) == "http://jobs:1"
    assert dashboard_url(None, {"RAY_ADDRESS": "http://head:2"}) == "http://head:2"


def test_the_address_of_the_ray_client_is_refused_with_that_of_the_dashboard() -> None:
    with pytest.raises(ClusterError, match="give http://head:8265"):
        dashboard_url("ray://head:10001", {})


def test_the_token_is_looked_for_where_ray_does(tmp_path: Path) -> None:
    assert token_header({}) == {}
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("default\n")
    (tmp_path / "named").write_text("named")
    path = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "named")}
    assert token_header({}) == {"Authorization": "Bearer default"}
    assert token_header(path) == {"Authorization": "Bearer named"}
    assert token_header(path | {"RAY_AUTH_TOKEN": "given"}) == {"Authorization": "Bearer given"}
    assert token_header({"RAY_AUTH_TOKEN": "given", "RAY_AUTH_MODE": "disabled"}) == {}


def test_a_token_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"RAY_AUTH_TOKEN_PATH: .*lost"):
        token_header({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "lost")})


Answers = Callable[[int], str]


@pytest.fixture
def dashboard() -> Iterator[Answers]:
    """Starts a server that answers everything with one status; its address."""
    servers = []

    def answering(status: int) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()

            def log_message(self, *arguments: object) -> None: ...

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield answering
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "token", "complaint"),
    [
        (401, "", "asks for a token, and there is none: 'ray get-auth-token'"),
        (403, "wrong", "refuses the token that it was sent: 'ray get-auth-token'"),
        (404, "", "is no Ray dashboard"),
    ],
)
def test_what_a_cluster_refuses_is_one_line_with_a_remedy(
    status: int,
    token: str,
    complaint: str,
    dashboard: Answers,
    evounet: Evounet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    assert complaint in evounet.refused("jobs", "list", "--address", dashboard(status))


def test_a_cluster_that_is_not_there_is_refused() -> None:
    with pytest.raises(ClusterError, match=r"no Ray dashboard at http://127\.0\.0\.1:1 "):
        connect("127.0.0.1:1")
