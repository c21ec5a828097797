"""The course of a recovery: the very plan, made again and again on what its actions would come to.

Every call is supposed to succeed. What takes its time only (limits, waves, back-off) is not waited
for; what refuses does refuse.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from msgspec.structs import replace as with_fields

from membership.view import View
from reconciler.accusing import Hearing
from reconciler.actions import (
    UP,
    Action,
    Blocked,
    Call,
    Cause,
    DeclareDead,
    Plan,
    ResetPower,
    SetMemory,
    SetVcpusAtStartup,
    SetVcpusMax,
    StartOn,
    Verb,
    Waits,
)
from reconciler.adoption import Adoption
from reconciler.deaths import Deaths
from reconciler.diff import closed, draining
from reconciler.drift import Change, Drift, NodeChange, VmChange
from reconciler.journal import JournalState
from reconciler.observed import Disk, Observed, ObservedVM, PowerState
from reconciler.plan import plan
from reconciler.recovery_rows import recovery_rows
from reconciler.striking import Struck
from reconciler.vm_rows import Setting, VmCase
from schema.model import Desired

TIME_ALONE = ("limits.", "wave ", "back-off", "sharing")
"""What an action waits for that passes by itself, by the first letters of its name."""


@dataclass(frozen=True, slots=True)
class Began:
    """A start, in the round of plans in which it could be made."""

    vm: str
    node: str
    round: int
    wave: int


@dataclass(frozen=True, slots=True)
class Ran:
    """How it ended: the starts in their order, and what was left, refused or waiting, by the uuid of
    the VM; `nodes` that are left, refused, by name."""

    starts: tuple[Began, ...]
    refused: dict[str, Blocked] = field(default_factory=dict)
    waiting: dict[str, Waits] = field(default_factory=dict)
    nodes: dict[str, Blocked] = field(default_factory=dict)


def ran(struck: Struck) -> Ran:
    """What the plan would make of these deaths, until nothing more can be started."""
    course = _Course(struck)
    while course.round():
        pass
    return course.ended()


class _Course:
    def __init__(self, struck: Struck) -> None:
        self._at: Hearing = struck.at
        self._desired: Desired = struck.at.desired
        self._deaths: Deaths = struck.deaths
        self._journal = _quiet(struck.at.journal)
        self._draining = draining(self._desired, struck.at.ledger)
        self._closed = closed(self._desired, self._draining, struck.deaths)
        self._adoption = _concerned(struck.adoption, struck.deaths)
        self._vms = dict(struck.at.observed.vms)
        self._nodes = dict(struck.at.observed.nodes)
        self._lost = dict(struck.deaths.lost)
        for uuid in self._lost:
            if uuid in self._vms:
                self._vms[uuid] = with_fields(self._vms[uuid], operations=(), reserved_on=None)
        self._starts: list[Began] = []
        self._plan = Plan()
        self._rounds = 0

    def round(self) -> bool:
        """One plan, carried out. False where it has nothing that could be done."""
        self._plan = self._planned()
        due = [action for action in self._plan.actions if _passes(action)]
        self._rounds += 1
        for action in due:
            assert action.call is not None
            self._apply(action.call)
        return bool(due)

    def ended(self) -> Ran:
        subjects = {f"vm/{vm.name}": real.uuid for vm, real in self._adoption.vms}
        refused = {
            subjects[row.object]: row for row in self._plan.blocked if row.object in subjects
        }
        waiting = {
            subjects[row.object]: row.waits
            for row in self._plan.actions
            if row.waits is not None and row.object in subjects
        }
        nodes = {
            row.object.removeprefix("node/"): row
            for row in self._plan.blocked
            if row.object.startswith("node/")
        }
        return Ran(tuple(self._starts), refused, waiting, nodes)

    def _planned(self) -> Plan:
        observed = with_fields(self._at.observed, vms=dict(self._vms), nodes=dict(self._nodes))
        self._adoption = _again(self._adoption, observed)
        deaths = replace(self._deaths, observed=observed, lost=dict(self._lost))
        drift = Drift(
            adoption=self._adoption,
            deaths=deaths,
            changes=tuple(self._changes(deaths, observed)),
            blocked=tuple(
                row
                for row in recovery_rows(deaths, self._adoption, observed)
                if isinstance(row, Blocked) and row.verb is Verb.WRITE_OFF
            ),
            closed=self._closed,
            draining=self._draining,
        )
        at, view = self._at, _VIEW
        return plan(drift, self._desired, observed, view, at.ledger, self._journal, None, at.now)

    def _changes(self, deaths: Deaths, observed: Observed) -> Iterator[Change]:
        for row in recovery_rows(deaths, self._adoption, observed):
            if isinstance(row, VmChange | NodeChange) and row.verb is not Verb.FENCE:
                yield row
        budget = self._desired.cluster.recovery.max_restarts
        setting = Setting(
            self._adoption, self._draining, self._journal, self._lost, budget, self._at.now
        )
        for vm, real in self._adoption.vms:
            if real.uuid in self._lost:
                rows = VmCase(vm, real, None, setting).rows()
                yield from (row for row in rows if isinstance(row, VmChange) and _belongs(row))

    # --- what calls come to -----------------------------------------------------------------------

    def _apply(self, call: Call) -> None:
        match call:
            case ResetPower(vm=vm):
                self._vms[vm] = _halted(self._vms[vm])
            case DeclareDead(node=node):
                self._write_off(node)
            case StartOn(vm=vm, node=node):
                real = self._vms[vm]
                self._vms[vm] = with_fields(real, power=PowerState.RUNNING, node=node)
                wave = next(wish.start.wave for wish, was in self._adoption.vms if was.uuid == vm)
                self._starts.append(Began(vm, node, self._rounds, wave))
                self._lost.pop(vm, None)
            case SetMemory(vm=vm, size=size, static_min=least):
                self._vms[vm] = with_fields(
                    self._vms[vm],
                    static_min=least,
                    dynamic_min=size,
                    dynamic_max=size,
                    static_max=size,
                )
            case SetVcpusMax(vm=vm, count=count):
                self._vms[vm] = with_fields(self._vms[vm], vcpus_max=count)
            case SetVcpusAtStartup(vm=vm, count=count):
                self._vms[vm] = with_fields(self._vms[vm], vcpus_at_startup=count)
            case _:
                raise AssertionError(f"no row of a recovery makes the call {call}")

    def _write_off(self, uuid: str) -> None:
        """The host is out, its VMs are down in the records, its marks are off all disks."""
        self._nodes[uuid] = with_fields(self._nodes[uuid], enabled=False, live=False)
        for vm, real in self._vms.items():
            after = _halted(real) if real.node == uuid else real
            if any(uuid in disk.locked_by for disk in real.disks):
                disks = tuple(_freed(disk, uuid) for disk in real.disks)
                after = with_fields(after, disks=disks)
            self._vms[vm] = after


_VIEW = View(me="", term=0, leader=None, lead_until_s=0.0)
"""A plan is the same whoever leads."""


def _quiet(journal: JournalState) -> JournalState:
    """As if nothing were under way: what is will have ended by then."""
    return JournalState(
        backoff=journal.backoff, own_stops=journal.own_stops, own_cordons=journal.own_cordons
    )


def _concerned(adoption: Adoption, deaths: Deaths) -> Adoption:
    """The VMs on certified hosts, those that were lost before, and those that they start after."""
    own = [
        (vm, real)
        for vm, real in adoption.vms
        if real.uuid in deaths.lost or deaths.certified(real.node) is not None
    ]
    names = {name for vm, _ in own for name in vm.start.after}
    there = {vm.name for vm, _ in own}
    also = [(vm, real) for vm, real in adoption.vms if vm.name in names - there]
    return replace(adoption, vms=(*own, *also))


def _again(adoption: Adoption, observed: Observed) -> Adoption:
    """The same objects as they are shown now."""
    return replace(
        adoption,
        vms=tuple((vm, observed.vms[real.uuid]) for vm, real in adoption.vms),
        nodes=tuple((node, observed.nodes[host.uuid]) for node, host in adoption.nodes),
    )


def _belongs(row: VmChange) -> bool:
    """Whether this row is on the way to the VM's start."""
    sized = row.verb is Verb.CHANGE and not {"memory", "vcpus"}.isdisjoint(row.aspects)
    return row.cause is Cause.RECOVERY or sized


def _passes(action: Action) -> bool:
    """Whether this action is made sooner or later, whatever else becomes of the plan."""
    if action.call is None:
        return False
    return action.waits is None or action.waits.on.startswith(TIME_ALONE)


def _halted(real: ObservedVM) -> ObservedVM:
    power = PowerState.HALTED if real.power in UP else real.power
    return with_fields(real, power=power, node=None, reserved_on=None)


def _freed(disk: Disk, uuid: str) -> Disk:
    return with_fields(disk, locked_by=tuple(mark for mark in disk.locked_by if mark != uuid))
