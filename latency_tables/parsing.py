"""JSON and TOML of files that come from anywhere.

The parsers of the standard library answer deep nesting with a ``RecursionError``; here it is a
``ValueError`` like whatever else cannot be parsed, so that every reader can name its file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, TypeVar

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_Parsed = TypeVar("_Parsed")
_Text = TypeVar("_Text")


def parse_json(text: str | bytes) -> Any:
    """As :func:`json.loads`.

    Raises:
        ValueError: if it is no JSON, or nested too deep.
    """
    return _parsed(json.loads, text)


def parse_toml(text: str) -> dict[str, Any]:
    """As ``tomllib.loads``.

    Raises:
        ValueError: if it is no TOML, or nested too deep.
    """
    return _parsed(tomllib.loads, text)


def _parsed(parse: Callable[[_Text], _Parsed], text: _Text) -> _Parsed:
    try:
        return parse(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
