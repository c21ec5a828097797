"""Small functions, small modules: a reader holds one in the head."""

from __future__ import annotations

import statistics
from itertools import groupby
from pathlib import Path

from tests.architecture.sources import ROOMS, Definition, code_lines, declaration, sources

LONGEST_FUNCTION = 60
MEDIAN_FUNCTION = 10
NINETIETH_FUNCTION = 30
LONGEST_MODULE = 400
LONGEST_STATE_MACHINE = 600

STATE_MACHINES = frozenset({Path("reconciler/reconciler.py")})
"""A state machine is kept in one file, so that its table and its steps are read together."""


def length(function: Definition) -> int:
    """Lines from `def` to the end, docstring and all."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def lengths(*rooms: str) -> list[int]:
    return sorted(
        length(function)
        for source in sources(*rooms)
        for function in source.functions()
        if not declaration(function)
    )


def test_no_function_is_long() -> None:
    long = [
        f"{source.at(function)}: {function.name} has {length(function)} lines"
        for source in sources(*ROOMS, "bench", "tests")
        for function in source.functions()
        if length(function) > LONGEST_FUNCTION
    ]
    assert long == [], "\n".join(long)


def test_most_functions_are_short() -> None:
    """In every room, not on the whole: a room of one-liners must not excuse another."""
    rooms = [room for room, _ in groupby(sources(*ROOMS), key=lambda source: source.room)]
    sizes = {room: lengths(room) for room in rooms if lengths(room)}
    medians = {room: statistics.median(found) for room, found in sizes.items()}
    ninetieth = {room: found[int(0.9 * (len(found) - 1))] for room, found in sizes.items()}
    assert {r: m for r, m in medians.items() if m > MEDIAN_FUNCTION} == {}
    assert {r: n for r, n in ninetieth.items() if n > NINETIETH_FUNCTION} == {}


def test_no_module_is_long() -> None:
    long = {
        str(source.path): code_lines(source)
        for source in sources(*ROOMS, "bench", "tests")
        if code_lines(source)
        > (LONGEST_STATE_MACHINE if source.path in STATE_MACHINES else LONGEST_MODULE)
    }
    assert long == {}
