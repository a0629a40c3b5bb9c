"""Where tables are found: by path, in folders of the user, in plug-ins, among the shipped ones."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path

from latency_tables.table import MEASURE_WITH, LatencyTable, TableError
from latency_tables.table_files import SUFFIXES, read_table, table_paths

FOLDERS_VARIABLE = "EVOUNET_TABLES"
ENTRY_POINT_GROUP = "evounet.latency_tables"
SHIPPED = Path(__file__).parent / "devices"


@dataclass(frozen=True)
class _Source:
    where: str
    load: Callable[[], LatencyTable]


def user_folders() -> list[Path]:
    """The folders of the user's own tables; the first is where new ones are written.

    Those that ``EVOUNET_TABLES`` names (separated by ``os.pathsep``), or else
    ``~/.evounet/tables``, which need not exist.

    Raises:
        TableError: if ``EVOUNET_TABLES`` names something that is no folder.
    """
    named = os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep)
    folders = [Path(each) for each in named if each]
    for folder in folders:
        if not folder.is_dir():
            raise TableError(
                f"{FOLDERS_VARIABLE} names '{folder}', which is no folder; create it or correct "
                "the variable"
            )
    return folders or [Path.home() / ".evounet" / "tables"]


def load_table(name_or_path: str | Path, *, unet: str = "UNET") -> LatencyTable:
    """A latency table by path or by name.

    Names are looked up in :func:`user_folders`, then in the entry points of group
    ``evounet.latency_tables`` (each a path or a :class:`LatencyTable`), then among the shipped
    tables; the first one found counts.

    Args:
        name_or_path: the ``.toml`` or the ``.csv`` file, their path without suffix, or a name.
        unet: what is to be summed, as one would type it behind ``evounet profile``, for the
            command that errors about missing rows recommend.

    Raises:
        TableError: if there is no such table, listing those that are known, or if it is malformed.
    """
    table = _load(name_or_path)
    if table.measure_with is not None or not table.is_profiled:
        return table
    command = MEASURE_WITH.format(unet=unet, table=shlex.quote(str(name_or_path)))
    return replace(table, measure_with=command)


def _load(name_or_path: str | Path) -> LatencyTable:
    if is_path(name_or_path):
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


def known_tables(*, unet: str = "UNET") -> dict[str, LatencyTable | TableError]:
    """Every table that :func:`load_table` knows by name, or the fault that keeps it from loading.

    Args:
        unet: as for :func:`load_table`.

    Raises:
        TableError: if ``EVOUNET_TABLES`` names something that is no folder.
    """
    tables: dict[str, LatencyTable | TableError] = {}
    for name in available_tables():
        try:
            tables[name] = load_table(name, unet=unet)
        except TableError as error:
            tables[name] = error
    return tables


def is_path(name_or_path: str | Path) -> bool:
    """Whether :func:`load_table` takes this for a path: it looks like one, or files are there."""
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
    for folder in user_folders():
        yield from _in_folder(folder)
    for entry_point in metadata.entry_points(group=ENTRY_POINT_GROUP):
        yield entry_point.name, _Source(entry_point.value, partial(_load_plugin, entry_point))
    yield from _in_folder(SHIPPED)


def _in_folder(folder: Path) -> Iterator[tuple[str, _Source]]:
    files = folder.iterdir() if folder.is_dir() else ()
    for name in sorted({path.stem for path in files if path.suffix in SUFFIXES}):
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
