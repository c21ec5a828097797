"""What must hold at every event of a simulated life. Small and dumb, and each alone.

They see what the world's log, the journal and the pictures of the pool say, and take nobody's word for
what it means.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.actions import (
    AddTag,
    Call,
    Cause,
    CleanShutdown,
    DeclareDead,
    DisableNode,
    Done,
    EjectMedia,
    EnableNode,
    PoolMigrate,
    ResetPower,
    ResumeOn,
    SetMemory,
    SetNameLabel,
    SetVcpusAtStartup,
    SetVcpusMax,
    StartOn,
    Suspend,
    Unpause,
)
from reconciler.observed import STALE_AFTER_S, Observed
from reconciler.records import DaemonStarted, ForeignChange, Intended, Record, Settled, Targeted
from simulator.site import LogEntry
from simulator.world import World
from tests.simulation.estate import GRACE_S, HOSTS, identity, left_free
from tests.simulation.repository import Repository
from tests.simulation.wire import Network

METHODS: Mapping[type[Call], str] = {
    StartOn: "VM.start_on",
    ResumeOn: "VM.resume_on",
    Unpause: "VM.unpause",
    CleanShutdown: "VM.clean_shutdown",
    Suspend: "VM.suspend",
    PoolMigrate: "VM.pool_migrate",
    SetMemory: "VM.set_memory_limits",
    SetVcpusMax: "VM.set_VCPUs_max",
    SetVcpusAtStartup: "VM.set_VCPUs_at_startup",
    SetNameLabel: "VM.set_name_label",
    AddTag: "VM.add_tags",
    EjectMedia: "VBD.eject",
    ResetPower: "VM.power_state_reset",
    DisableNode: "host.disable",
    EnableNode: "host.enable",
    DeclareDead: "host.declare_dead",
}

REPEATABLE = frozenset(
    {
        "VM.set_memory_limits",
        "VM.set_VCPUs_max",
        "VM.set_VCPUs_at_startup",
        "VM.set_name_label",
        "VM.add_tags",
    }
)
"""Doing these twice is doing them once: a call that was lost with its session is made again."""

OURS = "cxm/"
BESIDE = frozenset({"task", "message", "pool"})
"""Classes of what we write that carries out no plan: marks on tasks, messages, claims of terms."""

NO_ROOM = "HOST_NOT_ENOUGH_FREE_MEMORY"
DISTURBED_S = 120.0


@dataclass
class Scene:
    """What all checkers look at. `touched`: when others changed a VM, by its uuid, as loop times."""

    world: World
    repository: Repository
    network: Network
    violations: list[str] = field(default_factory=list)
    touched: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    crashed: set[str] = field(default_factory=set)

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def blame(self, text: str) -> None:
        self.violations.append(f"at {self.now_s():.3f} s: {text}")

    def name_of(self, uuid: str) -> str:
        rows = [*self.world.pool.db.rows("VM"), *self.world.pool.db.rows("host")]
        return next((r.text("name_label") for r in rows if r.text("uuid") == uuid), uuid)


class Checker:
    """Told of everything; says nothing by itself."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def journalled(self, record: Record) -> None:
        """The record is durable."""

    def called(self, entry: LogEntry) -> None:
        """The pool begins to carry out a call, by whomever."""

    def observed(self, picture: Observed) -> None:
        """The daemon is shown this picture."""


@dataclass
class Flight:
    intended: Intended
    began_s: float
    entries: list[LogEntry] = field(default_factory=list)

    @property
    def method(self) -> str:
        assert self.intended.action.call is not None
        return METHODS[type(self.intended.action.call)]


class Flights(Checker):
    """No call without an intent on disk, one call for each, one at a time on an object; and what is
    told of its end is what the pool's log says."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self.open: dict[str, Flight] = {}

    def journalled(self, record: Record) -> None:
        match record.entry:
            case Intended() as intended:
                self._alone(intended)
                self.open[intended.txn] = Flight(intended, self.scene.now_s())
            case Settled() as settled:
                self._truthful(settled, self.open.pop(settled.txn))

    def called(self, entry: LogEntry) -> None:
        if not entry.originator.startswith(OURS) or entry.cls in BESIDE:
            return
        told = f"{entry.method} of {entry.name}"
        flight = self._flight_of(entry)
        if flight is None:
            self.scene.blame(f"{told} without an intent in the journal")
            return
        if flight.entries and entry.method not in REPEATABLE:
            self.scene.blame(f"{told} twice for one intent")
        if any(other.outcome == "pending" for other in self._of(entry.uuid) if other is not entry):
            self.scene.blame(f"{told} while another call of ours works on it")
        flight.entries.append(entry)

    def _alone(self, intended: Intended) -> None:
        for flight in self.open.values():
            if flight.intended.subject == intended.subject:
                name = intended.action.object
                self.scene.blame(f"{name}: intended while {flight.method} is in flight")

    def _flight_of(self, entry: LogEntry) -> Flight | None:
        for flight in self.open.values():
            if (flight.intended.subject, flight.method) == (entry.uuid, entry.method):
                return flight
        return None

    def _of(self, uuid: str) -> Sequence[LogEntry]:
        ours = (e for e in self.scene.world.log if e.originator.startswith(OURS))
        return [entry for entry in ours if entry.uuid == uuid]

    def _truthful(self, settled: Settled, flight: Flight) -> None:
        told = f"{settled.object}: {flight.method} settled as {type(settled.outcome).__name__}"
        outcomes = [entry.outcome for entry in flight.entries]
        if "pending" in outcomes and not self._is_seen_done(settled):
            self.scene.blame(f"{told} while the pool still works on it")
        if any(self._is_waiting(flight)):
            self.scene.blame(f"{told} while its request is on its way")
        touched = self.scene.touched[settled.subject]
        if any(at_s >= flight.began_s - GRACE_S for at_s in touched):
            return
        # The other way round is no lie: a host that its own boot enabled again is enabled.
        # A restart of its toolstack also opens a host again that a call had just closed.
        reopened = flight.method == "host.disable"
        if "success" in outcomes and not reopened and not isinstance(settled.outcome, Done):
            reason = getattr(settled.outcome, "reason", "")
            self.scene.blame(f"{told} {reason}, but the pool says {outcomes}")

    def _is_seen_done(self, settled: Settled) -> bool:
        """Whether it is brought about, and no client could see that the pool is not through with it:
        after a restart of the master's toolstack another host may go on with it in the dark."""
        rows = [*self.scene.world.pool.db.rows("VM"), *self.scene.world.pool.db.rows("host")]
        row = next(row for row in rows if row.text("uuid") == settled.subject)
        return isinstance(settled.outcome, Done) and not row.map("current_operations")

    def _is_waiting(self, flight: Flight) -> list[bool]:
        tables = (self.scene.world.pool.db.rows("VM"), self.scene.world.pool.db.rows("host"))
        refs = [r.ref for rows in tables for r in rows if r.text("uuid") == flight.intended.subject]
        wanted = f"{flight.method} {refs[0]}"
        return [True for w in self.scene.network.waiting.values() if w.endswith(wanted)]


class Freshness(Checker):
    """Nothing is begun on a picture that is too old, or on none of this daemon's own."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._as_of_s: float | None = None

    def observed(self, picture: Observed) -> None:
        self._as_of_s = picture.as_of_s

    def journalled(self, record: Record) -> None:
        if isinstance(record.entry, DaemonStarted):
            self._as_of_s = None
        if isinstance(record.entry, Intended):
            age_s = None if self._as_of_s is None else self.scene.now_s() - self._as_of_s
            if age_s is None or age_s > STALE_AFTER_S:
                self.scene.blame(f"{record.entry.action.object}: begun at an age of {age_s} s")


class Causes(Checker):
    """Nobody is accused of what he did not do, and what others did has its grace."""

    def journalled(self, record: Record) -> None:
        match record.entry:
            case ForeignChange(object=name, subject=subject, message=message):
                if not self.scene.touched[subject]:
                    self.scene.blame(f"{name}: told as {message}, but nobody else touched it")
            case Intended(subject=subject, action=action) if action.cause is Cause.DRIFT:
                self._graced(subject, action.object)

    def _graced(self, subject: str, name: str) -> None:
        touched = self.scene.touched[subject]
        if not touched:
            self.scene.blame(f"{name}: drift, though nobody touched it")
        elif subject not in self.scene.crashed and self.scene.now_s() - min(touched) < GRACE_S:
            self.scene.blame(f"{name}: drift was mended before its grace was over")


class Placement(Checker):
    """What we start or move goes where the tree in force allows it."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._revision = 0

    def journalled(self, record: Record) -> None:
        match record.entry:
            case Targeted(revision=revision):
                self._revision = revision
            case Intended(action=action) if isinstance(
                action.call, StartOn | ResumeOn | PoolMigrate
            ):
                self._allowed(action.call)

    def _allowed(self, call: StartOn | ResumeOn | PoolMigrate) -> None:
        desired = self.scene.repository.desired(self._revision)
        home = next(name for name in HOSTS if identity("host", name) == call.node)
        vm = next(vm for vm in desired.vms.values() if vm.match.uuid == call.vm)
        node = desired.nodes[home]
        outside = bool(vm.placement.only) and home not in vm.placement.only
        if outside or home in vm.placement.avoid or node.maintenance is not None:
            self.scene.blame(f"vm/{vm.name} is to go to {home}, where it may not be")


class Memory(Checker):
    """No host is promised more than it has."""

    def called(self, entry: LogEntry) -> None:
        del entry
        for host, free in left_free(self.scene.world).items():
            if free < 0:
                self.scene.blame(f"{host} lacks {-free} bytes")


class Corruption(Checker):
    """No VM runs twice, no disk is written twice."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._told = 0

    def called(self, entry: LogEntry) -> None:
        for case in self.scene.world.corruption[self._told :]:
            self.scene.blame(f"{case.kind} of {self.scene.name_of(case.uuid)} on {case.hosts}")
            self._told += 1
        del entry


ALL: Sequence[Callable[[Scene], Checker]] = (
    Flights,
    Freshness,
    Causes,
    Placement,
    Memory,
    Corruption,
)


def needless_refusals(scene: Scene) -> list[str]:
    """Calls of ours that the pool refused for want of memory though nobody else was at work then."""
    log = scene.world.log
    others = [entry.time for entry in log if not entry.originator.startswith(OURS)]
    return [
        f"{entry.method} of {entry.name} did not fit on its host"
        for entry in log
        if entry.originator.startswith(OURS)
        and entry.outcome == NO_ROOM
        and not any(abs(time - entry.time) < DISTURBED_S for time in others)
    ]
