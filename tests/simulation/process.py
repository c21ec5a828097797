"""A process that can be killed between any two of its effects on the world.

`kill -9` leaves no effect undone and allows none after it: every way out of the process is a seam that
asks whether it still lives, and a dead one gets no answer any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from pathlib import Path
from typing import Any, TypeVar

from membership.ledger import Fact
from reconciler.edge.assembly import Memory
from reconciler.edge.journal_file import JournalFile
from reconciler.edge.known_pool import KnownPoolFile
from reconciler.edge.ledger_file import LedgerFile
from reconciler.records import Record

T = TypeVar("T")

_CURRENT: ContextVar[Process | None] = ContextVar("process", default=None)


class Killed(BaseException):
    """The process is gone: not an error that anything in it could handle."""


class Process:
    """Counts its seams, and dies at number `kill_at` if that is given.

    `labels` are the seams that were passed, oldest first.
    """

    def __init__(self, kill_at: int | None = None) -> None:
        self.labels: list[str] = []
        self.kill_at = kill_at
        self.alive = True
        self.died = asyncio.Event()
        self._tasks: dict[int, asyncio.Task[Any]] = {}

    def seam(self, label: str) -> None:
        """Raises Killed if the process dies here, or is dead."""
        if self.passes(label):
            raise Killed(label)

    def passes(self, label: str) -> bool:
        """Count a seam; True if the process dies here, or is dead."""
        if self.alive:
            self.labels.append(label)
            if len(self.labels) == self.kill_at:
                self.die()
        return not self.alive

    def die(self) -> None:
        self.alive = False
        self.died.set()

    def begin(self, main: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `main` as this process: whatever tasks it makes belong to it."""
        context = copy_context()
        context.run(_CURRENT.set, self)
        return asyncio.get_running_loop().create_task(main, context=context)

    def driven(self, main: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """How a task of this process goes from one of its steps to the next."""
        return main

    def adopt(self, task: asyncio.Task[Any]) -> None:
        self._tasks[id(task)] = task
        task.add_done_callback(lambda done: self._tasks.pop(id(done), None))

    async def bury(self) -> None:
        """Drop everything that it had in memory."""
        self.die()
        while self._tasks:
            left = list(self._tasks.values())
            for task in left:
                task.cancel()
            await asyncio.wait(left)
            for task in left:
                if not task.cancelled():
                    # Seen: what a dying process says is nobody's business.
                    task.exception()


def own_tasks() -> None:
    """Have the running loop tell each task's process of it; to be called once per loop."""
    asyncio.get_running_loop().set_task_factory(_make_task)  # type: ignore[arg-type]


def _make_task(
    loop: asyncio.AbstractEventLoop,
    main: Coroutine[Any, Any, Any],
    context: Context | None = None,
) -> asyncio.Task[Any]:
    process = _CURRENT.get() if context is None else context.get(_CURRENT)
    if process is None:
        return asyncio.Task(main, loop=loop, context=context)
    task = asyncio.Task(process.driven(main), loop=loop, context=context)
    process.adopt(task)
    return task


# --- its memory on disk -----------------------------------------------------------------------------

Told = Callable[[Record], None]


class WatchedJournal(JournalFile):
    """The journal, with a seam on either side of each append, and one amidst its bytes."""

    def __init__(self, folder: Path, wall: Callable[[], float], process: Process, told: Told):
        super().__init__(folder, wall)
        self._process = process
        self._told = told

    def append(self, records: tuple[Record, ...]) -> None:  # type: ignore[override]
        what = ", ".join(type(record.entry).__name__ for record in records)
        self._process.seam(f"not yet in the journal: {what}")
        before = self._path.stat().st_size
        torn = self._process.passes(f"half in the journal: {what}")
        super().append(records)
        if torn:
            tear(self._path, before)
            raise Killed(what)
        for record in records:
            self._told(record)
        self._process.seam(f"in the journal: {what}")


class WatchedLedger(LedgerFile):
    """The ledger, likewise."""

    def __init__(self, path: Path, process: Process) -> None:
        self._where = path
        self._process = process
        super().__init__(path)

    def append(self, facts: list[Fact] | tuple[Fact, ...]) -> None:  # type: ignore[override]
        what = ", ".join(fact.key for fact in facts)
        self._process.seam(f"not yet in the ledger: {what}")
        before = self._where.stat().st_size
        torn = self._process.passes(f"half in the ledger: {what}")
        super().append(facts)
        if torn:
            tear(self._where, before)
            raise Killed(what)
        self._process.seam(f"in the ledger: {what}")


def tear(path: Path, before: int) -> None:
    """Leave half of what was appended."""
    content = path.read_bytes()
    path.write_bytes(content[: (before + len(content)) // 2])


class WatchedMemory(Memory):
    """A state directory whose every durable write is a seam."""

    def __init__(
        self, state_dir: Path, wall: Callable[[], float], process: Process, told: Told
    ) -> None:
        self.wall = wall
        self.boot = None
        self.journal = WatchedJournal(state_dir / "journal", wall, process, told)
        self.ledger = WatchedLedger(state_dir / "ledger.jsonl", process)
        self.known_pool = KnownPoolFile(state_dir / "pool.jsonl")
