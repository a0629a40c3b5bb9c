"""The page: what stands around every view, and how it follows the address and the runs.

The address is all the state there is. Controls change it, and everything is drawn from it and from
what the run folders hold: data flows one way.
"""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from experiments.dashboard.address import Address
from experiments.dashboard.opened import opened_panel
from experiments.dashboard.scene import Library, Scene
from experiments.dashboard.views import VIEWS
from experiments.dashboard.views.view import NothingYet, View, choices, select

POLL_MS = 1500
_GRAPH = {"displayModeBar": False, "responsive": True, "displaylogo": False}


def view_of(address: Address) -> View:
    """The view that is chosen; the first one by default."""
    return VIEWS.get(address.view) or next(iter(VIEWS.values()))


def layout(library: Library) -> Component:
    """What is there before anything is chosen."""
    return html.Div(
        [
            dcc.Location(id="url", refresh=False),
            dcc.Interval(id="tick", interval=POLL_MS),
            dcc.Store(id="stamp"),
            dcc.Store(id="drawn"),
            dcc.Store(id="opening"),
            html.Header(
                [
                    html.Div(
                        [
                            html.P("evounet dashboard", className="eyebrow"),
                            html.H1("CLIP against latency", id="title"),
                        ]
                    ),
                    html.Div(id="runs"),
                    html.Button("Dark or light", id="theme"),
                ]
            ),
            html.Nav(
                choices("view", "View", {view.key: view.title for view in VIEWS.values()}),
                className="tabs",
                **{"aria-label": "Views"},
            ),
            html.Main(id="view"),
            dcc.Tooltip(id="tooltip", direction="bottom"),
        ],
        className="page",
    )


def shell(scene: Scene) -> list[Component]:
    """A view's frame: heading, controls, and places for its picture and what is below it."""
    view = view_of(scene.address)
    try:
        controls = view.controls(scene)
    except ValueError:
        controls = []  # what is wrong is said where the picture would be
    query = scene.address.query()
    return [
        html.Div(
            [
                html.H2(view.title, id="heading"),
                html.Div(
                    [
                        html.A("CSV", id="csv", href=f"/table.csv{query}", className="button"),
                        html.Button("PNG", id="png", hidden=view.figure is None),
                        html.Button("Copy link", id="copy"),
                        html.Span(id="said", role="status"),
                    ],
                    className="actions",
                ),
            ],
            className="view-head",
        ),
        html.P(view.caption, className="caption"),
        html.Div(controls, className="controls"),
        html.Div(id="problem"),
        html.Div(
            dcc.Graph(id="figure", config=_GRAPH, clear_on_unhover=True),
            id="plot",
            className="plot",
            hidden=view.figure is None,
            role="group",
            **{"aria-label": f"Picture: {view.title}"},
        ),
        html.Div(id="panel"),
        html.Div(id="body"),
    ]


def drawing(scene: Scene) -> tuple[Any, Any, Any, Any]:
    """The picture, whether to hide it, what is below it, and what to say instead of them."""
    view = view_of(scene.address)
    try:
        figure = view.figure(scene) if view.figure else None
        body = view.body(scene) if view.body else []
    except ValueError as error:
        return go.Figure(), True, [], problem(error)
    if figure is None:
        return no_update, True, body, None
    # What a person has zoomed to stays when the picture is drawn anew.
    figure.update_layout(uirevision=f"{scene.address.view} {scene.name} {scene.address.table}")
    return figure, False, body, None


def problem(error: ValueError) -> Component:
    """What keeps a view from being drawn, in the words of who has found it."""
    kind = "empty" if isinstance(error, NothingYet) else "empty error"
    return html.P(str(error), className=kind, role="status")


def follow(app: Dash, library: Library) -> None:
    """Have the page follow the address and the runs."""

    def scene(query: str | None) -> Scene:
        return Scene(library, Address.parse(query))

    def here(name: str) -> ClientsideFunction:
        return ClientsideFunction("evounet", name)

    url = Input("url", "search")
    # Controls change the address by themselves, see dashboard.js; here they show what it says.
    app.clientside_callback(
        here("show"),
        Output("title", "title"),
        url,
        Input("view", "children"),
        Input("runs", "children"),
    )
    app.clientside_callback(here("frame"), Output("drawn", "data"), url, State("drawn", "data"))
    app.clientside_callback(
        here("opening"), Output("opening", "data"), url, State("opening", "data")
    )
    app.clientside_callback(here("href"), Output("csv", "href"), url)
    app.clientside_callback(
        here("open"),
        Output("figure", "clickData"),
        Input("figure", "clickData"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        here("picture"),
        Output("tooltip", "show"),
        Output("tooltip", "bbox"),
        Output("tooltip", "children"),
        Input("figure", "hoverData"),
        State("figure", "figure"),
    )

    @app.callback(
        Output("stamp", "data"),
        Input("tick", "n_intervals"),
        State("stamp", "data"),
        State("url", "search"),
    )
    def look(_: int | None, known: str | None, query: str | None) -> Any:
        chosen = scene(query)
        stamp = library.stamp(chosen.name if view_of(chosen.address).pulsing else None)
        return no_update if stamp == known else stamp

    @app.callback(Output("runs", "children"), Input("stamp", "data"))
    def offer_runs(_: str | None) -> Component:
        names = library.names
        if len(names) == 1:
            return html.P(["Run ", html.B(names[0])], className="only")
        return select("run", "Run", names)

    @app.callback(Output("view", "children"), Input("drawn", "data"), State("url", "search"))
    def frame(_: str | None, query: str | None) -> list[Component]:
        return shell(scene(query))

    @app.callback(
        Output("figure", "figure"),
        Output("plot", "hidden"),
        Output("body", "children"),
        Output("problem", "children"),
        url,
        Input("stamp", "data"),
        State("heading", "children"),
    )
    def draw(query: str | None, _: str | None, heading: str) -> tuple[Any, Any, Any, Any]:
        chosen = scene(query)
        if heading != view_of(chosen.address).title:
            return (no_update,) * 4  # another frame is on its way
        return drawing(chosen)

    @app.callback(Output("panel", "children"), Input("opening", "data"), State("url", "search"))
    def opened(_: str | None, query: str | None) -> Component | None:
        try:
            return opened_panel(scene(query))
        except ValueError as error:
            return problem(error)
