"""Where tables are found: by path, in folders of the user, in plug-ins, among the shipped ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

from latency_tables.table import LatencyTable, TableError
from latency_tables.table_files import SUFFIXES, read_table, table_paths

FOLDERS_VARIABLE = "EVOUNET_TABLES"
ENTRY_POINT_GROUP = "evounet.latency_tables"
SHIPPED = Path(__file__).parent / "devices"


@dataclass(frozen=True)
class _Source:
    where: str
    load: Callable[[], LatencyTable]


def load_table(name_or_path: str | Path) -> LatencyTable:
    """A latency table by path or by name.

    Names are looked up in the folders of ``EVOUNET_TABLES`` (separated by ``os.pathsep``), then
    in the entry points of group ``evounet.latency_tables`` (each a path or a
    :class:`LatencyTable`), then among the shipped tables; the first one found counts.

    Args:
        name_or_path: the ``.toml`` or the ``.csv`` file, their path without suffix, or a name.

    Raises:
        TableError: if there is no such table, listing those that are known, or if it is malformed.
    """
    if _is_path(name_or_path):
        return read_table(name_or_path)
    sources = _sources()
    name = str(name_or_path)
    if name not in sources:
        known = ", ".join(sorted(sources)) or "none"
        raise TableError(
            f"unknown latency table '{name}'; known: {known}. Give a path, or add its folder to "
            f"{FOLDERS_VARIABLE}"
        )
    return sources[name].load()


def available_tables() -> dict[str, str]:
    """Where each table that :func:`load_table` knows by name comes from, sorted by name.

    Nothing is loaded: a plug-in appears as its entry point (``package.module:attribute``), any
    other table as the path of its metadata file.

    Raises:
        TableError: if ``EVOUNET_TABLES`` names something that is no folder.
    """
    return {name: source.where for name, source in sorted(_sources().items())}


def _is_path(name_or_path: str | Path) -> bool:
    path = Path(name_or_path)
    if path.suffix in SUFFIXES or len(path.parts) > 1:
        return True
    return any(file.exists() for file in table_paths(path))


def _sources() -> dict[str, _Source]:
    sources: dict[str, _Source] = {}
    for name, source in _all_sources():
        sources.setdefault(name, source)
    return sources


def _all_sources() -> Iterator[tuple[str, _Source]]:
    """Names and sources in the order in which they count; a name may occur more than once."""
    for folder in filter(None, os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep)):
        if not Path(folder).is_dir():
            raise TableError(f"{FOLDERS_VARIABLE} names '{folder}', which is no folder; correct it")
        yield from _in_folder(Path(folder))
    for entry_point in metadata.entry_points(group=ENTRY_POINT_GROUP):
        yield entry_point.name, _Source(entry_point.value, partial(_load_plugin, entry_point))
    yield from _in_folder(SHIPPED)


def _in_folder(folder: Path) -> Iterator[tuple[str, _Source]]:
    for name in sorted({path.stem for path in folder.iterdir() if path.suffix in SUFFIXES}):
        path = folder / f"{name}.toml"
        yield name, _Source(str(path), partial(read_table, path))


def _load_plugin(entry_point: metadata.EntryPoint) -> LatencyTable:
    where = f"entry point '{entry_point.name} = {entry_point.value}' of {ENTRY_POINT_GROUP}"
    try:
        table = entry_point.load()
    except (ImportError, AttributeError) as error:
        raise TableError(f"{where} cannot be loaded: {error}; correct the package") from error
    if isinstance(table, LatencyTable):
        return table
    if isinstance(table, (str, Path)):
        return read_table(table)
    raise TableError(f"{where} is a {type(table).__name__}; make it a path or a LatencyTable")
