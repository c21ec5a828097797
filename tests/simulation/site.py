"""One site: a simulated pool, a repository, a state directory, and the daemon that lives and dies there."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from membership.edge.supervision import Supervisor
from reconciler.edge.alone import Alone
from reconciler.edge.assembly import Assembly, Identity, Surroundings
from reconciler.edge.steering import Steering
from reconciler.edge.telling import Tellers
from reconciler.messages import Ask, AskLook, PoolLost, PoolObserved
from reconciler.records import Record
from reconciler.status import Status, Verdict
from simulator.site import LogEntry
from simulator.world import World
from tests.edge.deaf import Deaf
from tests.edge.unarmed import Unarmed
from tests.simulation.checkers import ALL, Checker, Scene
from tests.simulation.estate import ADDRESSES, CLUSTER_ID, Wish, make_world
from tests.simulation.process import Killed, Process, WatchedMemory, own_tasks
from tests.simulation.repository import Repository, ScriptedSource
from tests.simulation.wire import Network, Wire
from xapi.pool import PoolClient

T = TypeVar("T")

NODE = "here"
RELEASE = "1.0.0"
RESTART_S = 1.0
LOOK_AGAIN_S = 1.0


class WatchedLog(list[LogEntry]):
    """The pool's log of changing calls, which tells of each as it begins."""

    def __init__(self, told: Callable[[LogEntry], None]) -> None:
        super().__init__()
        self._told = told

    def append(self, entry: LogEntry) -> None:
        super().append(entry)
        self._told(entry)


class WatchedPool(PoolClient):
    """The real client, whose pictures are shown to the checkers too."""

    told: Callable[[PoolObserved | PoolLost], None]

    async def run(self, publish: Callable[[PoolObserved | PoolLost], None]) -> None:
        def both(seen: PoolObserved | PoolLost) -> None:
            self.told(seen)
            publish(seen)

        await super().run(both)


class Site:
    """To be made in a virtual-time loop; `folder` is the daemon's state directory.

    `records` are all that became durable, over all lives of the daemon.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        own_tasks()
        self._folder = folder
        self._seed = seed
        self.world = self.new_world(seed)
        self.repository = Repository()
        self.network = Network(self.world, random.Random(seed))
        self.scene = Scene(self.world, self.repository, self.network)
        self.records: list[Record] = []
        self.lives = 0
        self.process = Process()
        self._checkers: Sequence[Checker] = [check(self.scene) for check in ALL]
        self._steering: Steering | None = None
        self._main: asyncio.Task[None] | None = None
        self.world.pool.log = WatchedLog(self._called)

    def new_world(self, seed: int) -> World:
        """The pool at its beginning."""
        return make_world(seed)

    # --- the daemon -----------------------------------------------------------------------------

    def start(self, kill_at: int | None = None) -> Process:
        """A new process of the daemon; with `kill_at` it dies at its seam of that number."""
        self.lives += 1
        self._steering = None
        self.process = Process(kill_at)
        self._main = self.process.begin(self._live(self.process))
        return self.process

    async def kill(self) -> None:
        """`kill -9`, unless it died already; nothing of it is left afterwards."""
        await self.process.bury()

    async def live_on(self) -> None:
        """The service manager: bring a daemon that died back after a moment, for ever."""
        while True:
            await self.process.died.wait()
            await self.kill()
            await asyncio.sleep(RESTART_S)
            self.start()

    async def _live(self, process: Process) -> None:
        memory = WatchedMemory(self._folder, self.world.pool.clock.wall, process, self._journalled)
        chance = random.Random(f"{self._seed}/{self.lives}")
        pool = WatchedPool(
            Wire(self.network, process),
            memory.known_pool.reached(tuple(ADDRESSES.values())[:2]),
            "root",
            "secret",
            NODE,
            RELEASE,
            clock=self.world.pool.clock.wall,
            jitter=chance,
            pool_uuid=memory.known_pool.known.uuid,
        )
        pool.told = self._pictured
        source = ScriptedSource(self.repository, process)
        me = Identity(node=NODE, release=RELEASE, cluster_id=CLUSTER_ID)
        try:
            async with asyncio.TaskGroup() as tasks:
                parts = Assembly(
                    me,
                    memory,
                    pool,
                    source,
                    Surroundings(Alone(), Tellers((), NODE, CLUSTER_ID), Unarmed(), Deaf()),
                    source.load_kept(),
                    chance,
                    Supervisor({}),
                    tasks.create_task,
                )
                self._steering = parts.steering
                tasks.create_task(parts.observe())
                tasks.create_task(parts.steering.run())
        except* Killed:
            pass
        except* (AssertionError, LookupError, TypeError, ValueError, OSError, RuntimeError) as why:
            self.scene.blame(f"the daemon broke: {_first(why)!r}")
            process.die()
        finally:
            memory.close()

    # --- what the checkers are told ---------------------------------------------------------------

    def _journalled(self, record: Record) -> None:
        self.records.append(record)
        for checker in self._checkers:
            checker.journalled(record)

    def _called(self, entry: LogEntry) -> None:
        if entry.cls == "VM" and not entry.originator.startswith("cxm/"):
            self.scene.touched[entry.uuid].append(self.scene.now_s())
        for checker in self._checkers:
            checker.called(entry)

    def _pictured(self, seen: PoolObserved | PoolLost) -> None:
        if isinstance(seen, PoolObserved):
            for checker in self._checkers:
                checker.observed(seen.observed)

    # --- its people -----------------------------------------------------------------------------

    def commit(self, wish: Wish, message: str = "a wish") -> int:
        return self.repository.commit(wish.files(), message)

    async def ask(self, ask: Ask) -> None:
        """Ask the daemon for something, if there is one."""
        await self._answered(lambda steering: steering.request(ask))

    async def ping(self) -> None:
        """The repository's hook: look now."""
        await self.ask(AskLook())

    async def status(self) -> Status | None:
        """None where no daemon answers."""
        return await self._answered(lambda steering: steering.status())

    async def _answered(self, question: Callable[[Steering], Coroutine[Any, Any, T]]) -> T | None:
        steering, process = self._steering, self.process
        if steering is None or not process.alive:
            return None
        asked = asyncio.ensure_future(question(steering))
        gone = asyncio.ensure_future(process.died.wait())
        await asyncio.wait([asked, gone], return_when=asyncio.FIRST_COMPLETED)
        for waiting in (asked, gone):
            if not waiting.done():
                waiting.cancel()
                with suppress(asyncio.CancelledError):
                    await waiting
        return asked.result() if asked.done() and not asked.cancelled() else None

    async def converged(self, revision: int, within_s: float) -> str:
        """Wait until the daemon says so of this revision; what it says instead, or nothing."""
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + within_s
        status = None
        while loop.time() < ends_s:
            status = await self.status()
            if status is not None and _is_converged(status, revision):
                return ""
            await asyncio.sleep(LOOK_AGAIN_S)
        return "no daemon answers" if status is None else "; ".join(_story(status))


def _first(why: BaseException) -> BaseException:
    while isinstance(why, BaseExceptionGroup):
        why = why.exceptions[0]
    return why


def _is_converged(status: Status, revision: int) -> bool:
    return (
        status.verdict is Verdict.CONVERGED
        and status.revision.target == revision
        # Proven, and not only planned for the revision before it: at most one plan is made a second.
        and status.revision.converged == revision
        and status.plan.empty
        and not status.in_flight
    )


def _story(status: Status) -> Iterable[str]:
    revision = status.revision
    yield f"{status.verdict.value} at r{revision.target}, head r{revision.head} {revision.state}"
    yield f"{status.reason} {status.message}"
    yield from (f"{f.object} {f.verb} in flight ({f.phase})" for f in status.in_flight)
    yield from (f"{b.object} {b.verb} {b.reason}: {b.message}" for b in status.plan.blocked)
    for action in status.plan.actions:
        waits = f", waits for {action.waits.on}" if action.waits is not None else ""
        yield f"{action.object} {action.verb} {action.message}{waits}"
