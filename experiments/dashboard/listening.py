"""The page is served until someone has had enough."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import typer

from experiments.dashboard.address import Address
from experiments.dashboard.scene import Library, Scene


def serve(runs: Sequence[Path], host: str, port: int, token: str | None) -> None:
    """Serve the page over some runs, and say where.

    Raises:
        ValueError: if there are no such runs, the address needs a token, or it cannot be had.
    """
    try:
        from werkzeug.serving import make_server

        from experiments.dashboard.guard import is_loopback
        from experiments.dashboard.server import make_app
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the dashboard needs {error.name}: pip install 'evounet[dashboard]'"
        ) from error
    if token == "" or (token is None and not is_loopback(host)):
        raise ValueError(
            f"--host {host}: others can reach that; give a --token that they have to know (or "
            "EVOUNET_DASHBOARD_TOKEN)"
        )
    library = Library(runs)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = make_app(library, host, token)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ValueError(
            f"--host {host} --port {port}: cannot listen there ({error.strerror}); give another "
            "--port"
        ) from error
    server = make_server(host, port, app.server, threaded=True, fd=listening.fileno())
    threading.Thread(target=_warm, args=(library,), daemon=True).start()
    shown = f"[{host}]" if ":" in host else host
    query = "" if token is None else "?token=" + token
    typer.echo(
        f"dashboard: http://{shown}:{listening.getsockname()[1]}/{query}  (end it with Ctrl+C)"
    )
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()


def _warm(library: Library) -> None:
    """Read the run that is shown first while the browser still fetches the page."""
    with suppress(ValueError):  # the page says what is wrong
        _ = Scene(library, Address()).priced
