"""Every moment that can come of the first one, each once, the nearest first; and what must never be."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from tests.explore.happenings import Happenings
from tests.explore.minds import Minds
from tests.explore.states import State, canonical, first

ALL = frozenset({"power", "cut", "start", "reset", "dud", "lie", "rollback"})


class Wrong(NamedTuple):
    """What must never be: the invariant of safety.md, and the way that led there."""

    rule: str
    way: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """`whole`: nothing was left out. `reported` are wrongs that rest on a device that lied."""

    states: int
    depth: int
    whole: bool
    wrong: Wrong | None
    reported: int

    def __str__(self) -> str:
        end = "all" if self.whole else f"to depth {self.depth}"
        return f"{self.states} states, {end}, {0 if self.wrong is None else 1} violations"


class Search:
    """`kinds` as for `Happenings`."""

    def __init__(self, count: int, faults: int, kinds: frozenset[str]) -> None:
        self._minds = Minds(count)
        self._happenings = Happenings(self._minds, kinds)
        self._first = canonical(first(count, faults))
        self._from: dict[State, tuple[State, str] | None] = {self._first: None}

    def run(self, most: int) -> Found:
        """Look at so many moments at most. The first wrong one ends it."""
        seen, depth, reported = self._from, 0, 0
        met: set[State] = set()
        level = deque([self._first])
        while level and len(seen) < most:
            depth += 1
            after: deque[State] = deque()
            for state in level:
                for what, found in self._happenings.after(state):
                    if found in met:
                        continue
                    met.add(found)
                    rule = self._broken(state, what, found)
                    if rule and not found.lied:
                        return self._found(depth, Wrong(rule, (*self._way(state), what)), reported)
                    if rule:
                        reported += 1
                        continue
                    one = canonical(found)
                    if one not in seen:
                        seen[one] = (state, what)
                        after.append(one)
                if len(seen) >= most:
                    break
            level = after
        return Found(len(seen), depth, not level, None, reported)

    def _found(self, depth: int, wrong: Wrong, reported: int) -> Found:
        return Found(len(self._from), depth, whole=False, wrong=wrong, reported=reported)

    def _way(self, state: State) -> tuple[str, ...]:
        """What happened until this moment. Names are those of each moment: hosts may change places."""
        way: list[str] = []
        step = self._from[state]
        while step is not None:
            way.append(step[1])
            step = self._from[step[0]]
        return tuple(reversed(way))

    def _broken(self, before: State, what: str, state: State) -> str:
        """The invariant that does not hold in this moment; "" where all do."""
        live = [number for number, host in enumerate(state.hosts) if host.domain]
        if len(live) > 1:
            return "S1a: two domains of one VM"
        if what in ("start begun", "reset done") and live:
            return (
                "S2: a start while it lives"
                if what == "start begun"
                else "S11: a reset while it lives"
            )
        if what == "migrate begun" and live and live != [before.record.on]:
            return "S2: a migration while it lives elsewhere"
        if state.leader is not None and self._certified_alive(state, live):
            return "S3: a certificate covers what runs"
        return ""

    def _certified_alive(self, state: State, live: list[int]) -> bool:
        """Whether who leads takes for dead, by a proof, what cannot be heard and lives."""
        assert state.leader is not None
        book = state.books[state.leader]
        return any(
            self._minds.trusts(book, number) and not state.hosts[number].heard for number in live
        )
