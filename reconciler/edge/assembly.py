"""The daemon between its ports: what is put together alike over a real pool and a simulated one.

Settings, secrets, locks and sockets are the business of whoever has them (`daemon`); everything that
decides, remembers and acts is wired here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol

from msgspec.structs import replace

from membership.edge.supervision import Supervisor
from membership.ledger import Fact, Ledger
from membership.roster import Candidacy
from membership.view import View, single, unknown
from reconciler.edge.clock import DaemonClock
from reconciler.edge.converge import Converge, Spawn
from reconciler.edge.inbox import Inbox
from reconciler.edge.journal_file import JournalFile
from reconciler.edge.known_pool import KnownPoolFile
from reconciler.edge.ledger_file import LedgerFile
from reconciler.edge.mastering import Mastering
from reconciler.edge.outreach import Outreach
from reconciler.edge.steering import Steering
from reconciler.edge.switching import Switching
from reconciler.messages import (
    FactsMerged,
    PoolLost,
    PoolObserved,
    SessionEnded,
    TreeLoaded,
    ViewPushed,
)
from reconciler.mustering import ALONE, Peering
from reconciler.ports import Devices, Guests, Members, Peers, Pool, Source, Telling
from reconciler.reconciler import Reconciler
from schema.model import Frozen


class Identity(Frozen, frozen=True, kw_only=True):
    """Who this daemon is: the node's name, the release of cxm, the Cluster.id it belongs to."""

    node: str
    release: str
    cluster_id: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Whom and what this daemon has to do with beside the pool and Subversion."""

    peers: Peers
    telling: Telling
    devices: Devices
    guests: Guests
    peering: Peering = ALONE


class FollowedPool(Pool, Members, Protocol):
    """A pool that tells by which addresses its members were reached."""

    @property
    def addresses(self) -> tuple[str, ...]: ...

    async def acting_ended(self) -> None:
        """Returns once the session in which this node acts was ended by another, each time it is."""


class Memory:
    """What a state directory holds of earlier runs. Raises DamagedFile, OSError.

    Only one may be open on a directory: whoever opens it holds the lock. `wall` gives epoch seconds,
    `boot` those since the machine booted (None: the event loop's).
    """

    def __init__(
        self,
        state_dir: Path,
        wall: Callable[[], float] = time.time,
        boot: Callable[[], float] | None = None,
    ) -> None:
        self.wall = wall
        self.boot = boot
        self.journal = JournalFile(state_dir / "journal", wall)
        self.ledger = LedgerFile(state_dir / "ledger.jsonl")
        self.known_pool = KnownPoolFile(state_dir / "pool.jsonl")

    def close(self) -> None:
        self.journal.close()
        self.ledger.close()


class Assembly:
    """One run of a daemon, made once, while the event loop runs. Without peers it begins a term.

    `kept` is the last known good tree, `spawn` starts a task whose failure ends the daemon. `steering`
    and `observe` are to run until the daemon ends; `saw` and `take` are what peers call.
    """

    def __init__(
        self,
        me: Identity,
        memory: Memory,
        pool: FollowedPool,
        source: Source,
        surroundings: Surroundings,
        kept: TreeLoaded | None,
        random: Random,
        supervisor: Supervisor,
        spawn: Spawn,
    ) -> None:
        self._pool = pool
        self._known_pool = memory.known_pool
        self._ledger = memory.ledger
        self._clock = DaemonClock(memory.journal.last_s, memory.wall, memory.boot)
        self._inbox = Inbox()
        self._view = self._first_view(me.node, surroundings.peering)
        self._led_since_s = self.now_s()
        core = self._core = Reconciler(
            me=me.node,
            version=me.release,
            cluster_id=me.cluster_id,
            journal=memory.journal.state,
            ledger=memory.ledger.ledger,
            view=self._view,
            kept=kept,
            random=random,
            peering=surroundings.peering,
        )
        around = surroundings
        outreach = Outreach(around.peers, pool, source, around.telling, around.guests, self.now_s)
        converge = Converge(
            pool,
            source,
            memory.journal,
            memory.ledger,
            outreach,
            Switching(surroundings.devices, self.may_switch, self.may_go_on),
            Mastering(pool, self.permitted, self.may_switch),
            self.permitted,
            core.lacking,
            self._inbox.post,
            spawn,
        )
        self.steering = Steering(core, converge, self._inbox, self._clock, supervisor)

    def _first_view(self, me: str, peering: Peering) -> View:
        if peering.alone:
            return single(me, self._ledger.claim(me, self._clock.now()))
        return unknown(me, peering.engine, self._ledger.ledger.term, "no heartbeats yet")

    @property
    def ledger(self) -> Ledger:
        """All that is durable here of what peers share."""
        return self._ledger.ledger

    def may_switch(self) -> bool:
        """Whether this node may begin to have another one powered off, or made master in a dead one's
        place, at this very moment."""
        return self.may_go_on() and not self.ledger.holds

    def may_go_on(self) -> bool:
        """Whether this node may go on with what it has begun to switch off: as long as it leads."""
        return self._core.fences(self._clock.now())

    def permitted(self) -> bool:
        """Whether a call may be begun at this very moment. A hold that is durable counts, be it that the
        reconciler has yet to be told of it."""
        return self._core.may_act(self._clock.now()) and not self.ledger.holds

    async def candidacy(self) -> Candidacy:
        """What the heartbeats are told of this daemon."""
        return await self.steering.candidacy()

    @property
    def view(self) -> View:
        """What the engine said last."""
        return self._view

    @property
    def led_since_s(self) -> float:
        """Since when the view has named this leader of this term, or nobody."""
        return self._led_since_s

    @property
    def acts_alone(self) -> bool:
        """Whether this node acts without its only possible successor, and the pool was told so."""
        return self._core.acts_alone(self._clock.now())

    def now_s(self) -> float:
        """As times in the view."""
        return self._clock.now().mono_s

    def saw(self, view: View) -> None:
        """A view came from the heartbeats; its times are those of the machine's clock."""
        if (view.leader, view.term) != (self._view.leader, self._view.term):
            self._led_since_s = self.now_s()
        self._view = replace(
            view,
            acts_from_s=self._clock.from_boot(view.acts_from_s),
            lead_until_s=self._clock.from_boot(view.lead_until_s),
        )
        self._inbox.post(ViewPushed(view=self._view))

    def take(self, facts: Sequence[Fact]) -> None:
        """Facts came from a peer. Those that are news are durable when this returns."""
        before = self._ledger.ledger.facts
        merged = self._ledger.ledger.merge(facts).facts
        news = tuple(fact for key, fact in merged.items() if before.get(key) != fact)
        if news:
            self._ledger.append(news)
            self._inbox.post(FactsMerged(facts=news))

    async def observe(self) -> None:
        """Follow the pool for ever, for the reconciler."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_session())
            await self._pool.run(self._publish)

    async def _watch_session(self) -> None:
        while True:
            await self._pool.acting_ended()
            self._inbox.post(SessionEnded())

    def _publish(self, seen: PoolObserved | PoolLost) -> None:
        if isinstance(seen, PoolObserved):
            self._known_pool.learn(seen.observed.pool.uuid, self._pool.addresses)
        self._inbox.post(_on_our_clock(seen, self._clock))


def _on_our_clock(seen: PoolObserved | PoolLost, clock: DaemonClock) -> PoolObserved | PoolLost:
    """The pool is observed in the event loop's time; everything else is in the daemon's."""
    if isinstance(seen, PoolLost):
        return seen
    as_of_s = clock.from_loop(seen.observed.as_of_s)
    steady_s = clock.from_loop(seen.observed.steady_since_s)
    observed = replace(seen.observed, as_of_s=as_of_s, steady_since_s=steady_s)
    return PoolObserved(observed=observed)
