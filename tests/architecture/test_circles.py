"""No file needs another one that needs it: what is below can be read, tested and changed by itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tests.architecture.sources import ROOMS, Source, imported, sources


def name(path: Path) -> str:
    """`simulator/wire/__init__.py` is `simulator.wire`."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def needed(source: Source, modules: frozenset[str]) -> Iterator[str]:
    """The modules that this one imports, be it for the type checker alone, and the packages that this
    runs on the way into them."""
    own = name(source.path)
    for _, full in imported(source):
        parts = full.split(".")
        ways = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
        there = [way for way in ways if way in modules]
        yield from (way for way in there[:-1] if not f"{own}.".startswith(f"{way}."))
        yield from (way for way in there[-1:] if way != own)


def circle(files: Sequence[Source]) -> list[str]:
    """One circle of imports, each module before the one that it is imported by; empty if there is none."""
    modules = frozenset(name(source.path) for source in files)
    graph = {name(source.path): [*needed(source, modules)] for source in files}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def test_nothing_is_imported_in_a_circle() -> None:
    found = circle(sources(*ROOMS, "bench", "tests"))
    assert found == [], " is imported by ".join(found)


def test_a_circle_is_seen() -> None:
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from room.b import B"
    assert set(circle([_written("room/a.py", typed), _written("room/b.py", "import room.a")])) == {
        "room.a",
        "room.b",
    }
    package = [
        _written("room/d/__init__.py", "from room.d import f"),
        _written("room/d/e.py", ""),
        _written("room/d/f.py", "import room.c"),
    ]
    inside = [_written("room/c.py", ""), *package]
    assert circle(inside) == []
    outside = [_written("room/c.py", "from room.d.e import g"), *package]
    assert set(circle(outside)) == {"room.c", "room.d", "room.d.f"}


def _written(path: str, text: str) -> Source:
    return Source(Path(path), text, ast.parse(text))
