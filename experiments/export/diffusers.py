"""``evounet export --format diffusers``: the found UNet as a diffusers folder."""

from __future__ import annotations

from pathlib import Path

from experiments.export.artefact import Artefact, size_on_disk
from experiments.export.destination import write_out
from experiments.export.source import ExportSource


def export_diffusers(source: ExportSource, out: Path, overwrite: bool) -> Artefact:
    """Write the found UNet as a diffusers folder, with its spec beside the weights.

    Raises:
        ExportError: if ``out`` is there already, or there is no space left for it.
    """

    def write(draft: Path) -> None:
        source.unet.save_pretrained(draft)
        spec = source.spec.model_dump_json(indent=2) + "\n"
        (draft / "spec.json").write_text(spec, encoding="utf-8")

    write_out(out, overwrite, write)
    return Artefact(
        "UNet",
        out,
        size_on_disk(out),
        source.spec.parameters[1],
        "weights are those of the spec",
        source.latency_ms,
    )
