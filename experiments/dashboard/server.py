"""The server of the page: its files, and what can be taken away from it."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from string import Template

from dash import Dash
from flask import Flask, Response, abort, request, send_file

from experiments.dashboard.address import Address
from experiments.dashboard.guard import guard
from experiments.dashboard.opened import spec_of
from experiments.dashboard.page import follow, layout, view_of
from experiments.dashboard.scene import Library, Scene
from experiments.report.document import style

_HERE = Path(__file__).parent


def make_app(library: Library, host: str = "127.0.0.1", token: str | None = None) -> Dash:
    """The page over some runs.

    Args:
        library: the runs.
        host: that it will listen at.
        token: that everyone has to know; None for no such check.
    """
    server = Flask("evounet-dashboard")
    guard(server, host, token)
    _offer_files(server, library)
    app = Dash(
        __name__,
        server=server,
        assets_folder=str(_HERE / "assets"),
        title="evounet dashboard",
        update_title="",
        serve_locally=True,
        suppress_callback_exceptions=True,
        add_log_handler=False,
        index_string=_index(),
    )
    app.layout = lambda: layout(library)
    follow(app, library)
    return app


def _index() -> str:
    page = (_HERE / "index.html").read_text(encoding="utf-8")
    return Template(page).substitute(style=style())


def _offer_files(server: Flask, library: Library) -> None:
    def scene() -> Scene:
        return Scene(library, Address.parse(request.query_string.decode()))

    @server.get("/table.csv")
    def table() -> Response:
        chosen = scene()
        view = view_of(chosen.address)
        text = io.StringIO()
        try:
            csv.writer(text).writerows(view.rows(chosen))
        except ValueError as error:
            abort(404, str(error))
        return _download(text.getvalue(), "text/csv", f"{chosen.name}-{view.key}.csv")

    @server.get("/spec.json")
    def spec() -> Response:
        try:
            text = spec_of(scene()).model_dump_json(indent=2) + "\n"
        except ValueError as error:
            abort(404, str(error))
        return _download(text, "application/json", "spec.json")

    @server.get("/sample.png")
    def sample() -> Response:
        """A picture that the run's lists of samples name; no other file can be asked for."""
        asked = request.args
        try:
            run = library.run(asked["run"])
            number = int(asked["number"])
        except ValueError as error:
            abort(404, str(error))
        sets = run.round_samples if asked["of"] == "rounds" else run.samples
        known = {each.title: each for each in sets}.get(asked["title"])
        if known is None or not 0 <= number < len(known.captions):
            abort(404, f"run '{run.name}' has no such picture")
        return send_file(known.picture(number).resolve())


def _download(text: str, kind: str, name: str) -> Response:
    head = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text, mimetype=kind, headers=head)
