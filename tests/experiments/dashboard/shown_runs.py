"""Run folders of toy searches, and the page over them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from PIL import Image
from toy_runs import BASE_MS, INVENTORY, TRUTH, search
from toy_search import by_size, toy_latency
from werkzeug.serving import make_server

from experiments.dashboard.scene import Library
from experiments.dashboard.server import make_app
from experiments.experiment import Experiment
from experiments.report.data import picture_name
from experiments.run_folder import RunFolder
from latency_tables import LatencyTable
from search.store import EvaluationStore
from supernet.inventory_file import inventory_text

PHONE = toy_latency(lambda signature: 10 / by_size(signature))


def begin(path: Path, seed: int = 0, **search: object) -> RunFolder:
    """A run folder whose search has not decided anything yet."""
    folder = RunFolder(path)
    folder.create(
        Experiment.model_validate(
            {
                "name": path.name,
                "seed": seed,
                "latency": {"tables": ["toy", "phone"], "target_ratio": 0.75},
                "search": search,
            }
        )
    )
    folder.inventory.write_text(inventory_text(INVENTORY))
    return folder


def finish(folder: RunFolder, **options: object) -> None:
    """Decide all there is to decide, and leave pictures."""
    store = EvaluationStore(folder.evaluations, "toy")
    search(folder.path, TRUTH, store=store, target_ms=0.75 * BASE_MS, **options).run()
    draw(folder.samples, "base", "found")
    draw(folder.round_samples, "base", "round 1")
    folder.result.write_text(json.dumps({"clip_before": 0.8, "clip_after": 0.79, "wall_s": 60.0}))


def renamed(table: LatencyTable, name: str) -> LatencyTable:
    return replace(table, metadata=table.metadata.model_copy(update={"name": name}))


def draw(place: Path, *titles: str) -> None:
    """A picture of each."""
    place.mkdir(parents=True, exist_ok=True)
    sets = []
    for title in titles:
        Image.new("RGB", (16, 16), (200, 0, 90)).save(place / picture_name(title, 0))
        sets.append({"title": title, "captions": ["a <red> circle"], "clip_scores": [0.25]})
    (place / "samples.json").write_text(json.dumps(sets))


@contextmanager
def served(*paths: Path) -> Iterator[str]:
    """The page over some runs; its address."""
    server = make_server("127.0.0.1", 0, make_app(Library(paths)).server, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
