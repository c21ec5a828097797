"""Layers of plain values laid over one another: maps merge, everything else (lists too) replaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from schema.dialect import Path

Plain = Mapping[str, Any]
# What a Profile says about itself, not about the VMs that extend it.
_OWN = frozenset({"apiVersion", "kind", "name", "description", "previousNames"})
NOTHING: Plain = MappingProxyType({})


def inherited(profile: Plain) -> Plain:
    """The part of a Profile's document that goes over to the VMs that extend it."""
    return {key: value for key, value in profile.items() if key not in _OWN}


def merged(layers: Sequence[Plain]) -> Plain:
    """The layers as one, the last the strongest. The layers themselves are not changed."""
    present = [layer for layer in layers if layer]
    if len(present) == 1:
        return present[0]
    result: dict[str, Any] = {}
    for layer in present:
        for key, value in layer.items():
            below = result.get(key)
            both = isinstance(value, dict) and isinstance(below, dict)
            result[key] = merged((below, value)) if both and below and value else value
    return result


def origin(layers: Sequence[Plain], path: Path) -> int | None:
    """Index of the strongest layer that has a value at `path`, or None."""
    for index in range(len(layers) - 1, -1, -1):
        part: Any = layers[index]
        for step in path:
            if not isinstance(part, Mapping) or step not in part:
                break
            part = part[step]
        else:
            return index
    return None
