"""The Ray that work runs on: one that is there already, a cluster's, or one of our own."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray


@contextmanager
def ray_session(cpus: int, address: str | None = None) -> Iterator[None]:
    """Ray for a ``with``; one that was connected before it is used, and left as it was.

    Args:
        cpus: of a local Ray, where one is started.
        address: of a cluster to join; by default ``RAY_ADDRESS`` if set, else a local Ray is
            started.

    Raises:
        ConnectionError: if there is no cluster at ``address``.
    """
    if ray.is_initialized():
        yield
        return
    _connect(address or os.environ.get("RAY_ADDRESS"), cpus)
    try:
        yield
    finally:
        ray.shutdown()


def _connect(address: str | None, cpus: int) -> None:
    # Ray's own banner and its workers' warnings would break the progress display.
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if not address:
        ray.init(address="local", num_cpus=cpus, include_dashboard=False, **quiet)
        return
    try:
        _check_listening(address)
        ray.init(address=address, **quiet)
    except OSError as error:
        raise ConnectionError(
            f"no Ray cluster at {address!r} ({error}); correct the address, or start one there "
            "with 'ray start --head'"
        ) from error


def _check_listening(address: str) -> None:
    """Raise OSError where nobody listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():  # "auto" is a name that Ray looks up on this machine
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
