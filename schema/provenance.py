"""Which file and line a value came from, for `explain --resolved`, and where an object stands.

Nothing is kept for this while a tree is loaded; an answer reads the two or three files again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from schema import dialect, fields
from schema.dialect import NOWHERE, Document, Path
from schema.entries import Entry, Key
from schema.layers import Layer, Shared, below
from schema.merging import Plain, origin
from schema.model import Frozen

# What an object is called by people: kind/name, and the Cluster alone `cluster`.
WORDS: Mapping[str, str] = {
    "Cluster": "cluster",
    "FenceDevice": "device",
    "FencingPolicy": "policy",
    "MaintenanceWindow": "window",
    "Node": "node",
    "PlacementRule": "rule",
    "Profile": "profile",
    "VM": "vm",
}
_KINDS = {word: kind for kind, word in WORDS.items()}


class Resolved(Frozen, frozen=True, kw_only=True):
    """One field of an object: its value as it would be written, and where it is written.

    `path` and `line` are None for a built-in default. `effective` is False for a field that this
    release validates and keeps, and does not act on yet.
    """

    field: str
    value: Any
    path: str | None
    line: int | None
    effective: bool


class Provenance(Frozen, frozen=True, kw_only=True, eq=False):
    """Answers about one loaded tree."""

    entries: Mapping[str, Entry]
    layers: Shared
    paths: Mapping[Key, str]

    def path_of(self, identifier: str) -> str | None:
        """The file of `vm/web1`, `node/xen1`, ..., `cluster`; None where there is none."""
        return self.paths.get(_key(identifier))

    def resolved(self, identifier: str) -> tuple[Resolved, ...]:
        """Every field of an object that has a value, in the order of its kind's schema.

        Empty for an object that is not in the tree or whose file is not valid.
        """
        path = self.path_of(identifier)
        entry = self.entries[path] if path is not None else None
        if entry is None or entry.value is None or entry.kind is None:
            return ()
        own = Layer(path=entry.path, prefix=(), plain=entry.value)
        profiles = {name: path for (kind, name), path in self.paths.items() if kind == "Profile"}
        under = below(entry.value, self.layers, profiles) if entry.kind == "VM" else ()
        return tuple(self._rows(entry.kind, [*under, own]))

    def _rows(self, kind: str, layers: Sequence[Layer]) -> Iterator[Resolved]:
        documents = {layer.path: self._document(layer.path) for layer in layers}
        plains = [layer.plain for layer in layers]
        for keys, schema, acts in _leaves(kind, plains):
            index = origin(plains, keys)
            name = ".".join(keys)
            if index is None:
                if "default" in schema:
                    default = schema["default"]
                    yield Resolved(field=name, value=default, path=None, line=None, effective=acts)
                continue
            layer = layers[index]
            value = _value(layer.plain, keys)
            line = _line(documents[layer.path], (*layer.prefix, *keys))
            yield Resolved(field=name, value=value, path=layer.path, line=line, effective=acts)

    def _document(self, path: str) -> Document:
        document = dialect.read(path, self.entries[path].content).document
        return document or NOWHERE


def _leaves(
    kind: str, plains: Sequence[Plain]
) -> Iterator[tuple[tuple[str, ...], fields.Schema, bool]]:
    """The fields of a kind; for a map whose keys are free, such as labels, each key is one."""
    for keys, schema, acts in fields.leaves(kind):
        maps = [found for plain in plains if (found := _value(plain, keys))]
        if schema.get("type") != "object" or not maps:
            yield keys, schema, acts
            continue
        for key in sorted({key for found in maps for key in found}):
            yield (*keys, key), {}, acts


def _value(plain: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        if not isinstance(plain, Mapping) or key not in plain:
            return None
        plain = plain[key]
    return plain


def _line(document: Document, path: Path) -> int:
    place = document.nearest(path)
    return (place.key or place.value).line


def _key(identifier: str) -> Key:
    word, _, name = identifier.partition("/")
    return (_KINDS.get(word, word), name)
