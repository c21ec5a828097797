"""Contenders for one key, on a store that is linearizable and otherwise as bad as can be, in virtual time.

Requests and answers are lost, or carried out long after anybody waits for them. Leases end at any
moment, whatever was promised; renewals are confirmed that had no effect. Nodes pause, restart, and
count seconds one per cent too fast or too slow. Now and then the store goes back to an older state.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from membership.lease import (
    Answer,
    Base,
    Contender,
    Done,
    Heir,
    Holder,
    LetGo,
    Look,
    Open,
    Opened,
    Renew,
    Renewed,
    Request,
    Revoke,
    Seen,
    Seize,
)
from membership.roster import DRIFT, EFFECT_S, Timing
from membership.view import Standing

TIMING = Timing(interval_s=1.0, suspect_after_s=4.0)
PATIENCE_S = 1.0


@dataclass
class Store:
    """The keys of one cluster, as etcd has them."""

    revision: int = 1
    leases: dict[int, float] = field(default_factory=dict)
    made: int = 0
    holder: Holder | None = None
    base: Base = field(default_factory=Base)
    base_changed: int = 0
    heir: Heir | None = None
    heir_lease: int = 0
    heir_changed: int = 0

    def carry_out(self, request: Request, writer: tuple[str, str], now_s: float) -> Answer:
        self.expire(now_s)
        match request:
            case Look():
                return self.seen()
            case Open():
                self.made += 1
                self.leases[self.made] = now_s + request.ttl_s
                return Opened(lease=self.made)
            case Renew():
                if request.lease in self.leases:
                    self.leases[request.lease] = now_s + TIMING.lease_s
                return Renewed(lives=request.lease in self.leases)
            case Revoke():
                self.leases.pop(request.lease, None)
                self.expire(now_s)
            case Seize():
                self._seize(request, writer)
            case LetGo():
                self._let_go(request)
        return Done()

    def seen(self) -> Seen:
        return Seen(
            revision=self.revision,
            base=self.base,
            base_changed=self.base_changed,
            holder=self.holder,
            heir=self.heir,
            heir_changed=self.heir_changed,
        )

    def expire(self, now_s: float) -> None:
        self.leases = {lease: end for lease, end in self.leases.items() if end > now_s}
        if self.holder is not None and self.holder.lease not in self.leases:
            self.revision, self.holder = self.revision + 1, None
        if self.heir is not None and self.heir_lease not in self.leases:
            self.revision, self.heir, self.heir_changed = self.revision + 1, None, 0

    def _seize(self, request: Seize, writer: tuple[str, str]) -> None:
        now = (self.holder, self.base_changed, self.heir_changed)
        expected = (None, request.seen.base_changed, request.seen.heir_changed)
        if now != expected or request.lease not in self.leases:
            return
        self.revision += 1
        node, nonce = writer
        self.holder = Holder(node=node, nonce=nonce, lease=request.lease, revision=self.revision)
        if request.base != self.base:
            self.base, self.base_changed = request.base, self.revision
        self.heir, self.heir_changed = None, 0

    def _let_go(self, request: LetGo) -> None:
        if self.holder is None or self.holder.revision != request.revision:
            return
        self.revision, self.holder = self.revision + 1, None
        if request.heir is not None:
            self.heir, self.heir_lease = request.heir, request.lease
            self.heir_changed = self.revision


class Node:
    """One contender on its own clock, and the standing that was last told to those who act on it."""

    def __init__(self, name: str, kind: type[Contender], random: Random) -> None:
        self.name, self._kind, self._random = name, kind, random
        self.rate = 1.0 + random.uniform(-1.0, 1.0) * (DRIFT - 1.0) / 2.0
        self.offset_s = random.uniform(0.0, 1000.0)
        self.paused_until_s = 0.0
        self.runs = 0
        self.restart()

    def restart(self) -> None:
        self.runs += 1
        self.nonce = f"{self.name}{self.runs}"
        self.contender = self._kind(me=self.name, nonce=self.nonce, timing=TIMING)
        self.told = Standing()
        self.busy = False

    def clock(self, true_s: float) -> float:
        return self.offset_s + true_s * self.rate

    def acts(self, true_s: float) -> bool:
        told, now_s = self.told, self.clock(true_s)
        return told.leader == self.name and told.acts_from_s <= now_s < told.lead_until_s


class Contest:
    """`broken` says what must never be, in the order in which it was."""

    def __init__(self, seed: int, names: str = "abc", kind: type[Contender] = Contender) -> None:
        self.random = Random(seed)
        self.store = Store()
        self.nodes = [Node(name, kind, self.random) for name in names]
        self.now_s = 0.0
        self.trouble = True
        self.broken: list[str] = []
        self.acted: dict[str, tuple[float, int, int]] = {}
        self.highest = 0
        self._backup: Store | None = None
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        for node in self.nodes:
            self.at(0.0, lambda node=node: self._step(node))  # type: ignore[misc]

    def at(self, after_s: float, act: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (self.now_s + after_s, self._count, act))

    def run(self, until_s: float) -> None:
        while self._queue and self._queue[0][0] <= until_s:
            self.now_s, _, act = heapq.heappop(self._queue)
            act()
            self.check()
        self.now_s = until_s

    def check(self) -> None:
        """Two that act, or one within the reach of what another began; and terms that do not grow."""
        for node in self.nodes:
            if not node.acts(self.now_s):
                continue
            term = node.told.term
            if not self._known(node):
                if term <= self.highest:
                    self.broken.append(f"{self.now_s:.2f}: {node.name} acts in {term} again")
                self.highest = max(self.highest, term)
            self.acted[node.name] = (self.now_s, term, node.runs)
            for other, (last_s, *_) in self.acted.items():
                if other != node.name and self.now_s - last_s < EFFECT_S * 0.98:
                    self.broken.append(f"{self.now_s:.2f}: {node.name} acts, {other} did {last_s}")

    def _known(self, node: Node) -> bool:
        """Whether this run of it has acted in its term before."""
        return self.acted.get(node.name, (0.0, 0, 0))[1:] == (node.told.term, node.runs)

    # --- nodes ----------------------------------------------------------------------------------

    def stand(self, node: Node, wants: bool) -> None:
        node.contender.stand(wants, self.highest, node.clock(self.now_s))

    def _step(self, node: Node) -> None:
        """A node's loop: it tells its standing, asks what is to be asked, and waits."""
        if self.now_s < node.paused_until_s:
            self.at(node.paused_until_s - self.now_s, lambda: self._step(node))
            return
        now_s = node.clock(self.now_s)
        request = None if node.busy else node.contender.next(now_s)
        node.told = node.contender.standing(now_s)
        if node.told.leader == node.name and not self._known(node):
            # The daemon beside it claims its term in the pool, and withdraws where that is no news.
            self.stand(node, node.told.term > self.highest)
            self.stand(node, True)
        if request is not None:
            node.busy = True
            self._send(node, request)
        self.at(0.1, lambda: self._step(node))

    def _send(self, node: Node, request: Request) -> None:
        sent_s, run, roll = node.clock(self.now_s), node.runs, self.random.random()
        fate = roll if self.trouble else 1.0
        there_s, back_s = self.random.uniform(0.0, 0.2), self.random.uniform(0.0, 0.2)
        writer = (node.name, node.nonce)
        if fate < 0.1:
            there_s = self.random.uniform(1.0, 12.0)
        if fate >= 0.05:
            self.at(there_s, lambda: self._arrive(node, request, writer, sent_s, back_s, run, fate))
        if fate < 0.2:
            self.at(PATIENCE_S, lambda: self._settle(node, run, request, None, sent_s))

    def _arrive(
        self,
        node: Node,
        request: Request,
        writer: tuple[str, str],
        sent_s: float,
        back_s: float,
        run: int,
        fate: float,
    ) -> None:
        if isinstance(request, Renew) and self.trouble and self.random.random() < 0.2:
            answer: Answer = Renewed(lives=True)
        else:
            answer = self.store.carry_out(request, writer, self.now_s)
        if fate >= 0.2:
            self.at(back_s, lambda: self._settle(node, run, request, answer, sent_s))

    def _settle(
        self, node: Node, run: int, request: Request, answer: Answer | None, sent_s: float
    ) -> None:
        if run != node.runs:
            return
        if self.now_s < node.paused_until_s:
            left_s = node.paused_until_s - self.now_s
            self.at(left_s, lambda: self._settle(node, run, request, answer, sent_s))
            return
        node.busy = False
        if answer is None:
            node.contender.failed(node.clock(self.now_s))
        else:
            node.contender.answered(request, answer, sent_s, node.clock(self.now_s))
        node.told = node.contender.standing(node.clock(self.now_s))

    # --- trouble --------------------------------------------------------------------------------

    def vex(self) -> None:
        """Something happens to somebody."""
        node = self.random.choice(self.nodes)
        match self.random.randrange(9):
            case 0 | 1:
                node.paused_until_s = self.now_s + self.random.uniform(0.5, 20.0)
            case 2:
                node.restart()
                self.stand(node, True)
            case 3 | 4:
                self.stand(node, self.random.random() < 0.8)
            case 5:
                to = self.random.choice([*(other.name for other in self.nodes), None])
                node.contender.hand_over(to, node.clock(self.now_s))
            case 6 | 7:
                self.store.leases.clear()
                self.store.expire(self.now_s)
            case 8:
                self._restore()
        for other in self.nodes:
            if self.random.random() < 0.3:
                self.stand(other, True)

    def _restore(self) -> None:
        """The store goes back to its last backup, and a new one is made."""
        if self._backup is not None:
            self.store = self._backup
            self._backup = None
        else:
            old = self.store
            self._backup = Store(**{name: getattr(old, name) for name in old.__dataclass_fields__})
            self._backup.leases = dict(old.leases)
