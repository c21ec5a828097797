"""Waiting for a revision to be read and for objects to be as desired, with progress on stderr."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from cli import asking
from cli.client import Control, NoDaemon
from cli.envelope import failure
from cli.options import Invocation
from cli.render.progress import EVERY_S, Marks, progress
from cli.render.rows import flight_lines
from cli.render.status import HELD, rejected_lines
from cli.render.text import Line, ansi, line, plain
from reconciler.observed import STALE_AFTER_S
from reconciler.revisions import HeadState
from reconciler.status import Condition, Status, Verdict

# A restarted daemon is back within seconds (systemd and the demo both see to that).
_ABSENT_AFTER_S = 15.0
_SHORTEST_S, _LONGEST_S = 0.2, 2.0
# A status of a large cluster takes a while to make: asking must not become its main load.
_SHARE_OF_COST = 10.0

_NEVER = float("-inf")

Met = Callable[[Status], bool]
Aim = Callable[[Status], str]
T = TypeVar("T")


@dataclass(slots=True)
class Watcher:
    """Asks the daemon again and again, until a deadline, through its restarts.

    Deadlines are monotonic seconds; None: there is none.
    """

    run: Invocation
    control: Control
    deadline_s: float | None
    marks: Marks = field(default_factory=dict)
    drawn: int = 0
    pause_s: float = _SHORTEST_S
    absent_since_s: float | None = None
    spoke_s: float = _NEVER
    began_s: float = field(default_factory=time.monotonic)
    asked_s: float = _NEVER
    """When the newest status was asked for."""

    def status(self) -> Status | None:
        """The newest status; None while the daemon is away for a moment. Raises Failure."""
        before_s = self.asked_s = time.monotonic()
        status = self.ask(lambda control: control.status())
        if status is None:
            return None
        cost_s = time.monotonic() - before_s
        self.pause_s = min(_LONGEST_S, max(_SHORTEST_S, cost_s * _SHARE_OF_COST))
        return asking.of_cluster(self.run, status)

    def since_begun(self, age_s: float | None) -> bool:
        """Whether what was that old in the newest status was so after this wait began: what somebody did
        just before shows in nothing older."""
        return age_s is not None and self.asked_s - age_s > self.began_s

    def ask(self, request: Callable[[Control], T]) -> T | None:
        """The answer to a request; None while the daemon is away for a moment. Raises Failure."""
        now_s = time.monotonic()
        try:
            answer = request(self.control)
        except NoDaemon as absent:
            if self.absent_since_s is None:
                self.absent_since_s = now_s
                self.drawn = 0  # What is said now stands below it.
                self.run.note(f"{absent}; trying again")
            if now_s - self.absent_since_s > _ABSENT_AFTER_S:
                raise asking.no_daemon(absent) from None
            return None
        self.absent_since_s = None
        return answer

    def until(self, met: Met, aim: Aim | None = None) -> Status | None:
        """The first status that meets `met`; None where the deadline came first.

        `aim` tells in a few words what a status still lacks: said at the start, and again whenever
        nothing else was said for a while. Without it this wait is none that people know of.
        """
        self.spoke_s = _NEVER
        while True:
            status = self.status()
            if status is not None:
                over = met(status)
                self._show(status, None if over else aim)
                if over:
                    return status
            left = None if self.deadline_s is None else self.deadline_s - time.monotonic()
            if left is not None and left <= 0:
                if status is not None and aim is not None:
                    self.run.note(f"still waiting: {aim(status)}")
                return None
            time.sleep(self.pause_s if left is None else min(self.pause_s, max(left, 0.01)))

    def _show(self, status: Status, aim: Aim | None) -> None:
        now_s = time.monotonic()
        rows, self.marks = progress(self.marks, status, now_s)
        if self.run.quiet:
            return
        told = [line(f"waiting: {aim(status)}")] if aim is not None else []
        if self.run.colours(sys.stderr) and sys.stderr.isatty():
            self._redraw([*told, *flight_lines(status.in_flight)])
            return
        if not rows and now_s - self.spoke_s >= EVERY_S:
            rows = told
        for row in rows:
            self.run.note(*row)
            self.spoke_s = now_s

    def _redraw(self, rows: list[Line]) -> None:
        """On a terminal what is waited for and the calls in flight stay in place."""
        up = f"\x1b[{self.drawn}A\x1b[J" if self.drawn else ""
        sys.stderr.write(up + ansi(rows))
        sys.stderr.flush()
        width = shutil.get_terminal_size().columns
        lengths = [len(plain([row])) - 1 for row in rows]
        self.drawn = sum(max(1, -(-length // width)) for length in lengths)


def watcher(run: Invocation) -> Watcher:
    """`--timeout` bounds the whole wait; without it there is no end."""
    deadline_s = None if run.timeout_s is None else time.monotonic() + run.timeout_s
    settled = Control(asking.control(run).path)
    return Watcher(run, settled, deadline_s)


def newest_head(watch: Watcher) -> int | None:
    """Have the daemon look at Subversion and tell its head; None where Subversion does not answer.

    The daemon numbers its looks and says which one will have seen all that is committed by now; one
    that was under way may have missed it. A daemon that was restarted meanwhile looked again anyway.
    """
    before = watch.until(_anything)
    reply = watch.ask(lambda control: control.post("look")) if before is not None else None
    if before is None or reply is None:
        raise failure("timeout", "Timeout", "the daemon has not answered in time")
    number = reply.look

    def looked(status: Status) -> bool:
        return status.source.looks >= (number if status.term == before.term else 1)

    status = watch.until(looked)
    if status is None:
        raise failure("timeout", "Timeout", "Subversion has not answered in time")
    if status.source.reachable is False:
        why = status.source.message or status.source.reason
        watch.run.note(f"Subversion does not answer, so its head is not known: {why}")
        return None
    return status.revision.head


def _anything(status: Status) -> bool:
    return bool(status.version)


def reached(status: Status, need: int | None) -> bool:
    """True where revision `need` (or a newer one) is in force, planned, and the pool was just seen."""
    target, seen = status.revision.target, status.observation
    if target is None or target < (need or 0) or status.planned != target:
        return False
    return seen is not None and seen.complete and seen.age_s <= STALE_AFTER_S


def calm(status: Status) -> bool:
    """Nothing of what `status` shows differs, is blocked or in flight."""
    return status.plan.empty and not status.in_flight


def proven(watch: Watcher, status: Status) -> bool:
    """The daemon has proven that all of the target is as desired, from what it saw since we wait."""
    revision = status.revision
    return watch.since_begun(status.converged_age_s) and revision.converged == revision.target


def seen(watch: Watcher, status: Status) -> bool:
    """Since we wait the pool was seen, and every node heard that is believed alive: one that has just
    died is believed so for a while, and all of its VMs to run."""
    seen = status.observation
    return (
        seen is not None and watch.since_begun(seen.age_s) and watch.since_begun(seen.heard_age_s)
    )


def all_in(status: Status, condition: Condition) -> bool:
    """Every selected object shows this condition."""
    rows = [*(node.condition for node in status.nodes), *(vm.condition for vm in status.vms)]
    return all(row is condition for row in rows)


def refuse_held(narrow: Status, status: Status) -> None:
    """Only a human brings forward what died, perhaps, with a node that is held. `narrow`: what of
    `status` is waited for."""
    if narrow.verdict is not Verdict.HELD:
        return
    held = next(node for node in status.nodes if node.state == HELD)
    message = f"node/{held.name} is held: {held.message}"
    raise failure(str(Verdict.HELD), "Held", message, held.remedy)


def refuse_rejected(run: Invocation, status: Status, need: int | None) -> None:
    """A head that is refused or not believed never becomes the target: no wait would end."""
    revision = status.revision
    awaited = need is None or revision.target is None or revision.target < need
    if not awaited:
        return
    if revision.state == HeadState.REJECTED:
        for row in rejected_lines(revision):
            run.note(*row)
        message = f"r{revision.head} by {revision.author or 'nobody named'} is rejected"
        raise failure(str(Verdict.INVALID), "Rejected", message, "mend the tree and commit again")
    if revision.state == HeadState.DOUBTED:
        raise failure(str(Verdict.UNKNOWN), "Doubted", revision.reason or status.source.message)
