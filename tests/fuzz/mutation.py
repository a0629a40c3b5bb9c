"""Small damage to files: what a slip of the hand, another version or a full disk leaves."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

import tomli_w

from latency_tables.parsing import parse_toml

_ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**70,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "../../etc/passwd",
    "resnet down.99/7",
    "\x00",
    "ä" * 300,
    [],
    [[]],
    {},
    {"": None},
    [1, "two", None],
)


def damaged_file(name: str, content: bytes, random: Random) -> bytes:
    """A copy in which bytes, or in JSON and TOML values, are other ones."""
    if random.random() < 0.3:
        return damaged_bytes(content, random)
    if name.endswith(".json"):
        return json.dumps(damaged(json.loads(content), random)).encode()
    if name.endswith(".jsonl"):
        *lines, last = content.splitlines(keepends=True)
        return b"".join([*lines, json.dumps(damaged(json.loads(last), random)).encode(), b"\n"])
    if name.endswith(".toml"):
        try:
            return tomli_w.dumps(damaged(parse_toml(content.decode()), random)).encode()
        except (TypeError, ValueError, AttributeError):  # TOML has no way to say it
            pass
    return damaged_bytes(content, random)


def damaged(value: Any, random: Random) -> Any:
    """A copy with one to three parts replaced, taken away, doubled or put in from nowhere."""
    value = copy.deepcopy(value)
    for _ in range(random.randint(1, 3)):
        value = _damage(value, random)
    return value


def _damage(value: Any, random: Random) -> Any:
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = random.choice(sorted(value))
        kind = random.random()
        if kind < 0.15:
            del value[key]
        elif kind < 0.25:
            value[random.choice(["", "extra", key + "s"])] = value[key]
        else:
            value[key] = _damage(value[key], random)
        return value
    if isinstance(value, list) and value and random.random() < 0.9:
        place = random.randrange(len(value))
        kind = random.random()
        if kind < 0.15:
            del value[place]
        elif kind < 0.3:
            value.insert(place, copy.deepcopy(value[place]))
        else:
            value[place] = _damage(value[place], random)
        return value
    return copy.deepcopy(random.choice(_ODD))


def damaged_bytes(content: bytes, random: Random) -> bytes:
    """A copy that is cut off, or has bytes changed, taken away or doubled."""
    kind = random.random()
    if kind < 0.25:
        return content[: random.randrange(len(content) + 1)]
    changed = bytearray(content)
    for _ in range(random.randint(1, 8)):
        place = random.randrange(len(changed))
        if kind < 0.6:
            changed[place] = random.randrange(256)
        elif kind < 0.8:
            del changed[place : place + random.randint(1, 20)]
        else:
            changed[place:place] = changed[place : place + random.randint(1, 20)]
        if not changed:
            break
    return bytes(changed)
