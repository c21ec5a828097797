"""Waves: the order of starts. A VM starts after what it names, and after what starts in lower waves.

What is waited for is up when it is ready by its own rule (`readiness`), not when its call returns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

from reconciler.actions import Verb, Waits
from reconciler.aspects import desired_power
from reconciler.drift import Change, Drift, VmChange
from reconciler.observed import ObservedVM, PowerState
from reconciler.steps import Step
from schema.model import VM


@dataclass(frozen=True, slots=True)
class Row:
    """A change that may go forward: its next step, and what it still waits for."""

    change: Change
    step: Step | None
    waits: Waits | None

    @property
    def under_way(self) -> bool:
        """Whether it goes on, or can go on now."""
        return self.waits is None or self.waits.on == "in-flight"


def in_order(rows: Sequence[Row], drift: Drift) -> list[Row]:
    """Starts go after what they name, and then wave by wave: the other way round, a VM after one of
    a later wave would wait for ever. A refused start holds no wave up."""
    awaited = _awaited(rows, drift)
    rows = [_after(row, awaited) for row in rows]
    first = _first(_coming(rows, drift))
    return [_in_wave(row, first) for row in rows]


# --- after what is named -----------------------------------------------------------------------------


def _awaited(rows: Sequence[Row], drift: Drift) -> Mapping[str, Waits]:
    """The VMs that a start comes after and that are not up, though the tree does not want them down:
    by name, with what is waited for."""
    starting = [row.change.vm for row in rows if isinstance(row.change, VmChange)]
    named = {name for vm in starting for name in vm.start.after}
    found: dict[str, Waits] = {}
    for vm, real in drift.adoption.vms if named else ():
        waits = _down(vm, real, drift) if vm.name in named and _wanted(vm) else None
        if waits is not None:
            found[vm.name] = waits
    for item in drift.adoption.unmatched if named else ():
        if item.vm.name in named and _wanted(item.vm):
            found[item.vm.name] = Waits(on=f"vm/{item.vm.name}")
    return found


def _wanted(vm: VM) -> bool:
    return desired_power(vm) in (PowerState.RUNNING, None)


def _down(vm: VM, real: ObservedVM, drift: Drift) -> Waits | None:
    """Why this VM is not up yet; None where it is."""
    name = f"vm/{vm.name}"
    if real.power is not PowerState.RUNNING:
        return Waits(on=name, message=f"{name} does not run")
    if real.node is not None and real.node not in drift.deaths.pool.reporting:
        node = drift.adoption.node_name(real.node)
        return Waits(on=name, message=f"nobody hears {node}, on which {name} ran")
    return _starting(vm, real, drift)


def _starting(vm: VM, real: ObservedVM, drift: Drift) -> Waits | None:
    """What a VM that runs is still given time for."""
    lack = drift.unready.get(real.uuid)
    if lack is None or lack.late:
        return None
    name = f"vm/{vm.name}"
    return Waits(on=name, message=f"{name} runs, {lack.message}", until_s=lack.until_s)


def _after(row: Row, awaited: Mapping[str, Waits]) -> Row:
    change = row.change
    if row.waits is not None or not isinstance(change, VmChange) or not _starts(change):
        return row
    unmet = next((awaited[name] for name in change.vm.start.after if name in awaited), None)
    if unmet is None:
        return row
    why = f": {unmet.message}" if unmet.message else ""
    message = f"start.after names {unmet.on}{why}"
    return replace(row, waits=Waits(on=unmet.on, message=message, until_s=unmet.until_s))


# --- wave by wave ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Coming:
    """A VM on its way up. `message` says what it lacks where it runs, `until_s` how long that counts."""

    wave: int
    message: str = ""
    until_s: float | None = None


def _coming(rows: Sequence[Row], drift: Drift) -> Iterator[_Coming]:
    """What is being started, or will be at once; and what was started and is not ready yet."""
    freed = {
        row.change.object for row in rows if row.change.verb is Verb.WRITE_OFF and row.under_way
    }
    for row in rows:
        if isinstance(row.change, VmChange) and _is_coming(row, freed):
            yield _Coming(row.change.vm.start.wave)
    for vm, real in drift.adoption.vms if drift.unready else ():
        waits = _starting(vm, real, drift)
        if waits is not None:
            yield _Coming(vm.start.wave, waits.message, waits.until_s)


def _is_coming(row: Row, freed: set[str]) -> bool:
    """A start that is going on or can go on now, or that follows as soon as the pool has freed what a
    dead node holds: later waves wait for it."""
    if row.change.verb is Verb.RESET:
        return row.under_way
    if not _starts(row.change):
        return False
    return row.under_way or (row.waits is not None and row.waits.on in freed)


def _first(coming: Iterable[_Coming]) -> _Coming | None:
    """What the first wave waits for: a start, or else whatever has the longest time left."""
    return min(coming, key=lambda one: (one.wave, -(one.until_s or inf)), default=None)


def _in_wave(row: Row, first: _Coming | None) -> Row:
    change = row.change
    if row.waits is not None or not isinstance(change, VmChange) or not _starts(change):
        return row
    if first is None or change.vm.start.wave <= first.wave:
        return row
    message = f"wave {first.wave} starts before wave {change.vm.start.wave}"
    if first.message:
        message += f": {first.message}"
    waits = Waits(on=f"wave {first.wave}", message=message, until_s=first.until_s)
    return replace(row, waits=waits)


def _starts(change: Change) -> bool:
    return change.verb is Verb.START
