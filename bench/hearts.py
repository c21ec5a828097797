"""Hearts in virtual time: how soon a death is believed, and how often a living peer is suspected."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from random import Random

from membership.events import Effect, Heard, Instant, Machine, Memory, Push, Send, Tick
from membership.heart import Heart
from membership.roster import Member, Roster, Timing, Voters
from membership.view import PeerState, View

NAMES = ("a", "b", "c")
QUIET_S = 1800.0
LIMITS = (3.0, 4.0, 5.0, 8.0)
LOSSES = (0.0, 0.05, 0.2, 0.5)
DEATHS = 5
DELAY_S = (0.0005, 0.02)
PAUSE_S = 2.0
"""Every peer's daemon stands still for so long now and then."""


@dataclass(frozen=True)
class Curve:
    """`limit`: suspectAfter in intervals; `found_s`: mean from a death to its suspicion."""

    limit: float
    loss: float
    found_s: float
    false_per_hour: float


def curve() -> list[Curve]:
    """One row for each limit and loss."""
    return [_row(limit, loss) for limit in LIMITS for loss in LOSSES]


def _row(limit: float, loss: float) -> Curve:
    timing = Timing(interval_s=1.0, suspect_after_s=limit, dead_after_s=2 * limit)
    false = Ring(timing, loss, seed=1).quiet(QUIET_S)
    found = [Ring(timing, loss, seed=seed).death() for seed in range(2, 2 + DEATHS)]
    pairs = len(NAMES) * (len(NAMES) - 1)
    hours = QUIET_S / 3600.0
    return Curve(limit, loss, sum(found) / len(found), false / pairs / hours)


class Ring:
    """Three hearts at one address each, on a network that loses and delays."""

    def __init__(self, timing: Timing, loss: float, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 - a network's moods, not a secret
        self._loss = loss
        self._s = 1000.0
        self._number = count()
        self._on_the_way: list[tuple[float, int, str, bytes]] = []
        self._views: dict[str, View] = {}
        self._still_s = dict.fromkeys(NAMES, 0.0)
        members = tuple(Member(name=name, addresses=(("", 0),)) for name in NAMES)
        self._hearts = {name: self._heart(name, members, timing) for name in NAMES}
        for name, heart in self._hearts.items():
            self._carry_out(name, heart.start(self._now))

    def _heart(self, name: str, members: tuple[Member, ...], timing: Timing) -> Heart:
        voters = Voters(epoch=1, names=NAMES)
        return Heart(
            roster=Roster(cluster_id="c", me=name, members=members, voters=voters, timing=timing),
            keys=(b"k" * 32,),
            memory=Memory(generation=1),
            machine=Machine(boot_id=name),
            nonce=self._random.randbytes(8),
            random=Random(self._random.random()),  # noqa: S311
        )

    def quiet(self, seconds: float) -> int:
        """How often a living peer is suspected in that time, pauses included."""
        self._run(20.0)
        false, before = 0, self._suspected()
        until_s = self._s + seconds
        next_pause_s = self._s
        while self._s < until_s:
            if self._s >= next_pause_s:
                next_pause_s = self._s + self._random.uniform(30.0, 90.0)
                self._still_s[self._random.choice(NAMES)] = self._s + PAUSE_S
            self._run(0.25)
            now = self._suspected()
            false += len(now - before)
            before = now
        return false

    def death(self) -> float:
        """Seconds from the death of one until both others suspect it."""
        self._run(20.0 + self._random.random())
        began_s = self._s
        del self._hearts["c"]
        while {("a", "c"), ("b", "c")} - self._suspected():
            self._run(0.05)
        return self._s - began_s

    @property
    def _now(self) -> Instant:
        return Instant(boot_s=self._s, mono_s=self._s)

    def _suspected(self) -> set[tuple[str, str]]:
        bad = (PeerState.SUSPECT, PeerState.DEAD)
        return {
            (me, name)
            for me, view in self._views.items()
            for name, peer in view.peers.items()
            if me in self._hearts and peer.state in bad
        }

    def _run(self, seconds: float) -> None:
        until_s = self._s + seconds
        for at_s in self._moments(until_s):
            self._s = max(self._s, at_s)
            while self._on_the_way and self._on_the_way[0][0] <= self._s:
                _, _, to, data = heapq.heappop(self._on_the_way)
                if to in self._hearts and self._still_s[to] <= self._s:
                    self._carry_out(
                        to, self._hearts[to].handle(Heard(channel=0, data=data), self._now)
                    )
            for name, heart in self._hearts.items():
                if heart.deadline() <= self._s and self._still_s[name] <= self._s:
                    self._carry_out(name, heart.handle(Tick(), self._now))
        self._s = until_s

    def _moments(self, until_s: float) -> Iterator[float]:
        while True:
            waits = [self._on_the_way[0][0]] if self._on_the_way else []
            waits += [
                max(heart.deadline(), self._still_s[name]) for name, heart in self._hearts.items()
            ]
            at_s = min(waits, default=until_s)
            if at_s >= until_s:
                return
            yield at_s

    def _carry_out(self, name: str, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Push):
                self._views[name] = effect.view
            elif isinstance(effect, Send) and self._random.random() >= self._loss:
                at_s = self._s + self._random.uniform(*DELAY_S)
                item = (at_s, next(self._number), effect.peer, effect.data)
                heapq.heappush(self._on_the_way, item)
