"""What a node makes of a moment: the shipped functions, asked through values that are small enough to
be searched. Nothing is decided here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from msgspec.structs import replace

from fencing.evidence import CERTIFICATE, POWER_OFF, proofs
from fencing.judgement import Verdict
from fencing.ladder import Ladder, Look, Order, Power, Prove, Reading, Rung, Switch
from fencing.may_run import key
from membership.clock import Now
from membership.ledger import Fact, FactValue, Ledger
from membership.proofs import UNREAD, Certificate, MayRun, Place, Unread
from membership.roster import Voters
from membership.view import Peer, PeerState, View
from reconciler import deaths as mortality
from reconciler.accusing import Hearing, accused
from reconciler.actions import Action, Cause, PoolMigrate, StartOn, Verb
from reconciler.deaths import Deaths
from reconciler.journal import InFlight, JournalState
from reconciler.messages import Probed
from reconciler.observed import Observed, ObservedNode, ObservedVM, Operation, Pool, PowerState
from reconciler.probing import Probing
from reconciler.sharing import least
from reconciler.sharing import unread as unread_of
from schema.model import Desired, NodeHeartbeat
from tests.core.stage import desired
from tests.explore.states import Book, Call, Climb, Paper, Record, Stamp, State, Told, stamps_of
from tests.plan.expansion import identity

NOW = Now(mono_s=10_000.0, epoch_s=1_800_000_000.0)
SILENT_S = 600.0
LEVELS = (("bmc",),)
GIB = 1 << 30
EARLIER, BOOT = "1000", "2000"
"""Hints at the boot before and at the present one."""


class Seen(NamedTuple):
    """All that a leader's decisions depend on."""

    me: int
    heard: tuple[bool, ...]
    record: Record
    book: Book
    call: Call | None = None


@dataclass(frozen=True)
class Thought:
    """What follows for the node that sees it: its verdicts by host, and who is certified dead."""

    deaths: Deaths
    verdicts: tuple[Verdict, ...]
    certified: frozenset[int]


class Minds:
    """The minds of all nodes of pools of this size. Answers are kept: they are asked for over and over."""

    def __init__(self, count: int) -> None:
        self.names = tuple(f"n{number}" for number in range(count))
        self.vm = identity("vm", "web1")
        self._uuids = tuple(identity("host", name) for name in self.names)
        self._numbers = {uuid: number for number, uuid in enumerate(self._uuids)}
        self._tree = _tree(self.names)
        self._thoughts: dict[Seen, Thought] = {}
        self._ledgers: dict[Book, Ledger] = {}
        self._merged: dict[tuple[Book, Book], Book] = {}
        self._noted: dict[Seen, Book] = {}
        self._permitted: dict[tuple[Seen, str, int], bool] = {}

    # --- the ledger -----------------------------------------------------------------------------

    def ledger(self, book: Book) -> Ledger:
        found = self._ledgers.get(book)
        if found is None:
            found = self._ledgers[book] = Ledger().merge(self._facts(book))
        return found

    def merged(self, book: Book, other: Book) -> Book:
        """One ledger after it has heard all of another."""
        asked = (book, other)
        if asked not in self._merged:
            whole = self.ledger(book).merge(self.ledger(other).facts.values())
            self._merged[asked] = self._read(whole)
        return self._merged[asked]

    def _facts(self, book: Book) -> list[Fact]:
        facts: list[Fact] = []
        if book.told is not None:
            facts.append(_fact(key(self.vm), book.told.stamp, self._may_run(book.told)))
        if book.unread is not None:
            facts.append(_fact(UNREAD, book.unread, Unread(why="not read")))
        for number, paper in enumerate(book.certificates):
            if paper is not None:
                value = self._certificate(number, paper)
                facts.append(_fact(f"{CERTIFICATE}{value.node}", paper.stamp, value))
        return facts

    def _may_run(self, told: Told) -> MayRun:
        places = tuple(
            Place(host=self._uuids[host], term=stamp[0], seq=stamp[1])
            for host, stamp in told.places
        )
        places = tuple(sorted(places, key=lambda place: place.host))
        return MayRun(vm=self.vm, places=places, reset=told.reset)

    def _certificate(self, number: int, paper: Paper) -> Certificate:
        return Certificate(
            id="C",
            node=self.names[number],
            host=self._uuids[number],
            kind=POWER_OFF,
            by="x",
            evidence="",
            boot_hint=BOOT if paper.current else EARLIER,
        )

    def _read(self, ledger: Ledger) -> Book:
        certificates: list[Paper | None] = []
        for name in self.names:
            fact = ledger.facts.get(f"{CERTIFICATE}{name}")
            if fact is None or not isinstance(fact.value, Certificate):
                certificates.append(None)
            else:
                current = fact.value.boot_hint == BOOT
                certificates.append(Paper((fact.term, fact.seq), current))
        told, unread = ledger.facts.get(key(self.vm)), ledger.facts.get(UNREAD)
        return Book(
            None if told is None else self._told((told.term, told.seq), told.value),
            tuple(certificates),
            None if unread is None else (unread.term, unread.seq),
        )

    def _told(self, stamp: Stamp, value: FactValue) -> Told:
        assert isinstance(value, MayRun)
        places = sorted((self._numbers[place.host], place.stamp) for place in value.places)
        return Told(stamp, tuple(places), value.reset)

    # --- what is seen and judged ----------------------------------------------------------------

    def thought(self, seen: Seen) -> Thought:
        found = self._thoughts.get(seen)
        if found is None:
            found = self._thoughts[seen] = self._think(seen)
        return found

    def _think(self, seen: Seen) -> Thought:
        deaths = accused(self._hearing(seen))
        return Thought(
            deaths,
            tuple(deaths.verdicts[name] for name in self.names),
            frozenset(
                number
                for number, uuid in enumerate(self._uuids)
                if deaths.certified(uuid) is not None
            ),
        )

    def _hearing(self, seen: Seen) -> Hearing:
        return Hearing(
            me=self.names[seen.me],
            desired=self._tree,
            observed=self._observed(seen),
            view=self.view(seen.me, seen.heard),
            ledger=self.ledger(seen.book),
            journal=self._journal(seen),
            probing=self._probing(seen.heard),
            leads=True,
            now=NOW,
        )

    def _journal(self, seen: Seen) -> JournalState:
        """With the call that is on its way to the pool."""
        call, journal = seen.call, JournalState()
        if call is not None and call.kind != "reset":
            kind = StartOn if call.kind == "start" else PoolMigrate
            action = Action(
                id="1",
                object="vm/web1",
                verb=Verb.START if kind is StartOn else Verb.MIGRATE,
                cause=Cause.INTENT,
                reason="",
                message="",
                call=kind(vm=self.vm, node=self._uuids[call.target]),
            )
            flight = InFlight(txn="t", action=action, subject=self.vm, started_s=NOW.mono_s)
            journal.in_flight["t"] = flight
        return journal

    def view(self, me: int, heard: tuple[bool, ...]) -> View:
        """As this node's engine shows it; the silent have been so for long."""
        alive, dead = Peer(state=PeerState.ALIVE), Peer(state=PeerState.DEAD, last_heard_s=SILENT_S)
        peers = zip(self.names, heard, strict=True)
        return View(
            me=self.names[me],
            term=1,
            leader=self.names[me],
            lead_until_s=float("inf"),
            peers={name: alive if speaks else dead for name, speaks in peers},
            engine="builtin",
            voters=Voters(epoch=1, names=self.names, disk=len(self.names) == 2),
        )

    def _probing(self, heard: tuple[bool, ...]) -> Probing:
        probing, begun = Probing(), Now(mono_s=NOW.mono_s - SILENT_S, epoch_s=0.0)
        silent = [name for name, speaks in zip(self.names, heard, strict=True) if not speaks]
        list(probing.due(dict.fromkeys(silent, "address"), begun))
        for name in silent:
            for _ in range(2):
                probing.probed(Probed(name=name, answers=False, at_s=begun.mono_s))
        return probing

    def _observed(self, seen: Seen) -> Observed:
        """The pool's master is where the leader is: that a database is lost is an event of its own."""
        nodes = {
            uuid: ObservedNode(
                uuid=uuid,
                name=name,
                address="address",
                memory_total=64 * GIB,
                boot_hint=BOOT,
            )
            for name, uuid in zip(self.names, self._uuids, strict=True)
        }
        return Observed(
            as_of_s=NOW.mono_s,
            epoch_s=NOW.epoch_s,
            by=self.names[seen.me],
            pool=Pool(uuid="pool", master=self._uuids[seen.me]),
            nodes=nodes,
            vms={self.vm: self._real(seen.record)},
            resets=(self.vm,) if seen.record.reset else (),
        )

    def _real(self, record: Record) -> ObservedVM:
        busy = () if record.going is None else (Operation(kind="start", task="somebody"),)
        return ObservedVM(
            uuid=self.vm,
            name="web1",
            power=PowerState.HALTED if record.on is None else PowerState.RUNNING,
            node=None if record.on is None else self._uuids[record.on],
            reserved_on=None if record.going is None else self._uuids[record.going],
            operations=busy,
        )

    # --- may-run and the gate -------------------------------------------------------------------

    def noted(self, seen: Seen, stamp: Stamp) -> Book:
        """The ledger after the leader has written down where the VM can be."""
        thought, ledger = self.thought(seen), self.ledger(seen.book)
        observed, pool = thought.deaths.observed, thought.deaths.pool
        told = seen.book.told
        for found in mortality.followed(ledger, observed, self._journal(seen), pool, stamp):
            told = self._told(stamp, found)
        return seen.book._replace(told=told)

    def permits(self, seen: Seen, kind: str, target: int) -> bool:
        """Whether the gate lets this call through."""
        asked = (seen, kind, target)
        if asked not in self._permitted:
            self._permitted[asked] = self._permits(seen, kind, target)
        return self._permitted[asked]

    def _permits(self, seen: Seen, kind: str, target: int) -> bool:
        thought, record = self.thought(seen), seen.record
        deaths, (vm,) = thought.deaths, self._tree.vms.values()
        real = deaths.observed.vms[self.vm]
        if kind == "reset":
            return record.on in thought.certified and not deaths.doubts(vm, real, "")
        if self.names[target] in dict(deaths.closed()):
            return False
        leaving = "" if record.on is None else self._uuids[record.on]
        return not deaths.doubts(vm, real, self._uuids[target], leaving)

    def grown(self, seen: Seen, target: int, stamp: Stamp) -> Book:
        """The ledger as it has to be before a call that makes a domain on `target`."""
        deaths = self.thought(seen).deaths
        grown = deaths.grown(self.ledger(seen.book), self.vm, self._uuids[target], stamp)
        return seen.book if grown is None else seen.book._replace(told=self._told(stamp, grown))

    # --- whom a successor must read, and who must know ------------------------------------------

    def unread(self, me: int, heard: tuple[bool, ...], read: tuple[int, ...]) -> bool:
        return bool(unread_of(self.view(me, heard), [self.names[number] for number in read]))

    def enough(self, state: State) -> bool:
        """Whether enough others know what the leader has said of may-run last."""
        assert state.leader is not None
        mine = state.books[state.leader].told
        assert mine is not None
        knowing = [
            book.told is not None and book.told.stamp >= mine.stamp
            for number, book in enumerate(state.books)
            if number != state.leader
        ]
        heard = tuple(host.heard for host in state.hosts)
        return sum(knowing) >= least(self.view(state.leader, heard))

    def trusts(self, book: Book, number: int) -> bool:
        """Whether this ledger takes a domain of the VM on this host for dead, wherever it tells of one."""
        ledger = self.ledger(book)
        proof = proofs(ledger, NOW, dict.fromkeys(self._uuids, BOOT)).get(self._uuids[number])
        told = ledger.get(key(self.vm), MayRun)
        there = (
            [place for place in told.places if self._numbers[place.host] == number] if told else []
        )
        return proof is not None and bool(there) and all(proof.covers(place) for place in there)


def _tree(names: tuple[str, ...]) -> Desired:
    """Each node has a shared disk to hear by: of two, one alone accuses nobody without."""
    nodes = {name: {"roles": ["run", "peer"]} for name in names}
    tree = desired(nodes=nodes, vms={"web1": {"state": "running"}})
    beating = NodeHeartbeat(disk="/disk")
    given = {name: replace(node, heartbeat=beating) for name, node in tree.nodes.items()}
    return replace(tree, nodes=given)


def next_stamp(book: Book, term: int) -> Stamp:
    """That of the next fact: in its term only one node writes."""
    return (term, 1 + max((number for of, number in stamps_of(book) if of == term), default=0))


def _fact(name: str, stamp: Stamp, value: FactValue) -> Fact:
    return Fact(key=name, term=stamp[0], seq=stamp[1], at_epoch_s=0.0, value=value)


# --- the ladder -----------------------------------------------------------------------------------


def stepped(climb: Climb, verdict: Verdict) -> Climb:
    """What the ladder does now; time enough has gone by for whatever it waits for."""
    ladder = _ladder(climb)
    return _climbed(climb, ladder, ladder.step(verdict, LEVELS, 0.0))


def looked(climb: Climb, verdict: Verdict, *, on: bool) -> tuple[Climb, bool]:
    """What the device says comes back: where the ladder is then, and whether that proves the death."""
    ladder = _ladder(climb)
    reading = Reading("bmc", Power.ON if on else Power.OFF)
    orders = ladder.looked(ladder.round, (reading,), verdict, LEVELS, 0.0)
    proven = any(isinstance(order, Prove) for order in orders)
    return _climbed(climb._replace(look=False), ladder, orders), proven


def switched(climb: Climb) -> Climb:
    """The device has answered to `off`."""
    ladder = _ladder(climb)
    ladder.switched(ladder.round, {"bmc": "ok"})
    return _climbed(climb._replace(shot=False), ladder, [])


def _ladder(climb: Climb) -> Ladder:
    ladder = Ladder()
    ladder.rung = Rung(climb.rung)
    ladder._level, ladder._asked = climb.level, climb.asked
    ladder._shots = {0: climb.shots} if climb.shots else {}
    return ladder


def _climbed(before: Climb, ladder: Ladder, orders: list[Order]) -> Climb:
    """A question of the ladder's that is not its last one comes to nothing."""
    idle = ladder.rung is Rung.IDLE
    return Climb(
        rung=ladder.rung.value,
        level=ladder._level,
        shots=ladder._shots.get(0, 0),
        asked=ladder._asked,
        look=any(isinstance(order, Look) for order in orders) or (before.look and not idle),
        shot=any(isinstance(order, Switch) for order in orders) or (before.shot and not idle),
        stray=before.stray or (before.shot and idle),
    )
