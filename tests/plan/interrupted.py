"""A case lived through: the reconciler against the model pool, killed at a chosen effect.

Only what was made durable survives: the journal's records and the ledger's facts. Time jumps to the
next moment at which something can change, so waits cost nothing.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from membership.clock import Now
from membership.ledger import Ledger
from reconciler.actions import Done, PoolMigrate, ResumeOn, StartOn
from reconciler.journal import replay
from reconciler.messages import (
    CallReturned,
    Effect,
    Event,
    Fetch,
    Head,
    Look,
    Perform,
    PoolObserved,
    Share,
    SourceSeen,
    Tick,
    TreeLoaded,
    Write,
)
from reconciler.reconciler import Reconciler
from reconciler.records import Record
from schema.model import VM, Desired
from tests.plan.expansion import DIGEST, ME, REPOSITORY, REVISION, Expanded
from tests.plan.pool import ModelPool

LATE_S = 3.0
HORIZON_S = 90_000.0
QUIET_ROUNDS = 4
PATIENT_ROUNDS = 60
"""Rounds without a call after which the case is at rest; more while a lost call is waited for."""

MOST_ROUNDS = 3_000


class Crash(Enum):
    """Where `kill -9` strikes, for an effect that is a call."""

    BEFORE = "the call was never made"
    AFTER = "the call runs, and nobody hears its answer"
    UNTAGGED = "the call runs, and its task was not yet tagged"
    LATE = "the call reaches the pool only when the daemon is back"


class Killed(Exception):
    """The daemon is gone."""


@dataclass
class Life:
    """One run of a case. `crash_at` counts effects from 1; None lives undisturbed."""

    given: Expanded
    crash_at: int | None = None
    crash: Crash = Crash.BEFORE
    effects: list[Effect] = field(default_factory=list)
    performed: int = 0

    def __post_init__(self) -> None:
        self.pool = ModelPool(self.given.observed)
        self.records: list[Record] = list(self.given.records)
        self.ledger: Ledger = self.given.ledger
        self.now_s = self.given.now.mono_s
        self.start_used = {
            uuid: self.pool.used(node) for uuid, node in self.given.observed.nodes.items()
        }
        self._events: deque[Event] = deque()
        self._heard: set[str] = set()

    # --- the clock ----------------------------------------------------------------------------

    @property
    def now(self) -> Now:
        passed_s = self.now_s - self.given.now.mono_s
        return Now(mono_s=self.now_s, epoch_s=self.given.now.epoch_s + passed_s)

    # --- the daemon ---------------------------------------------------------------------------

    def live(self) -> None:
        """Until nothing more happens, through the crash if there is one."""
        try:
            self._boot()
            self._run()
        except Killed:
            self.crash_at = None
            self._events.clear()
            self._heard.clear()
            self._boot()
            self._run()

    def _boot(self) -> None:
        self._core = Reconciler(
            me=ME,
            version="1.0.0",
            cluster_id=self.given.desired.cluster.id,
            journal=replay(self.records),
            ledger=self.ledger,
            view=self.given.view,
            kept=self._tree(),
            random=random.Random(1),
        )
        self._perform(self._core.start(self.now))

    def _head(self) -> Head:
        return Head(
            repository=REPOSITORY, path="/", revision=REVISION, author="alice", message="a case"
        )

    def _tree(self) -> TreeLoaded:
        return TreeLoaded(head=self._head(), digest=DIGEST, desired=self.given.desired)

    def _run(self) -> None:
        quiet = 0
        for _ in range(MOST_ROUNDS):
            before = len(self.pool.log)
            self._round()
            idle = len(self.pool.log) == before and not self.pool.moments
            quiet = quiet + 1 if idle else 0
            status = self._core.status(self.now)
            if quiet < (PATIENT_ROUNDS if status.in_flight else QUIET_ROUNDS):
                self.now_s = min([self.now_s + 1.1, *self._next_moments()])
                continue
            next_s = status.plan.next_s
            if next_s is None or next_s > self.given.now.mono_s + HORIZON_S:
                return
            self.now_s, quiet = max(next_s, self.now_s + 0.1), 0
        raise AssertionError("it never comes to rest")

    def _next_moments(self) -> list[float]:
        return [moment_s for moment_s in self.pool.moments if moment_s > self.now_s]

    def _round(self) -> None:
        """One moment: calls end, the pool is seen, what is due is done."""
        for txn in self.pool.pass_time(self.now_s):
            if txn in self._heard:
                self._events.append(CallReturned(txn=txn, answer=Done()))
        self._events.append(PoolObserved(observed=self.pool.seen(self.now_s, self.now.epoch_s)))
        deadline_s = self._core.deadline()
        if deadline_s is not None and deadline_s <= self.now_s:
            self._events.append(Tick())
        while self._events:
            self._perform(self._core.handle(self._events.popleft(), self.now))
        self._check_memory()

    # --- its hands ----------------------------------------------------------------------------

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Write | Share | Perform):
                self.performed += 1
                self.effects.append(effect)
            killed = self.crash_at is not None and self.performed >= self.crash_at
            self._carry_out(effect, killed=killed)
            if killed:
                raise Killed

    def _carry_out(self, effect: Effect, *, killed: bool) -> None:
        match effect:
            case Write(record=record):
                self.records.append(record)
            case Share(fact=fact):
                self.ledger = self.ledger.merge([fact])
            case Look():
                self._events.append(SourceSeen(head=self._head()))
            case Fetch():
                self._events.append(self._tree())
            case Perform() if not killed:
                self._check_rules(effect)
                self.pool.begin(effect.txn, effect.call, self.now_s)
                self._heard.add(effect.txn)
                self._check_memory()
            case Perform() if self.crash is Crash.LATE:
                self.pool.send(effect.txn, effect.call, self.now_s + LATE_S)
            case Perform() if self.crash is not Crash.BEFORE:
                tagged = self.crash is Crash.AFTER
                self.pool.begin(effect.txn, effect.call, self.now_s, tagged=tagged)

    # --- what must hold at every moment ---------------------------------------------------------

    def _check_memory(self) -> None:
        """No node is over-committed, in transit included, beyond what it was at the start."""
        for uuid, node in self.pool.observed.nodes.items():
            over = self.pool.free(node) < 0 and self.pool.used(node) > self.start_used[uuid]
            assert not over, f"{node.name}: over-committed by {-self.pool.free(node)} bytes"

    def _check_rules(self, effect: Perform) -> None:
        call = effect.call
        if not isinstance(call, StartOn | ResumeOn | PoolMigrate):
            return
        desired = self.given.desired
        name = next(n.name for n in desired.nodes.values() if n.host and n.host.uuid == call.node)
        vm = _vm(desired, self.pool, call.vm)
        assert name not in vm.placement.avoid, f"{vm.name} was put on {name}, which it avoids"
        assert not vm.placement.only or name in vm.placement.only, f"{vm.name} may not be on {name}"
        node = desired.nodes[name]
        closed = not node.schedulable or node.maintenance is not None
        assert not closed, f"{name} is closed: {call}"
        assert name not in self.ledger.drains(), f"{name} is drained: {call}"

    def end(self) -> list[str]:
        """What the pool is in the end, as people would say it."""
        nodes = self.pool.observed.nodes
        vms = [
            f"vm/{vm.name} {vm.power.value} on {nodes[vm.node].name if vm.node else 'no node'}, "
            f"{vm.static_max} bytes, {vm.vcpus_max} vCPUs, tags {sorted(vm.tags)}"
            for vm in self.pool.observed.vms.values()
        ]
        closed = [f"node/{node.name} is disabled" for node in nodes.values() if not node.enabled]
        return sorted(vms + closed)


def _vm(desired: Desired, pool: ModelPool, uuid: str) -> VM:
    name = pool.observed.vms[uuid].name
    return next(vm for vm in desired.vms.values() if vm.match.uuid == uuid or vm.match.name == name)


def lived(given: Expanded, crash_at: int | None = None, crash: Crash = Crash.BEFORE) -> Life:
    """The case, lived to its end."""
    life = Life(given, crash_at, crash)
    life.live()
    return life
