"""The Jobs API of a cluster: where it is, and the token that opens it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from ray.job_submission import JobSubmissionClient

_PORT = 8265  # of Ray's dashboard, unless 'ray start' is told another
_TIMEOUT_S = 10.0
_SAID = 200  # characters of a trace that tell what went wrong: its end
_TALKATIVE = (
    "dashboard.modules.job.sdk",
    "dashboard.modules.dashboard_sdk",
    "_private.runtime_env.packaging",
)


class ClusterError(ValueError):
    """A cluster that cannot be used, or a job that is not there or failed."""


def connect(address: str | None) -> Any:
    """A client of a cluster's Jobs API, checked to be there and to let us in.

    Args:
        address: of the dashboard; by default ``RAY_API_SERVER_ADDRESS``, then ``RAY_ADDRESS``,
            then this machine's.

    Returns:
        A :class:`ray.job_submission.JobSubmissionClient`.

    Raises:
        ClusterError: if the address is no dashboard's, nothing answers there, or the token is
            missing or wrong.
    """
    url = dashboard_url(address, os.environ)
    headers = token_header(os.environ)
    try:
        answer = requests.get(f"{url}/api/version", headers=headers, timeout=_TIMEOUT_S)
    except requests.RequestException as error:
        raise ClusterError(
            f"no Ray dashboard at {url} ({type(error).__name__}); give the address that "
            "'ray start --head' prints for it, http://HEAD:8265 by default (a head started "
            "without 'ray[default]' has none)"
        ) from error
    if answer.status_code in (401, 403):
        raise ClusterError(token_refused(url, sent=bool(headers)))
    if answer.status_code != 200:
        raise ClusterError(f"{url}: is no Ray dashboard (it answers {answer.status_code})")
    os.environ["RAY_API_SERVER_ADDRESS"] = url  # in Ray the environment wins over an argument
    for module in _TALKATIVE:
        logging.getLogger(f"ray.{module}").setLevel(logging.WARNING)
    return JobSubmissionClient(url, headers=headers)


@contextmanager
def asking(client: Any) -> Iterator[None]:
    """A call of a client's method, whose failure is the cluster's.

    Raises:
        ClusterError: if the cluster is gone meanwhile, or cannot do what it is asked.
    """
    try:
        yield
    except (RuntimeError, OSError) as error:
        said = " ".join(str(error).split())[-_SAID:]
        raise ClusterError(
            f"{client.get_address()} cannot answer ({said}); see whether the cluster is still up "
            "('ray status' on its head)"
        ) from error


def dashboard_url(address: str | None, environment: Mapping[str, str]) -> str:
    """The URL of a dashboard, from what a user gives or the environment names.

    Raises:
        ClusterError: if it is the address of another of Ray's services.
    """
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        address = address or environment.get(name)
    address = (address or "127.0.0.1").rstrip("/")
    scheme, separator, place = address.rpartition("://")
    if separator and scheme not in ("http", "https"):
        host = place.rpartition(":")[0] or place
        raise ClusterError(
            f"--address {address}: jobs are sent to the cluster's dashboard; "
            f"give http://{host}:{_PORT}"
        )
    if separator:
        return address
    return f"http://{place}" if ":" in place else f"http://{place}:{_PORT}"


def token_header(environment: Mapping[str, str]) -> dict[str, str]:
    """The header with the cluster's token, looked for where Ray looks; empty if there is none.

    That is ``RAY_AUTH_TOKEN``, the file that ``RAY_AUTH_TOKEN_PATH`` names, and
    ``~/.ray/auth_token``. Ray's own job client sends it only with ``RAY_AUTH_MODE=token``, whereas
    a head asks for it by default as soon as it has one.
    """
    if environment.get("RAY_AUTH_MODE") == "disabled":
        return {}
    token = environment.get("RAY_AUTH_TOKEN", "")
    if not token:
        named = environment.get("RAY_AUTH_TOKEN_PATH")
        path = Path(named) if named else Path.home() / ".ray" / "auth_token"
        try:
            token = path.read_text(encoding="utf-8")
        except OSError as error:
            if named:
                raise ClusterError(
                    f"RAY_AUTH_TOKEN_PATH: {path} cannot be read ({error})"
                ) from error
    token = token.strip()
    return {"Authorization": f"Bearer {token}"} if token else {}


def token_refused(url: str, sent: bool) -> str:
    """What to do about a token that is missing or wrong, in one line."""
    what = "refuses the token that it was sent" if sent else "asks for a token, and there is none"
    return (
        f"{url} {what}: 'ray get-auth-token' prints it on the cluster's head; put it into "
        "RAY_AUTH_TOKEN or ~/.ray/auth_token here (a new one is made with "
        "'ray get-auth-token --generate' on the head, before 'ray start')"
    )
