"""The fields of each kind: one JSON Schema (draft 2020-12) a kind, and what can be asked of it.

The files in `kinds/` are data of this package. They share definitions through references to
`shared.json`, which are resolved here once, so that what is validated with, and what is printed for
editors, needs no other file. Keywords of our own:

- `x-cxm-effective`: whether the field acts in this release. It holds for everything below.
- `x-cxm-form`: name of the form in `schema.forms`, for error texts.
- `x-cxm-one-of`: exactly one of the keys must be there.
- `x-cxm-ref`, `x-cxm-ref-keys`: the kind of object that the text, or each key, must name.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

from schema.dialect import Path

API_VERSION = "cxm/v1"
# What `requires` of a tree is compared with: the version of this language, not of the programs.
LANGUAGE = (1, 0)

KINDS = (
    "Cluster",
    "FenceDevice",
    "FencingPolicy",
    "MaintenanceWindow",
    "Node",
    "PlacementRule",
    "Profile",
    "VM",
)
Schema = dict[str, Any]
# In the path of a field: any item of a list; in front of it, the keys of a map.
EVERY = "*"
KEYS = "<keys>"


def _data(name: str) -> Schema:
    # Not input: a part of the program that happens to be written in JSON, as good as an import.
    text = resources.files("schema").joinpath("kinds", name).read_text(encoding="utf-8")
    data: Schema = json.loads(text)
    return data


@functools.cache
def _shared() -> Schema:
    definitions: Schema = _data("shared.json")["$defs"]
    return definitions


def _resolved(part: Any) -> Any:
    if isinstance(part, list):
        return [_resolved(item) for item in part]
    if not isinstance(part, dict):
        return part
    own = {key: _resolved(value) for key, value in part.items() if key != "$ref"}
    if "$ref" not in part:
        return own
    return {**_resolved(_shared()[part["$ref"].rsplit("/", 1)[1]]), **own}


@functools.cache
def document(kind: str) -> Schema:
    """The JSON Schema of `kind`, or of "settings" (node.yaml), complete in itself."""
    resolved: Schema = _resolved(_data(f"{kind.lower()}.json"))
    return resolved


def editor_files() -> dict[str, bytes]:
    """`.schema/` of a tree, which the first line of each file points an editor to, by path."""
    return {f".schema/{kind.lower()}.schema.json": schema_text(kind).encode() for kind in KINDS}


def schema_text(kind: str) -> str:
    """The JSON Schema of `kind` as `cxm schema` prints it."""
    return json.dumps(document(kind), indent=2) + "\n"


def at(kind: str, path: Path) -> Schema:
    """The schema of the field at `path` of `kind`; empty where there is none."""
    part = document(kind)
    for step in path:
        if isinstance(step, int) or step == EVERY:
            part = part.get("items", {})
        elif step in part.get("properties", {}):
            part = part["properties"][step]
        else:
            rest = part.get("additionalProperties", {})
            part = rest if isinstance(rest, dict) else {}
    return part


def leaves(kind: str) -> Iterator[tuple[tuple[str, ...], Schema, bool]]:
    """Each field that has no fields of its own: its path, its schema, whether it acts."""
    yield from _leaves(document(kind), (), False)


def _leaves(
    part: Schema, path: tuple[str, ...], acts: bool
) -> Iterator[tuple[tuple[str, ...], Schema, bool]]:
    acts = part.get("x-cxm-effective", acts)
    if "properties" not in part:
        yield path, part, acts
        return
    for key, inner in part["properties"].items():
        yield from _leaves(inner, (*path, key), acts)


@functools.cache
def effective() -> frozenset[str]:
    """The fields that act in this release, such as `VM.placement.only`."""
    return frozenset(
        ".".join((kind, *path)) for kind in KINDS for path, _, acts in leaves(kind) if acts
    )


@functools.cache
def references(kind: str) -> tuple[tuple[Path, str], ...]:
    """Fields of `kind` that name other objects: (path, kind named).

    `*` in a path stands for every item of a list, a final `<keys>` for the keys of a map.
    """
    return tuple(_references(document(kind), ()))


def _references(part: Schema, path: Path) -> Iterator[tuple[Path, str]]:
    if "x-cxm-ref" in part:
        yield path, part["x-cxm-ref"]
    if "x-cxm-ref-keys" in part:
        yield (*path, KEYS), part["x-cxm-ref-keys"]
    for key, inner in part.get("properties", {}).items():
        yield from _references(inner, (*path, key))
    if "items" in part:
        yield from _references(part["items"], (*path, EVERY))
