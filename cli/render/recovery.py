"""Nodes that die, in words: what becomes of their VMs, how their devices stand, what bears their marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cli.render.text import Cell, Line, Span, line, table
from cli.render.units import counted, span
from membership.proofs import Found
from reconciler.status import BoundStatus, Caveat, DeviceStatus, DrillStatus, LockStatus
from reconciler.whatif import Outcome, VmLoss


def foreseen_lines(node: str, rows: Sequence[VmLoss], *, dies: bool = False) -> list[Line]:
    """A row for each VM of a node that is, or would be, dead."""
    if not rows:
        return [line(f"no VM is on {node}")]
    verb = "dies" if len(rows) == 1 else "die"
    head = f"{counted(len(rows), 'VM')} on {node}{f' {verb} with it' if dies else ''}:"
    cells = [(row.object, _fate(row)) for row in rows]
    return [line(head), *table(cells, indent=2)]


def _fate(row: VmLoss) -> Cell:
    if row.outcome is Outcome.RETURNS:
        return f"runs again on {row.to}"
    return Span(f"stays down: {row.message}", "warn")


def device_lines(rows: Sequence[DeviceStatus]) -> list[Line]:
    """A row for each device of each node: how it stands, and what it is worth."""
    if not rows:
        return [line("no node has a fence device")]
    return table([_device_cells(row) for row in rows])


def _device_cells(row: DeviceStatus) -> Sequence[Cell]:
    worth = Span("usable", "good") if row.usable else Span("proves nothing", "bad")
    passed = (
        f"passed {span(row.passed_age_s)} ago" if row.passed_age_s is not None else "never passed"
    )
    return (f"node/{row.node}", row.device, row.power, worth, passed, row.message)


def devices_data(rows: Sequence[DeviceStatus]) -> list[dict[str, Any]]:
    return [msgspec.to_builtins(row) for row in rows]


_FOUND: Mapping[str, Span] = {
    Found.BOUND: Span("bound", "good"),
    Found.LIES: Span("never believed", "bad"),
    Found.CROSSED: Span("never believed", "bad"),
    Found.REFUSED: Span("not tried", "warn"),
}


def drill_lines(drill: DrillStatus) -> list[Line]:
    """What a live drill came to."""
    worth = _FOUND.get(drill.found, Span("not bound", "warn"))
    return [line(f"node/{drill.node}  {', '.join(drill.devices)}: ", worth, f": {drill.message}")]


def drill_data(drill: DrillStatus) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.to_builtins(drill)
    return data


def lock_lines(rows: Sequence[LockStatus]) -> list[Line]:
    """A row for each mark, and under it what to do about it."""
    if not rows:
        return [line("no disk bears the mark of a server on which its VM does not run")]
    lines: list[Line] = []
    cells = [(row.vm, f"disk {row.disk}", f"marked by {row.node}", row.state) for row in rows]
    for told, row in zip(table(cells), rows, strict=True):
        lines += [told, line(f"    {row.remedy}")]
    return lines


def locks_data(rows: Sequence[LockStatus]) -> list[dict[str, Any]]:
    return [msgspec.to_builtins(row) for row in rows]


def bound_lines(rows: Sequence[BoundStatus]) -> list[Line]:
    """What becomes provable of each node's death, by what, and within which time."""
    cells = [_bound_cells(row) for row in rows]
    return [line(Span("If a node dies", "strong")), *table(cells, indent=2)] if cells else []


def _bound_cells(row: BoundStatus) -> Sequence[Cell]:
    within = f"within {span(row.within_s)}" if row.within_s is not None else "human time"
    powerless = ", ".join(row.without_power) or "nothing"
    return (row.node, row.by, within, f"without power: by {powerless}", row.otherwise)


def caveat_lines(rows: Sequence[Caveat]) -> list[Line]:
    """A row for each thing that would be in the way, and under it how to end that."""
    if not rows:
        return []
    lines = [line(Span("What would be in the way", "strong"))]
    for row in rows:
        lines.append(line("  ", Span(row.object, "strong"), f" {row.reason}: {row.message}"))
        lines.append(line(f"    {row.remedy}"))
    return lines
