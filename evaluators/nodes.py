"""The nodes of the Ray cluster that is connected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray


def alive_nodes() -> dict[str, Mapping[str, Any]]:
    """Ray's nodes by their ids."""
    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}


def resources_of(nodes: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, float]]:
    return [node["Resources"] for node in nodes.values()]


def node_name(node: Mapping[str, Any]) -> str:
    """Host and the beginning of Ray's id, as there may be several on a host."""
    return f"{node['NodeManagerHostname']}/{node['NodeID'][:6]}"
