"""Sightings: what is remembered of each VM, and how a change that was not ours is told from one that was.

XenAPI coalesces events and names nobody, so who changed something is inferred: a change seen while
no call of ours was in flight on the VM was made by somebody else. Drift is dated by the moment it was
first seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from reconciler.actions import (
    AddTag,
    Done,
    EjectMedia,
    PoolMigrate,
    SetMemory,
    SetNameLabel,
    SetVcpusAtStartup,
    SetVcpusMax,
)
from reconciler.adoption import Adoption
from reconciler.aspects import wishes
from reconciler.journal import InFlight, JournalState
from reconciler.observed import ObservedVM, PowerState
from reconciler.records import AnyEntry, Aspect, ForeignChange, Sighted, Sighting
from schema.model import VM

CONTENTION_WINDOW_S = 3600.0
CONTENTION_CHANGES = 2
"""So many changes by others within the window, and cxm keeps its hands off."""


CRASHES_REMEMBERED = 16


Excuses = Mapping[str, frozenset[Aspect]]
"""VM uuid -> the aspects that calls of ours in flight on it may have changed."""

_NONE: frozenset[Aspect] = frozenset()
_STOPPED: frozenset[Aspect] = frozenset({"power", "placement"})


def excuses(journal: JournalState) -> Excuses:
    """What may be our own doing, by what is in flight. To be asked before anything is settled."""
    found: dict[str, frozenset[Aspect]] = {}
    for flight in journal.in_flight.values():
        more = _STOPPED if flight.implies_stop else _NONE
        found[flight.subject] = found.get(flight.subject, _NONE) | _excused(flight) | more
    return found


def _excused(flight: InFlight) -> frozenset[Aspect]:
    match flight.call:
        case PoolMigrate() if not isinstance(flight.answer, Done):
            # A migration that fails late loses its VM; who else should have stopped it just then?
            return frozenset({"power", "placement"})
        case PoolMigrate():
            return frozenset({"placement"})
        case SetMemory():
            return frozenset({"memory"})
        case SetVcpusMax() | SetVcpusAtStartup():
            return frozenset({"vcpus"})
        case SetNameLabel():
            return frozenset({"nameLabel"})
        case AddTag():
            return frozenset({"tags"})
        case EjectMedia():
            return _NONE
        case _:
            return frozenset({"power", "placement"})


def sight(adoption: Adoption, journal: JournalState, ours: Excuses, now_s: float) -> list[AnyEntry]:
    """The entries by which the journal follows this observation.

    `ours` is what calls of ours excuse that were in flight when the observation came, whether or not
    they settled by it. A VM with an operation on it is in passing and is not sighted.
    """
    entries: list[AnyEntry] = []
    for vm, real in adoption.vms:
        before = journal.sightings.get(real.uuid)
        if real.operations:
            entries.extend(_passing(real, before, journal))
        elif real.uuid not in journal.busy and real.power is not PowerState.UNKNOWN:
            after = _look(vm, real, before, adoption, ours.get(real.uuid, _NONE), now_s)
            if after != before:
                entries.extend(_foreign(vm, real, before, after, adoption))
                entries.append(Sighted(vm=real.uuid, sighting=after))
    return entries


def _passing(
    real: ObservedVM, before: Sighting | None, journal: JournalState
) -> Iterator[AnyEntry]:
    """Remember which foreign task works on the VM: afterwards nothing tells who did it."""
    if before is None or real.uuid in journal.busy:
        return
    foreign = next((op for op in real.operations if not op.txn), None)
    if foreign is not None and (doing := foreign.task or foreign.kind) != before.doing:
        yield Sighted(vm=real.uuid, sighting=replace(before, doing=doing))


def _look(
    vm: VM,
    real: ObservedVM,
    before: Sighting | None,
    adoption: Adoption,
    ours: frozenset[Aspect],
    now_s: float,
) -> Sighting:
    node = adoption.node_names.get(real.node) if real.node is not None else None
    met: dict[str, str] = {}
    unmet: dict[str, float] = {}
    fresh: list[Aspect] = []
    for aspect, wish, fulfilled in wishes(vm, real, node):
        if fulfilled:
            met[aspect] = wish
        elif before is not None and _broken_by_others(aspect, wish, before, ours=aspect in ours):
            met[aspect] = wish
            unmet[aspect] = before.unmet.get(aspect, now_s)
            if aspect not in before.unmet:
                fresh.append(aspect)
    crashed = real.crashed and real.power is PowerState.HALTED
    after = Sighting(
        power=real.power,
        node=real.node,
        met=met,
        unmet=unmet,
        crashed=crashed,
        crashes=_crashes(before, crashed, now_s),
        foreign=_counted(before, fresh, crashed, now_s),
    )
    return _with_move(after, before, real, "placement" in ours, now_s)


def _broken_by_others(aspect: Aspect, wish: str, before: Sighting, *, ours: bool) -> bool:
    """Whether a wish that is not fulfilled is drift. A call of ours excuses what came with it, but
    not what somebody else had changed before."""
    return before.met.get(aspect) == wish and (not ours or aspect in before.unmet)


def _counted(
    before: Sighting | None, fresh: list[Aspect], crashed: bool, now_s: float
) -> tuple[float, ...]:
    """The changes by others that still count towards contention. A crash is nobody's wish."""
    earlier = before.foreign if before is not None else ()
    recent = tuple(at_s for at_s in earlier if now_s - at_s < CONTENTION_WINDOW_S)
    return (*recent, now_s) if fresh and not crashed else recent


def _crashes(before: Sighting | None, crashed: bool, now_s: float) -> tuple[float, ...]:
    """The last crashes, each counted once: when the VM was first seen halted by it."""
    earlier = before.crashes if before is not None else ()
    fresh = crashed and (before is None or not before.crashed)
    return (*earlier, now_s)[-CRASHES_REMEMBERED:] if fresh else earlier


def _with_move(
    after: Sighting, before: Sighting | None, real: ObservedVM, ours: bool, now_s: float
) -> Sighting:
    if before is None or real.node is None:
        return after
    if ours or before.node is None:
        return after
    if before.node != real.node:
        return replace(after, moved_s=now_s, moved_by=before.doing)
    return replace(after, moved_s=before.moved_s, moved_by=before.moved_by)


def _foreign(
    vm: VM, real: ObservedVM, before: Sighting | None, after: Sighting, adoption: Adoption
) -> Iterator[AnyEntry]:
    """What people are told of a change by somebody else."""
    if before is None:
        return
    fresh = [aspect for aspect in after.unmet if aspect not in before.unmet]
    moved = after.moved_s is not None and after.moved_s != before.moved_s
    what, message = "", ""
    if "power" in fresh:
        what, message = _power_story(after)
    elif moved:
        where = f"{adoption.node_name(before.node)} to {adoption.node_name(after.node)}"
        what, message = "moved", f"moved from {where}, not by cxm"
    elif fresh:
        what, message = "changed", f"{', '.join(fresh)} changed, not by cxm"
    if what:
        yield ForeignChange(
            object=f"vm/{vm.name}",
            subject=real.uuid,
            what=what,
            message=message,
            evidence=before.doing,
        )


_STORIES = {
    PowerState.HALTED: ("stopped", "stopped, not by cxm"),
    PowerState.RUNNING: ("started", "started, not by cxm"),
    PowerState.PAUSED: ("paused", "paused, not by cxm"),
    PowerState.SUSPENDED: ("suspended", "suspended, not by cxm"),
    PowerState.UNKNOWN: ("", ""),
}


def _power_story(after: Sighting) -> tuple[str, str]:
    return ("crashed", "the guest crashed") if after.crashed else _STORIES[after.power]


def contended(sighting: Sighting | None, now_s: float) -> bool:
    """Whether others changed this VM so often of late that cxm keeps its hands off."""
    if sighting is None:
        return False
    recent = [at_s for at_s in sighting.foreign if now_s - at_s < CONTENTION_WINDOW_S]
    return len(recent) >= CONTENTION_CHANGES
