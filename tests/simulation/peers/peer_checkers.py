"""What must hold at every event in the life of several nodes. Small and dumb, and each alone.

They see the pool's log, the journals, the heartbeats' views as they are pushed, and true time; and
take nobody's word for what it means.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import inf

from membership.election import Role
from membership.heartbeat import decode
from membership.ledger import Intent
from membership.roster import EFFECT_S, Timing
from membership.view import PeerState, View
from reconciler.actions import PoolMigrate
from reconciler.messages import PoolObserved
from reconciler.observed import STALE_AFTER_S
from reconciler.paging import Page
from reconciler.records import ForeignChange, Intended, Record, Settled, Targeted, TookOver
from simulator.site import LogEntry
from tests.simulation.checkers import (
    BESIDE,
    OURS,
    REPEATABLE,
    Checker,
    Corruption,
    Flight,
    Flights,
    Memory,
    Placement,
    Scene,
)
from tests.simulation.peers.peer_heart import KEY
from tests.simulation.peers.peer_net import LATE_S
from tests.simulation.peers.peer_node import PeerNode
from tests.simulation.peers.peer_site import CHANNELS, PeerSite

TIMING = Timing()
ROUNDING_S = 0.001
DRIFT = 1.01

DISK_S = 16.0
"""What a dead node's last writing may take to be on the disk, and to be read."""

SHARED_S = 3.0
"""A call that waits to be told to all leaves so long after its intent, at most."""

PAGED_WITHIN_S = 10.0
TOLD_WITHIN_S = 30.0
"""The patience of a node that is not to tell by itself, and what a slow clock adds."""

WELL_S = 60.0
SETTLED_S = 10.0
LONG_AGO_S = 300.0


def node_of(entry: LogEntry) -> str:
    return entry.originator.partition("@")[2].partition("/")[0]


def term_of(txn: str) -> int:
    return int(txn.split("-")[1])


def is_ours(entry: LogEntry) -> bool:
    return entry.originator.startswith(OURS) and entry.cls not in BESIDE


class PeerChecker:
    """Told of everything; says nothing by itself."""

    def __init__(self, site: PeerSite) -> None:
        self.site = site

    def blame(self, text: str) -> None:
        self.site.scene.blame(text)

    @property
    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def journalled(self, node: PeerNode, record: Record) -> None:
        """The record is durable on this node."""

    def called(self, entry: LogEntry) -> None:
        """The pool begins to carry out a call, by whomever."""

    def pictured(self, node: PeerNode, seen: PoolObserved) -> None:
        """This node's daemon is shown a picture of the pool."""

    def viewed(self, node: PeerNode, view: View) -> None:
        """The heartbeats of this node say this."""

    def said(self, node: PeerNode, data: bytes) -> None:
        """A heartbeat leaves this node."""

    def sent(self, node: PeerNode, method: str, subject: str) -> None:
        """A call that changes something leaves this node; `subject` is an opaque reference."""

    def paged(self, node: PeerNode, page: Page) -> None:
        """People are told."""


# --- who may act ------------------------------------------------------------------------------------


@dataclass
class Reign:
    """One leadership in true time. `until_s`: as anybody may have believed; `ended_s`: as its heart said."""

    node: str
    term: int
    acts_s: float
    until_s: float
    ended_s: float = inf

    @property
    def lease_s(self) -> float:
        return min(self.until_s, self.ended_s)


class Leases(PeerChecker):
    """A term has one leader, and a new one acts only once the last one's effects have ended. Leases do
    not even overlap, but where a disk decides: that one promises nothing, so only the wait counts."""

    def __init__(self, site: PeerSite) -> None:
        super().__init__(site)
        self.reigns: dict[int, Reign] = {}

    def viewed(self, node: PeerNode, view: View) -> None:
        for reign in self.reigns.values():
            if reign.node == node.name and (view.leader, view.term) != (node.name, reign.term):
                reign.ended_s = min(reign.ended_s, self.now_s)
        if view.leader == node.name:
            self._leads(node, view)

    def _leads(self, node: PeerNode, view: View) -> None:
        until_s, acts_s = (node.clock.true_s(s) for s in (view.lead_until_s, view.acts_from_s))
        reign = self.reigns.get(view.term)
        if reign is None:
            reign = self.reigns[view.term] = Reign(node.name, view.term, acts_s, until_s)
            self._begins(reign)
        if reign.node != node.name:
            self.blame(f"{node.name} leads in term {view.term}, as {reign.node} did")
        reign.until_s = max(reign.until_s, until_s)
        self._waited_for()
        if self.now_s - node.candid_s > TIMING.candidacy_s + 2.0:
            self.blame(
                f"{node.name} leads {self.now_s - node.candid_s:.1f} s after its last candidacy"
            )

    def _begins(self, reign: Reign) -> None:
        for other in self.reigns.values():
            if other.node == reign.node or other is reign:
                continue
            who = f"{reign.node} in term {reign.term}, {other.node} in term {other.term}"
            if other.term > reign.term:
                self.blame(f"a term goes back: {who}")
            if other.lease_s > self.now_s + ROUNDING_S and not self._disk_decides:
                self.blame(f"two leases, for {other.lease_s - self.now_s:.3f} s more: {who}")

    @property
    def _disk_decides(self) -> bool:
        return self.site.disk is not None and len(self.site.nodes) == 2

    def _waited_for(self) -> None:
        """Every two of them, whichever has just gone on."""
        for one, other in combinations(self.reigns.values(), 2):
            first, then = sorted((one, other), key=lambda reign: reign.term)
            over_s = first.until_s + EFFECT_S / DRIFT - then.acts_s
            if first.node != then.node and over_s > ROUNDING_S:
                who = f"{then.node} in term {then.term} for {first.node} in term {first.term}"
                self.blame(f"not waited for {over_s:.3f} s more: {who}")

    def sent(self, node: PeerNode, method: str, subject: str) -> None:
        del subject
        mine = [reign for reign in self.reigns.values() if reign.node == node.name]
        if not any(r.acts_s - ROUNDING_S <= self.now_s < r.until_s + ROUNDING_S for r in mine):
            self.blame(f"{node.name} sends {method} outside its lease")


class Ghosts(PeerChecker):
    """Who has long been silent is not believed to be alive."""

    def viewed(self, node: PeerNode, view: View) -> None:
        for name, peer in view.peers.items():
            other = self.site.nodes.get(name)
            if other is None or other is node or other.silent_since_s is None:
                continue
            silence_s = self.now_s - max(other.silent_since_s, node.beats_since_s)
            bound_s = TIMING.suspect_after_s + LATE_S + DISK_S
            if peer.state is PeerState.ALIVE and silence_s > bound_s:
                self.blame(f"{node.name} takes {name} for alive, silent for {silence_s:.1f} s")


class Votes(PeerChecker):
    """A vote is durable before anybody hears of it."""

    def said(self, node: PeerNode, data: bytes) -> None:
        found, memory = decode(data, (KEY,)), node.body.files.memory
        assert found is not None
        assert memory is not None
        beat = found[1]
        if beat.role in (Role.CANDIDATE, Role.LEADER) and beat.term > memory.term:
            self.blame(f"{node.name} stands for term {beat.term}, and would forget it")
        ack = beat.ack
        if ack is not None and ack.answer == "yes" and ack.term > memory.term:
            self.blame(f"{node.name} agrees to term {ack.term}, and would forget it")


class Acting(PeerChecker):
    """No call without an intent on disk and in the ledger, one node a term, and none of a term that
    another has taken over from."""

    def __init__(self, site: PeerSite) -> None:
        super().__init__(site)
        self.taken_over = 0
        self.acted: dict[int, str] = {}
        self.open: defaultdict[str, dict[str, Intended]] = defaultdict(dict)

    def journalled(self, node: PeerNode, record: Record) -> None:
        match record.entry:
            case TookOver(term=term):
                self.taken_over = max(self.taken_over, term)
            case Intended(by="") as intended:
                self.open[node.name][intended.txn] = intended
            case Settled(txn=txn):
                self.open[node.name].pop(txn, None)

    def intent_of(self, node: str, subject: str) -> Intended | None:
        return next((i for i in self.open[node].values() if i.subject == subject), None)

    def called(self, entry: LogEntry) -> None:
        if not is_ours(entry):
            return
        told = f"{entry.method} of {entry.name} by {node_of(entry)}"
        intended = self.intent_of(node_of(entry), entry.uuid)
        if intended is None:
            self.blame(f"{told} without an intent in its journal")
            return
        term = term_of(intended.txn)
        if not entry.originator.endswith("/term"):
            self.blame(f"{told} in a session that nobody would end")
        if term < self.taken_over:
            self.blame(f"{told} of term {term}, after term {self.taken_over} was taken over")
        if self.acted.setdefault(term, node_of(entry)) != node_of(entry):
            self.blame(f"{told} in term {term}, in which {self.acted[term]} acted")
        parts = self.site.nodes[node_of(entry)].parts
        if parts is not None and not _knows(parts.ledger, intended):
            self.blame(f"{told} is not in its own ledger")


def _knows(ledger: object, intended: Intended) -> bool:
    fact = ledger.facts.get(f"intent/{intended.subject}")  # type: ignore[attr-defined]
    return fact is not None and isinstance(fact.value, Intent) and fact.value.txn == intended.txn


class Told(PeerChecker):
    """Every peer that could be reached all the while knows of a call before it leaves."""

    def __init__(self, site: PeerSite) -> None:
        super().__init__(site)
        self._intents: dict[tuple[str, str], tuple[Intended, float]] = {}

    def journalled(self, node: PeerNode, record: Record) -> None:
        if isinstance(record.entry, Intended) and not record.entry.by:
            self._intents[node.name, record.entry.subject] = (record.entry, self.now_s)

    def sent(self, node: PeerNode, method: str, subject: str) -> None:
        found = self._intents.get((node.name, uuid_of(self.site, subject)))
        if found is None:
            return
        intended, began_s = found
        for other in self.site.nodes.values():
            if other is not node and self._reached(node, other, began_s - SETTLED_S):
                assert other.parts is not None
                if not _knows(other.parts.ledger, intended):
                    self.blame(f"{node.name} sends {method}, and {other.name} was not told")

    def _reached(self, node: PeerNode, other: PeerNode, since_s: float) -> bool:
        """Whether nothing was wrong between these two from then on."""
        view = node.daemon.view if node.daemon is not None else None
        alive = view is not None and other.name in view.peers
        return (
            alive
            and view is not None
            and view.peers[other.name].state is PeerState.ALIVE
            and other.runs
            and max(other.runs_since_s, node.runs_since_s) <= since_s
            and self.site.net.undisturbed_s(node.name, other.name, CHANNELS) <= since_s
        )


def uuid_of(site: PeerSite, ref: str) -> str:
    tables = (site.world.pool.db.rows("VM"), site.world.pool.db.rows("host"))
    return next((r.text("uuid") for rows in tables for r in rows if r.ref == ref), "")


class Repeats(PeerChecker):
    """What has succeeded is not done again by a successor who does not know of it."""

    def __init__(self, site: PeerSite, acting: Acting) -> None:
        super().__init__(site)
        self._acting = acting
        self._last: dict[str, tuple[LogEntry, str, float]] = {}

    def called(self, entry: LogEntry) -> None:
        if entry.cls != "VM":
            return
        if not is_ours(entry):
            self._last.pop(entry.uuid, None)
            return
        intended = self._acting.intent_of(node_of(entry), entry.uuid)
        call = intended.action.call if intended is not None else None
        where = call.node if isinstance(call, PoolMigrate) else ""
        last = self._last.get(entry.uuid)
        if last is not None and self._same(entry, where, *last):
            self.blame(
                f"{entry.method} of {entry.name} by {node_of(entry)}, which was done already"
            )
        self._last[entry.uuid] = (entry, where, self.now_s)

    def _same(self, entry: LogEntry, where: str, last: LogEntry, before: str, at_s: float) -> bool:
        touched = any(s >= at_s for s in self.site.scene.touched[entry.uuid])
        same = (entry.method, where) == (last.method, before)
        return same and last.outcome == "success" and entry.method not in REPEATABLE and not touched


# --- what was agreed --------------------------------------------------------------------------------


class Monotone(PeerChecker):
    """No node goes back to an older revision."""

    def __init__(self, site: PeerSite) -> None:
        super().__init__(site)
        self._highest: defaultdict[str, int] = defaultdict(int)

    def journalled(self, node: PeerNode, record: Record) -> None:
        if isinstance(record.entry, Targeted):
            if record.entry.revision < self._highest[node.name]:
                self.blame(f"{node.name} goes back to r{record.entry.revision}")
            self._highest[node.name] = record.entry.revision


class Holds(PeerChecker):
    """While anybody was told that a hold stands nothing is begun, and people are paged: by a leader that
    lasts, or else by whoever has the hold and has been there all the while."""

    def __init__(self, site: PeerSite) -> None:
        super().__init__(site)
        self.held: dict[str, float] = {}
        """By id, since when."""
        self._paged: set[str] = set()
        self._due: dict[str, tuple[float, PeerNode, int]] = {}
        self._had_s: dict[tuple[str, str], float] = {}

    def accepted(self, hold: str, leader: PeerNode | None, term: int) -> None:
        """Somebody who asked while this one led is told that it stands."""
        self.held[hold] = self.now_s
        if leader is not None and leader.runs:
            self._due[hold] = (self.now_s + PAGED_WITHIN_S, leader, term)

    def released(self, hold: str) -> None:
        """Somebody asks for its end."""
        self.held.pop(hold, None)
        self._due.pop(hold, None)

    def journalled(self, node: PeerNode, record: Record) -> None:
        if isinstance(record.entry, Intended) and not record.entry.by and self.held:
            self.blame(f"{node.name} begins {record.entry.action.object} under {sorted(self.held)}")

    def sent(self, node: PeerNode, method: str, subject: str) -> None:
        del subject
        late = [hold for hold, at_s in self.held.items() if self.now_s - at_s > SHARED_S]
        if late:
            self.blame(f"{node.name} sends {method} under {late}")

    def paged(self, node: PeerNode, page: Page) -> None:
        del node
        self._paged.add(page.key)

    def viewed(self, node: PeerNode, view: View) -> None:
        del view
        self._somebody_tells(node)
        for hold, (due_s, leader, term) in list(self._due.items()):
            gone = leader.view is None or (leader.view.leader, leader.view.term) != (
                leader.name,
                term,
            )
            stopped = leader.runs_since_s > due_s - WELL_S or not leader.runs
            if f"hold/{hold}" in self._paged or gone or stopped:
                del self._due[hold]
            elif self.now_s > due_s:
                del self._due[hold]
                self.blame(f"nobody was told of {hold} within {PAGED_WITHIN_S:.0f} s")

    def _somebody_tells(self, node: PeerNode) -> None:
        """Whoever leads, and whoever of them dies: one that stays and has the hold sees to it."""
        for hold in self.held:
            has = node.runs and f"hold/{hold}" in node.ledger.facts
            if not has or f"hold/{hold}" in self._paged:
                self._had_s.pop((node.name, hold), None)
                continue
            had_s = max(self._had_s.setdefault((node.name, hold), self.now_s), node.runs_since_s)
            if self.now_s - had_s > TOLD_WITHIN_S:
                self.blame(f"nobody was told of {hold}, which {node.name} has had for long")


class Calm(PeerChecker):
    """Once everything has healed nobody is accused of what cxm did itself."""

    since_s: float | None = None

    def journalled(self, node: PeerNode, record: Record) -> None:
        if self.since_s is None or not isinstance(record.entry, ForeignChange):
            return
        change = record.entry
        touched = self.site.scene.touched[change.subject]
        if not any(at_s > self.since_s - LONG_AGO_S for at_s in touched):
            self.blame(f"{node.name}: {change.object} {change.message}, but nobody else touched it")


# --- the checkers of a single daemon, one for each node -----------------------------------------------


class OwnFlights(Flights):
    """As for a single daemon, for the calls of one node. What another node did since excuses its story."""

    def _truthful(self, settled: Settled, flight: Flight) -> None:
        log = self.scene.world.log
        mine = {node_of(entry) for entry in flight.entries}
        first = log.index(flight.entries[0]) if flight.entries else len(log)
        others = any(
            is_ours(e) and e.uuid == settled.subject and node_of(e) not in mine for e in log[first:]
        )
        if not others and flight.entries:
            super()._truthful(settled, flight)


class Each(PeerChecker):
    """Has each node's own calls watched as a single daemon's are."""

    def __init__(self, site: PeerSite) -> None:
        super().__init__(site)
        kinds: Sequence[Callable[[Scene], Checker]] = (OwnFlights, Placement)
        self._own: Mapping[str, Sequence[Checker]] = {
            name: [kind(site.scene) for kind in kinds] for name in site.nodes
        }
        self._all: Sequence[Checker] = (Memory(site.scene), Corruption(site.scene))
        self._mine: set[tuple[str, str]] = set()
        self._as_of_s: dict[str, float] = {}

    def journalled(self, node: PeerNode, record: Record) -> None:
        match record.entry:
            case Intended(by="", txn=txn):
                self._mine.add((node.name, txn))
                self._fresh(node, record.entry)
            case Intended():
                return
            case Settled(txn=txn) if (node.name, txn) not in self._mine:
                return
        for checker in self._own[node.name]:
            checker.journalled(record)

    def called(self, entry: LogEntry) -> None:
        for name, checkers in self._own.items():
            if not is_ours(entry) or node_of(entry) == name:
                for checker in checkers:
                    checker.called(entry)
        for checker in self._all:
            checker.called(entry)

    def pictured(self, node: PeerNode, seen: PoolObserved) -> None:
        self._as_of_s[node.name] = seen.observed.as_of_s

    def _fresh(self, node: PeerNode, intended: Intended) -> None:
        age_s = self.now_s - self._as_of_s.get(node.name, -inf)
        if age_s > STALE_AFTER_S * DRIFT:
            self.blame(f"{node.name}: {intended.action.object} begun at an age of {age_s:.1f} s")


@dataclass
class Bench:
    """All of them, and those that have to be told of more."""

    site: PeerSite
    holds: Holds = field(init=False)
    calm: Calm = field(init=False)
    leases: Leases = field(init=False)

    def __post_init__(self) -> None:
        site, acting = self.site, Acting(self.site)
        self.holds, self.calm, self.leases = Holds(site), Calm(site), Leases(site)
        rest = (
            Ghosts(site),
            Votes(site),
            Told(site),
            Repeats(site, acting),
            Monotone(site),
            Each(site),
        )
        site.watching = (self.leases, acting, self.holds, self.calm, *rest)
