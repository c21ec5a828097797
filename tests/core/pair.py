"""Two reconcilers of one cluster: the test is the engine, the network, the pool and the people."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from membership.clock import Now
from membership.ledger import Fact, Ledger
from membership.roster import Voters
from membership.view import Peer, PeerState, View, unknown
from reconciler.journal import replay
from reconciler.messages import (
    Announce,
    Announced,
    Ask,
    ClaimTerm,
    Effect,
    Event,
    FactsMerged,
    Gather,
    Gathered,
    Look,
    OpenSession,
    PageTold,
    Perform,
    PoolObserved,
    Probe,
    Probed,
    Reply,
    RevokeSession,
    SessionOpened,
    SessionRevoked,
    Share,
    SourceSeen,
    Stage,
    Tell,
    ViewPushed,
    Write,
)
from reconciler.mustering import Peering
from reconciler.observed import Observed
from reconciler.reconciler import Reconciler
from reconciler.records import AnyEntry, Record
from schema.model import Desired
from tests.core.members import Claims
from tests.core.stage import head, loaded
from tests.plan.expansion import identity

NAMES = ("xen1", "xen2")
VOTERS = Voters(epoch=1, revision=1, names=NAMES, disk=True)
START_S = 1_000_000.0
WAIT_S = 8.0
LEASE_S = 1000.0


@dataclass
class Node:
    """One core, with the journal and the ledger that it made durable."""

    name: str
    records: list[Record] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    done: list[Effect] = field(default_factory=list)

    def wake(self, now: Now) -> list[Effect]:
        self.core = Reconciler(
            me=self.name,
            version="1.0.0",
            cluster_id=identity("cluster", "test"),
            journal=replay(self.records),
            ledger=self.ledger,
            view=unknown(self.name, "builtin", self.ledger.term, "no heartbeats yet"),
            kept=None,
            random=random.Random(1),
            peering=Peering(engine="builtin", mark=self.name),
        )
        return self.core.start(now)

    @property
    def entries(self) -> list[AnyEntry]:
        return [record.entry for record in self.records]

    def calls(self) -> list[str]:
        return [type(effect.call).__name__ for effect in self.done if isinstance(effect, Perform)]


class Pair:
    """Facts reach the other node at once, unless it is in `deaf`. The pool gives what is claimed."""

    def __init__(self) -> None:
        self.now_s = START_S
        self.deaf: set[str] = set()
        self.living: Sequence[str] = NAMES
        self.said = Claims()
        self.nodes = {name: Node(name) for name in NAMES}
        for node in self.nodes.values():
            self._carry_out(node, node.wake(self.now))

    @property
    def now(self) -> Now:
        return Now(mono_s=self.now_s, epoch_s=self.now_s)

    def tell(self, name: str, event: Event, *, after_s: float = 2.0) -> None:
        self.now_s += after_s
        self._handle(name, event)

    def ask(self, name: str, ask: Ask) -> Reply:
        self.now_s += 2.0
        node = self.nodes[name]
        reply, effects = node.core.ask(ask, self.now)
        self._carry_out(node, effects)
        return reply

    def lead(self, leader: str | None, term: int, *, alive: Sequence[str] = NAMES) -> None:
        """The engine names a leader, who has to wait before it acts."""
        self.now_s += 1.0
        self.living = alive
        from_s = self.now_s + WAIT_S
        for name in alive:
            peers = {
                other: Peer(
                    state=PeerState.ALIVE if other in alive else PeerState.DEAD,
                    notes={"epoch": "1"},
                )
                for other in NAMES
            }
            view = View(
                me=name,
                term=term,
                leader=leader,
                acts_from_s=from_s if name == leader else 0.0,
                lead_until_s=self.now_s + LEASE_S if name == leader else 0.0,
                peers=peers,
                engine="builtin",
                voters=VOTERS,
            )
            self._handle(name, ViewPushed(view=view))

    def commit(self, revision: int, wanted: Desired, names: Sequence[str] = NAMES) -> None:
        for name in names:
            self.tell(name, SourceSeen(head=head(revision)))
            self.tell(name, loaded(revision, wanted))

    def see(self, pool: Observed, names: Sequence[str] = NAMES, *, after_s: float = 2.0) -> None:
        self.now_s += after_s
        for name in names:
            observed = replace(
                self.said.shown(pool),
                as_of_s=self.now_s,
                epoch_s=self.now_s,
                steady_since_s=START_S,
            )
            self._handle(name, PoolObserved(observed=observed))

    def _handle(self, name: str, event: Event) -> None:
        node = self.nodes[name]
        self._carry_out(node, node.core.handle(event, self.now))

    def _carry_out(self, node: Node, effects: Sequence[Effect]) -> None:
        node.done += effects
        answers: list[Event] = []
        for effect in effects:
            match effect:
                case Write(record=record):
                    node.records.append(record)
                case Share(fact=fact):
                    node.ledger = node.ledger.merge([fact])
                    self.spread(node.name, [fact])
                case Gather(term=term):
                    answers.append(Gathered(term=term, names=self._gathered(node)))
                case Announce(term=term):
                    answers.append(Announced(term=term, names=self._others(node)))
                case ClaimTerm():
                    answers.append(self.said.answer(effect))
                case RevokeSession(term=term):
                    answers.append(SessionRevoked(term=term, done=True))
                case OpenSession(term=term):
                    answers.append(SessionOpened(term=term, sealed=f"session of {node.name}"))
                case Probe(name=name):
                    answers.append(Probed(name=name, answers=True, at_s=self.now_s))
                case Tell(page=page):
                    answers.append(PageTold(page=page))
                case Look() | Stage():
                    pass
        for answer in answers:
            self._handle(node.name, answer)

    def spread(self, origin: str, facts: Sequence[Fact]) -> None:
        """Have the facts of one node reach the others that listen."""
        for other in self.nodes.values():
            if other.name != origin and other.name not in self.deaf and hasattr(other, "core"):
                before = other.ledger
                other.ledger = other.ledger.merge(facts)
                if other.ledger != before:
                    self._handle(other.name, FactsMerged(facts=tuple(facts)))

    def _others(self, node: Node) -> tuple[str, ...]:
        reached = {*self.living} - self.deaf
        return tuple(sorted(reached - {node.name})) if node.name in reached else ()

    def _gathered(self, node: Node) -> tuple[str, ...]:
        names = self._others(node)
        for name in names:
            self.spread(name, tuple(self.nodes[name].ledger.facts.values()))
        return names
