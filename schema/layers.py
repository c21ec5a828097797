"""Where the values of a VM come from: the Cluster's defaults, its Profile, its own file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from schema.crosscheck import ROOT, Fault
from schema.dialect import Path
from schema.entries import Entry
from schema.merging import Plain, inherited, merged, origin
from schema.model import Frozen


class Layer(Frozen, frozen=True, kw_only=True, eq=False):
    """Plain values, and the file and the path of keys in it where they stand."""

    path: str
    prefix: Path
    plain: Plain


Shared = Mapping[str, Layer]  # by file


def shared(entries: Sequence[Entry], before: Shared) -> Shared:
    """The layers that VMs can take over. One whose values did not change stays the same object."""
    found: dict[str, Layer] = {}
    for entry in entries:
        layer = _shared(entry)
        if layer is not None:
            old = before.get(entry.path)
            same = old is not None and old.plain == layer.plain
            found[entry.path] = old if same and old else layer
    return found


def _shared(entry: Entry) -> Layer | None:
    if entry.value is None:
        return None
    if entry.path == ROOT:
        plain = entry.value.get("defaults", {}).get("vm", {})
        return Layer(path=ROOT, prefix=("defaults", "vm"), plain=plain) if plain else None
    if entry.kind == "Profile":
        return Layer(path=entry.path, prefix=(), plain=inherited(entry.value))
    return None


def below(value: Plain, layers: Shared, profiles: Mapping[str, str]) -> tuple[Layer, ...]:
    """The layers under a VM's own document, weakest first. `profiles`: file of each Profile."""
    found = []
    if ROOT in layers:
        found.append(layers[ROOT])
    if "extends" in value:
        path = profiles.get(value["extends"].removeprefix("profile/"), "")
        if path in layers:
            found.append(layers[path])
    return tuple(found)


def whole(value: Plain, layers: Sequence[Layer]) -> Plain:
    """A VM's document with everything it takes over."""
    return merged([*(layer.plain for layer in layers), value]) if layers else value


def contradictions(entry: Entry, plain: Plain, layers: Sequence[Layer]) -> Iterator[Fault]:
    """A node that a VM may only run on, and must not: blamed where `avoid` is written."""
    placement = plain.get("placement", {})
    only = placement.get("only", ())
    for index, name in enumerate(placement.get("avoid", ())):
        if name not in only:
            continue
        own = Layer(path=entry.path, prefix=(), plain=entry.value or {})
        source = [*layers, own]
        spot = ("placement", "avoid")
        layer = source[origin([layer.plain for layer in source], spot) or 0]
        who = "" if layer is own else f" for vm/{plain['name']}"
        message = f'avoid: "{name}" is also in only{who}'
        yield layer.path, (*layer.prefix, *spot, index), "V026", message, "remove it from one list"
