"""The daemon between its ports: what is put together alike over a real pool and a simulated one.

Settings, secrets, locks and sockets are the business of whoever has them (`daemon`); everything that
decides, remembers and acts is wired here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Protocol

from msgspec.structs import replace

from membership.view import single
from reconciler.edge.clock import DaemonClock
from reconciler.edge.converge import Converge, Spawn
from reconciler.edge.inbox import Inbox
from reconciler.edge.journal_file import JournalFile
from reconciler.edge.known_pool import KnownPoolFile
from reconciler.edge.ledger_file import LedgerFile
from reconciler.edge.steering import Steering
from reconciler.edge.supervision import Supervisor
from reconciler.messages import PoolLost, PoolObserved, TreeLoaded
from reconciler.ports import Pool, Source
from reconciler.reconciler import Reconciler
from schema.model import Frozen


class Identity(Frozen, frozen=True, kw_only=True):
    """Who this daemon is: the node's name, the release of cxm, the Cluster.id it belongs to."""

    node: str
    release: str
    cluster_id: str


class FollowedPool(Pool, Protocol):
    """A pool that tells by which addresses its members were reached."""

    @property
    def addresses(self) -> tuple[str, ...]: ...


class Memory:
    """What a state directory holds of earlier runs. Raises DamagedFile, OSError.

    Only one may be open on a directory: whoever opens it holds the lock. `wall` gives epoch seconds.
    """

    def __init__(self, state_dir: Path, wall: Callable[[], float] = time.time) -> None:
        self.wall = wall
        self.journal = JournalFile(state_dir / "journal", wall)
        self.ledger = LedgerFile(state_dir / "ledger.jsonl")
        self.known_pool = KnownPoolFile(state_dir / "pool.jsonl")

    def close(self) -> None:
        self.journal.close()
        self.ledger.close()


class Assembly:
    """One run of a daemon: it begins a term, so it is made once, while the event loop runs.

    `kept` is the last known good tree, `spawn` starts a task whose failure ends the daemon. `steering`
    and `observe` are to run until the daemon ends.
    """

    def __init__(
        self,
        me: Identity,
        memory: Memory,
        pool: FollowedPool,
        source: Source,
        kept: TreeLoaded | None,
        random: Random,
        supervisor: Supervisor,
        spawn: Spawn,
    ) -> None:
        self._pool = pool
        self._known_pool = memory.known_pool
        self._clock = DaemonClock(not_before_s=memory.journal.last_s, wall=memory.wall)
        self._inbox = Inbox()
        term = memory.ledger.claim(me.node, self._clock.now())
        core = Reconciler(
            me=me.node,
            version=me.release,
            cluster_id=me.cluster_id,
            journal=memory.journal.state,
            ledger=memory.ledger.ledger,
            view=single(me.node, term),
            kept=kept,
            random=random,
        )
        converge = Converge(pool, source, memory.journal, memory.ledger, self._inbox.post, spawn)
        self.steering = Steering(core, converge, self._inbox, self._clock, supervisor)

    async def observe(self) -> None:
        """Follow the pool for ever, for the reconciler."""
        await self._pool.run(self._publish)

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
