"""Several nodes with one engine, whichever it is: what the same tests are put to."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from random import Random
from typing import Protocol

from membership.edge.etcd import EtcdEngine
from membership.events import Effect, HandOver, Heard, Instant, Machine, Memory, Push, Send, Tick
from membership.events import Event as HeartEvent
from membership.heart import Heart
from membership.roster import Candidacy, Member, Roster, Timing, Voters
from membership.view import Standing, single
from tests.membership.etcd.real_etcd import EtcdCluster

KEY = b"k" * 40


class Watch:
    """Every standing that any node was told, when it was, and what must hold of all of them."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._told: dict[str, list[tuple[float, Standing]]] = {}

    def tell(self, name: str, standing: Standing, at_s: float) -> None:
        self._told.setdefault(name, []).append((at_s, standing))

    def last(self, name: str) -> Standing:
        told = self._told.get(name)
        return told[-1][1] if told else Standing()

    def acting(self) -> list[tuple[float, float, str, int]]:
        """(from, until, who, term) of all time in which somebody might act, in order."""
        spans = []
        for name, told in self._told.items():
            ends = [at_s for at_s, _ in told[1:]] + [float("inf")]
            for (at_s, standing), end_s in zip(told, ends, strict=True):
                begin_s = max(at_s, standing.acts_from_s)
                until_s = min(end_s, standing.lead_until_s)
                if standing.leader == name and begin_s < until_s:
                    spans.append((begin_s, until_s, name, standing.term))
        return sorted(spans)

    def broken(self) -> list[str]:
        spans = self.acting()
        return [
            *(
                f"{name} acts in term {term} before {before[2]} ends {before[3]}: {begin_s}"
                for before, (begin_s, _, name, term) in pairwise(spans)
                if name != before[2] and (begin_s < before[1] or term <= before[3])
            ),
            *(
                f"{name} was told at {at_s} that it leads until {standing.lead_until_s}"
                for name, told in self._told.items()
                for at_s, standing in told
                if at_s + self._timing.lease_s < standing.lead_until_s < float("inf")
            ),
        ]


class EngineSet(Protocol):
    """Nodes by name. A crashed one is not heard of any more; what it was told last still holds."""

    names: tuple[str, ...]
    timing: Timing
    watch: Watch

    def now_s(self) -> float: ...
    def stand(self, name: str, wants: bool, floor: int) -> None: ...
    def hand_over(self, name: str, to: str | None) -> None: ...
    def crash(self, name: str) -> None: ...
    async def live(self, seconds: float) -> None: ...
    async def close(self) -> None: ...


class EtcdSet:
    """Real engines at a real etcd, each of which begins with another of its members."""

    names: tuple[str, ...] = ("a", "b", "c")
    timing = Timing(interval_s=0.4, suspect_after_s=2.0)

    def __init__(self, cluster: EtcdCluster, cluster_id: str) -> None:
        self.cluster_id = cluster_id
        self.watch = Watch(self.timing)
        self.troubles: list[str] = []
        self.engines: dict[str, EtcdEngine] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        for first, name in enumerate(self.names):
            engine = EtcdEngine(
                cluster.access(first=first),
                cluster_id,
                name,
                self.timing,
                partial(self._granted, name),
                self.now_s,
                self.troubles.append,
            )
            self.engines[name] = engine
            self._tasks[name] = asyncio.get_running_loop().create_task(engine.run())

    def _granted(self, name: str, standing: Standing) -> None:
        self.watch.tell(name, standing, self.now_s())

    def now_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def stand(self, name: str, wants: bool, floor: int) -> None:
        self.engines[name].stand(wants, floor)

    def hand_over(self, name: str, to: str | None) -> None:
        self.engines[name].hand_over(to)

    def crash(self, name: str) -> None:
        self._tasks[name].cancel()

    async def live(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Raises what ended an engine, which nothing should."""
        for task in self._tasks.values():
            task.cancel()
        ended = await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        assert [error for error in ended if not isinstance(error, asyncio.CancelledError)] == []


class BuiltinSet:
    """Hearts that hear each other a millisecond later, in virtual time."""

    names: tuple[str, ...] = ("a", "b", "c")
    timing = Timing(interval_s=0.4, suspect_after_s=2.0)

    def __init__(self) -> None:
        self.watch = Watch(self.timing)
        self._now_s = 1000.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._wishes: dict[str, Candidacy] = {}
        self._hearts = {name: self._heart(name) for name in self.names}
        for name, heart in list(self._hearts.items()):
            self._perform(name, heart.start(self._instant()))
            self._every_interval(name)

    def _heart(self, name: str) -> Heart:
        members = tuple(Member(name=each, addresses=(("127.0.0.1", 1),)) for each in self.names)
        voters = Voters(epoch=1, revision=1, names=self.names)
        roster = Roster(cluster_id="c", me=name, members=members, voters=voters, timing=self.timing)
        return Heart(
            roster=roster,
            keys=(KEY,),
            memory=Memory(generation=1),
            machine=Machine(boot_id=name),
            nonce=name.encode() * 8,
            random=Random(name),
        )

    def _instant(self) -> Instant:
        return Instant(boot_s=self._now_s, mono_s=self._now_s)

    def _at(self, when_s: float, act: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (when_s, self._count, act))

    def _every_interval(self, name: str) -> None:
        if name in self._wishes:
            self._handle(name, self._wishes[name])
        self._at(self._now_s + self.timing.interval_s, lambda: self._every_interval(name))

    def _handle(self, name: str, event: HeartEvent) -> None:
        heart = self._hearts.get(name)
        if heart is not None:
            self._perform(name, heart.handle(event, self._instant()))

    def _perform(self, name: str, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(peer=peer, channel=channel, data=data):
                    heard = Heard(channel=channel, data=data)
                    self._at(self._now_s + 0.001, partial(self._handle, peer, heard))
                case Push(view=view):
                    standing = Standing(
                        term=view.term,
                        leader=view.leader,
                        acts_from_s=view.acts_from_s,
                        lead_until_s=view.lead_until_s,
                    )
                    self.watch.tell(name, standing, self._now_s)
        due_s = self._hearts[name].deadline()
        self._at(due_s, lambda: self._tick(name, due_s))

    def _tick(self, name: str, due_s: float) -> None:
        if name in self._hearts and self._hearts[name].deadline() == due_s:
            self._handle(name, Tick())

    def now_s(self) -> float:
        return self._now_s

    def stand(self, name: str, wants: bool, floor: int) -> None:
        self._wishes[name] = Candidacy(floor=floor, healthy=wants)
        self._handle(name, self._wishes[name])

    def hand_over(self, name: str, to: str | None) -> None:
        self._handle(name, HandOver(to=to or ""))

    def crash(self, name: str) -> None:
        del self._hearts[name]

    async def live(self, seconds: float) -> None:
        until_s = self._now_s + seconds
        while self._queue and self._queue[0][0] <= until_s:
            self._now_s, _, act = heapq.heappop(self._queue)
            act()
        self._now_s = until_s

    async def close(self) -> None:
        self._queue.clear()


class SingleSet:
    """One node that has no peers: it leads in the term that it begins with, for as long as it runs."""

    names: tuple[str, ...] = ("a",)
    timing = Timing()

    def __init__(self) -> None:
        self.watch = Watch(self.timing)

    def now_s(self) -> float:
        return 1000.0

    def stand(self, name: str, wants: bool, floor: int) -> None:
        assert wants
        view = single(name, floor + 1)
        standing = Standing(
            term=view.term,
            leader=view.leader,
            acts_from_s=view.acts_from_s,
            lead_until_s=view.lead_until_s,
        )
        self.watch.tell(name, standing, self.now_s())

    def hand_over(self, name: str, to: str | None) -> None:
        assert (name, to) == ("a", None)

    def crash(self, name: str) -> None:
        assert name == "a"

    async def live(self, seconds: float) -> None:
        assert seconds > 0

    async def close(self) -> None:
        pass
