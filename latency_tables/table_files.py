"""Tables on disk: ``NAME.toml`` holds the metadata, ``NAME.csv`` beside it the rows."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from latency_tables.parsing import parse_toml
from latency_tables.signature import SIGNATURE_FIELDS, BlockSignature
from latency_tables.table import ROW_FIELDS, LatencyRow, LatencyTable, TableError, TableMetadata

SUFFIXES = (".toml", ".csv")
COLUMNS = SIGNATURE_FIELDS + ROW_FIELDS
_MILLISECONDS = ("median_ms", "spread_ms")


def table_paths(path: Path | str) -> tuple[Path, Path]:
    """The metadata and the rows file of a table, given either of them or the name they share."""
    path = Path(path)
    name = path.stem if path.suffix in SUFFIXES else path.name
    return path.with_name(f"{name}.toml"), path.with_name(f"{name}.csv")


def write_table(table: LatencyTable, folder: Path | str) -> Path:
    """Save a table, replacing an older one of its name only when both files are fully written.

    Args:
        table: to be saved under its name.
        folder: created where it does not exist.

    Returns:
        The path of the metadata file.
    """
    toml, csv = table_paths(Path(folder) / f"{table.metadata.name}.toml")
    _replace_files({csv: _rows_text(table).encode(), toml: _metadata_text(table).encode()})
    return toml


def add_table(path: Path | str, folder: Path | str, *, overwrite: bool = False) -> Path:
    """Check a table and copy its two files, byte by byte, into a folder.

    Args:
        path: as for :func:`read_table`.
        folder: created where it does not exist.
        overwrite: replace a table of that name.

    Returns:
        The path of the new metadata file.

    Raises:
        TableError: if the table is malformed, or one of its name is there and not to be
            overwritten; nothing is written then.
    """
    name = read_table(path).metadata.name
    sources = table_paths(path)
    targets = table_paths(Path(folder) / f"{name}.toml")
    for target in targets:
        if target.exists() and not overwrite:
            raise TableError(f"{target}: already there; --overwrite replaces it")
    pairs = zip(targets, sources, strict=True)
    _replace_files({target: source.read_bytes() for target, source in pairs})
    return targets[0]


def read_table(path: Path | str) -> LatencyTable:
    """Load a table from its two files.

    Args:
        path: of either file, or the name they share, without suffix.

    Raises:
        TableError: in one line, naming the file, the line, the column or field, and the fix.
    """
    toml, csv = table_paths(path)
    if not toml.exists() and not csv.exists():
        raise TableError(
            f"{path}: no such latency table; neither {toml.name} nor {csv.name} exists"
        )
    for present, absent in ((toml, csv), (csv, toml)):
        if not absent.exists():
            raise TableError(f"{absent}: missing beside {present.name}; a table is these two files")
    metadata = read_metadata(toml)
    if metadata.name != toml.stem:
        raise TableError(
            f"{toml}, field 'name': is {metadata.name!r}, unlike the file's; make them the same"
        )
    return LatencyTable(metadata, _read_rows(csv))


def _replace_files(contents: Mapping[Path, bytes]) -> None:
    """Write files of one folder, replacing old ones only when all are fully written."""
    # In the same folder, since a file can be replaced in one step only within a file system.
    drafts = {path: path.with_name(f".{path.name}.{os.getpid()}") for path in contents}
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            drafts[path].write_bytes(content)
        for path, draft in drafts.items():
            os.replace(draft, path)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def _metadata_text(table: LatencyTable) -> str:
    values = table.metadata.model_dump(exclude_none=True)
    return tomli_w.dumps({name: value for name, value in values.items() if value != ()})


def _rows_text(table: LatencyTable) -> str:
    import pandas as pd

    rows = ((*astuple(key), *astuple(row)) for key, row in sorted(table.rows.items()))
    return pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(index=False, lineterminator="\n")


def read_metadata(path: Path, **given: Any) -> TableMetadata:
    """The metadata in a TOML file, with fields that the caller knows in place of the file's.

    Raises:
        TableError: in one line, naming the file, the line, the field, and the fix.
    """
    if not path.is_file():
        raise TableError(f"{path}: no such file; give the TOML file of a table's metadata")
    try:
        text = path.read_text(encoding="utf-8")
        values = parse_toml(text)
    except ValueError as error:
        raise TableError(f"{path}: not a TOML file: {_one_line(error)}; write it again") from error
    if not values:
        raise TableError(f"{path}: the file is empty; write the table's metadata into it")
    try:
        return TableMetadata.model_validate(values | given)
    except ValidationError as error:
        complaints = [_complaint(text, details) for details in error.errors()]
        raise TableError(f"{path}, {'; '.join(complaints)}") from error


def _complaint(text: str, error: Any) -> str:
    """What is wrong with one metadata field (an entry of ``ValidationError.errors()``)."""
    field = str(error["loc"][0])
    if error["type"] == "missing":
        return f"field {field!r}: missing, add it"
    before = re.split(rf"^[\[ \t'\"]*{re.escape(field)}\b", text, maxsplit=1, flags=re.MULTILINE)[0]
    where = f"line {before.count(chr(10)) + 1}, field {field!r}"
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown, remove it or correct its spelling"
    if field == "format_version":
        return f"{where}: {error['input']!r} is unknown, this evounet reads 1: upgrade evounet"
    return f"{where}: {error['msg']}, but is {error['input']!r}"


def _read_rows(path: Path) -> dict[BlockSignature, LatencyRow]:
    header, *lines = _read_cells(path)
    _check_columns(path, header)
    rows: dict[BlockSignature, LatencyRow] = {}
    for number, cells in enumerate(lines, start=2):
        if not any(cells):
            continue  # a blank line, still counted so that messages name the right ones
        try:
            signature, row = _parse(dict(zip(header, cells, strict=True)))
        except ValueError as error:
            raise TableError(f"{path}, line {number}, {error}") from error
        if signature in rows:
            raise TableError(
                f"{path}, line {number}: {signature} has a row already; remove one of the two"
            )
        rows[signature] = row
    if not rows:
        raise TableError(f"{path}, line 2: there is no row below the header; measure some")
    return rows


def _read_cells(path: Path) -> list[list[str]]:
    """The lines of a CSV file, header and blank ones included, as equally many cells of text."""
    import pandas as pd

    try:
        # Read as text: numbers are parsed later, where line and column can be named. The header
        # is an ordinary line to pandas, lest it rename columns or take one for an index.
        frame = pd.read_csv(
            path, header=None, dtype=str, keep_default_na=False, skip_blank_lines=False
        )
    except pd.errors.EmptyDataError as error:
        raise TableError(f"{path}, line 1: the file is empty; measure the table again") from error
    except ValueError as error:
        raise TableError(f"{path}: not a CSV file: {_one_line(error)}; correct it") from error
    cells: list[list[str]] = frame.fillna("").to_numpy().tolist()
    return cells


def _check_columns(path: Path, header: list[str]) -> None:
    faults = [f"missing column '{column}', add it" for column in COLUMNS if column not in header]
    faults += [f"unknown column {c!r}, remove it" for c in header if c not in COLUMNS]
    faults += [f"column '{c}' occurs twice, remove one" for c in COLUMNS if header.count(c) > 1]
    if faults:
        raise TableError(f"{path}, line 1: {'; '.join(faults)}")


def _parse(cells: dict[str, str]) -> tuple[BlockSignature, LatencyRow]:
    values: dict[str, Any] = {"kind": cells["kind"]}
    for column in COLUMNS[1:]:
        values[column] = _number(column, cells[column])
    return (
        BlockSignature(**{column: values[column] for column in SIGNATURE_FIELDS}),
        LatencyRow(**{column: values[column] for column in ROW_FIELDS}),
    )


def _number(column: str, cell: str) -> float:
    try:
        return float(cell) if column in _MILLISECONDS else int(cell)
    except ValueError:
        kind = "number of ms" if column in _MILLISECONDS else "whole number"
        raise ValueError(f"column '{column}': {cell!r} is no {kind}; write one") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
