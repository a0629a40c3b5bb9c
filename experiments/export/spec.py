"""``evounet export --format spec``: the spec alone, in one JSON file."""

from __future__ import annotations

from pathlib import Path

from experiments.export.artefact import Artefact, size_on_disk
from experiments.export.destination import write_out
from supernet.spec import Spec, read_spec


def export_spec(spec: Spec, out: Path, overwrite: bool) -> Artefact:
    """Write a spec, and read it back.

    Raises:
        ExportError: if ``out`` is there already, or there is no space left for it.
    """

    def write(draft: Path) -> None:
        draft.write_text(spec.model_dump_json(indent=2) + "\n", encoding="utf-8")
        assert read_spec(draft).architecture() == spec.architecture()

    write_out(out, overwrite, write)
    return Artefact(
        "spec",
        out,
        size_on_disk(out),
        spec.parameters[1],
        "read back: the same architecture",
        {figure.table: figure.found_ms for figure in spec.latency},
    )
