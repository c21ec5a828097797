"""What a parliament consists of: its nodes, and what may befall the one that leads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from itertools import groupby

from msgspec.structs import replace

from membership.ledger import Fact, FoundedVoters, Ledger
from membership.roster import Voters
from membership.view import Peer, PeerState, View
from reconciler.holding import noted
from reconciler.messages import ClaimTerm, Effect, Event, Share, TermClaimed, TreeLoaded, Write
from reconciler.observed import Observed
from reconciler.paging import Page
from reconciler.reconciler import Reconciler
from reconciler.records import AnyEntry, Record


class Fate(Enum):
    """How a leader comes to lead no more, at an effect of its own."""

    DIES = "it is killed before the effect"
    DIES_AFTER = "it is killed after the effect, and hears no answer"
    DIES_LATE = "it is killed, and its call reaches the pool only later"
    LAPSES = "its lease ends before the effect, and it lives on"
    LAPSES_AFTER = "its lease ends after the effect, and it lives on"
    RESTARTS = "it is killed before the effect and is back as the leader of the next term"


class Fallen(Exception):
    """The node carries out nothing more of this step."""


def batches(effects: Iterable[Effect]) -> Iterator[list[Effect]]:
    """What the edge makes durable together: records, or facts, with nothing else between them."""
    numbered = enumerate(effects)

    def together(item: tuple[int, Effect]) -> object:
        number, effect = item
        return type(effect) if isinstance(effect, Write | Share) else number

    for _, group in groupby(numbered, key=together):
        yield [effect for _, effect in group]


@dataclass
class Claims:
    """What the pool's database says of terms: the mark of who claimed each, and of who has led alone in one
    so often."""

    terms: dict[int, str] = field(default_factory=dict)
    alone: dict[tuple[int, int], str] = field(default_factory=dict)

    def answer(self, claim: ClaimTerm) -> TermClaimed:
        """As the pool would: whose was the first, and is it the highest."""
        term, mark = claim.term, claim.mark
        last = max((known for known in self.terms if known != term), default=0)
        if last > term:
            return TermClaimed(term=term, result="lost", highest=last)
        count = max((count for at, count in self.alone if at == last), default=0)
        holder = self.terms.setdefault(term, mark)
        if holder == mark and claim.alone:
            self.alone[term, claim.alone] = mark
        won = "won" if holder == mark else "lost"
        return TermClaimed(
            term=term,
            result=won,
            holder=holder,
            highest=term,
            before=(last, count),
            before_by=self.alone.get((last, count), ""),
            alone=claim.alone,
        )

    def shown(self, observed: Observed) -> Observed:
        """The same observation, with what the pool says of terms by now."""
        term = max(self.terms, default=0)
        alone = max((count for at, count in self.alone if at == term), default=0)
        by = self.alone.get((term, alone), "")
        return replace(observed, pool=replace(observed.pool, term=term, alone=alone, alone_by=by))


def described(observed: Observed) -> list[str]:
    """A pool as people would say it."""
    nodes = observed.nodes
    vms = [
        f"vm/{vm.name} {vm.power.value} on {nodes[vm.node].name if vm.node else 'no node'}, "
        f"{vm.static_max} bytes, {vm.vcpus_max} vCPUs, tags {sorted(vm.tags)}"
        for vm in observed.vms.values()
    ]
    closed = [f"node/{node.name} is disabled" for node in nodes.values() if not node.enabled]
    return sorted(vms + closed)


@dataclass
class Member:
    """One node: what is durable of it, its core while it lives, and what it has yet to hear."""

    name: str
    records: list[Record]
    ledger: Ledger
    tree: TreeLoaded | None
    core: Reconciler | None = None
    view: View = field(init=False)
    events: deque[Event] = field(default_factory=deque)
    heard: set[str] = field(default_factory=set)
    told: list[Page] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    unsent: list[Fact] = field(default_factory=list)
    silent: PeerState = PeerState.UNKNOWN
    """What it is to others while it does not live."""
    cut: bool = False
    """No fact goes to it or comes from it."""
    unplugged: bool = False
    """It is heard on the shared disk alone."""

    @property
    def entries(self) -> list[AnyEntry]:
        return [record.entry for record in self.records]

    def voters(self, first: Voters) -> Voters:
        """What its heartbeats go by: what its ledger says, `first` where that says nothing."""
        founded = self.ledger.get("voters", FoundedVoters)
        if founded is None:
            return first
        return Voters(
            epoch=founded.epoch, names=founded.names, term=founded.term, disk=founded.disk
        )

    def shown(self, state: PeerState, term: int, first: Voters) -> Peer:
        """What its heartbeats tell others."""
        rank = self.voters(first).rank
        notes = {"ledger": self.ledger.digest, **noted(self.ledger)}
        channels = {"net1": PeerState.DEAD, "disk": state} if self.unplugged else {}
        return Peer(state=state, channels=channels, term=term, voters=rank, notes=notes)

    @property
    def state(self) -> PeerState:
        return PeerState.ALIVE if self.core is not None else self.silent

    @property
    def alive(self) -> Reconciler:
        assert self.core is not None, f"{self.name} is dead"
        return self.core
