"""A parliament: several cores over one pool, of which one leads at a time, as the test says.

The test plays the engine (who leads in which term), the way of facts between the nodes, and the pool
with its claims of terms. A node that is killed keeps what was durable: its records and its ledger.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from membership.clock import Now
from membership.ledger import Fact, Ledger, Target, TermClaim
from membership.roster import Timing, Voters
from membership.view import PeerState, View, unknown
from reconciler.actions import NOT_SHARED, Call, Done, Retry
from reconciler.journal import replay
from reconciler.messages import (
    Announce,
    Announced,
    Ask,
    CallReturned,
    ClaimTerm,
    CloseSession,
    Effect,
    FactsMerged,
    Fetch,
    Gather,
    Gathered,
    Head,
    Look,
    OpenSession,
    PageTold,
    Perform,
    PoolObserved,
    Probe,
    Probed,
    Reply,
    RevokeSession,
    SessionEnded,
    SessionOpened,
    SessionRevoked,
    Share,
    SourceFailed,
    SourceSeen,
    Staged,
    Tell,
    Tick,
    TreeLoaded,
    ViewPushed,
    Write,
)
from reconciler.messages import Stage as StageTree
from reconciler.mustering import Peering
from reconciler.observed import Observed
from reconciler.reconciler import Reconciler
from reconciler.records import ForeignChange
from schema.model import Desired
from tests.core.members import Claims, Fallen, Fate, Member, batches, described
from tests.core.stage import EPOCH_S, digest, loaded
from tests.plan.expansion import DIGEST, MONO_S, REPOSITORY, REVISION, Expanded
from tests.plan.pool import ModelPool

NAMES = ("anna", "bert", "cleo")
WAIT_S = Timing().wait_s
LATE_S = 3.0
ROUND_S = 1.1
HORIZON_S = 90_000.0
QUIET_ROUNDS = 12
"""More than a takeover takes, and a lost call to be settled."""

PATIENT_ROUNDS = 60
MOST_ROUNDS = 4_000

SESSION_EFFECTS = Gather | Announce | ClaimTerm | RevokeSession | OpenSession
COUNTED = Write | Share | Perform | SESSION_EFFECTS


@dataclass
class Parliament:
    """`shuffle`: facts come late, twice and in any order, where nothing has to wait for them.
    `tree` is in force at the start; that of the case where it is None. `disk`: it votes beside two.

    `heads` is what Subversion shows each node, None where it does not answer; `stages` says whether an
    agreed tree can be had from others; `states` overrides what is believed of a peer, and `answers` says
    whether the server of a node that no daemon tells of answers. At the effect
    number `fall_at` of whoever leads its `fate` strikes, and again after every `fall_every` more.
    """

    given: Expanded
    names: tuple[str, ...] = NAMES
    shuffle: random.Random | None = None
    tree: TreeLoaded | None = None
    disk: bool = False

    def __post_init__(self) -> None:
        self.pool = ModelPool(self.given.observed)
        self.now_s = self.given.now.mono_s
        self.term = 1
        self.leader: str | None = None
        self.acts_from_s = 0.0
        self.lead_until_s = float("inf")
        self.said = Claims({1: "somebody long ago"})
        self.sessions: dict[str, str] = {}
        self.performed: list[tuple[str, int, Call]] = []
        self.counted = 0
        self.begun_at: set[int] = set()
        self.fall_at: int | None = None
        self.fall_every: int | None = None
        self.fate = Fate.DIES
        self.states: dict[str, PeerState] = {}
        self.answers: dict[str, bool | None] = {}
        self.tree = self.tree or TreeLoaded(
            head=Head(repository=REPOSITORY, path="/", revision=REVISION, author="a", message="m"),
            digest=DIGEST,
            desired=self.given.desired,
        )
        self.heads: dict[str, TreeLoaded | None] = dict.fromkeys(self.names, self.tree)
        self.stages = True
        self.first = Voters(epoch=1, revision=REVISION, names=self.names, disk=self.disk)
        past = Fact(key="term", term=1, seq=0, at_epoch_s=0.0, value=TermClaim(node=self.names[-1]))
        ledger = self.given.ledger.merge([past])
        self.members = {
            name: Member(name, list(self.given.records), ledger, self.tree) for name in self.names
        }
        for name in self.names:
            self.boot(name)

    # --- the clock and the engine ---------------------------------------------------------------

    @property
    def now(self) -> Now:
        passed_s = self.now_s - self.given.now.mono_s
        return Now(mono_s=self.now_s, epoch_s=self.given.now.epoch_s + passed_s)

    @property
    def living(self) -> list[Member]:
        return [member for member in self.members.values() if member.core is not None]

    def __getitem__(self, name: str) -> Member:
        return self.members[name]

    def view_of(self, me: str) -> View:
        """What the engine tells this node. Where it leads is known to it alone by its times."""
        states = {n: self.states.get(n, member.state) for n, member in self.members.items()}
        leads = self.leader == me
        return View(
            me=me,
            term=self.term,
            leader=self.leader,
            lead_until_s=self.lead_until_s if leads else 0.0,
            acts_from_s=self.acts_from_s if leads else 0.0,
            peers={
                name: self[name].shown(state, self.term, self.first)
                for name, state in states.items()
            },
            engine="builtin",
            voters=self[me].voters(self.first),
            reason="" if self.leader else "no quorum",
        )

    def push(self) -> None:
        """The engine tells everybody what it thinks."""
        for member in self.living:
            member.view = self.view_of(member.name)
            member.events.append(ViewPushed(view=member.view))

    def elect(self, name: str | None) -> None:
        """`name` leads in a term above all that anybody knows of; None: nobody leads."""
        if name is not None:
            floors = [member.alive.candidacy().floor for member in self.living]
            self.term = 1 + max([self.term, *floors])
            self.acts_from_s = self.now_s + WAIT_S
            self.lead_until_s = float("inf")
        self.leader = name
        self.push()

    # --- life and death -------------------------------------------------------------------------

    def boot(self, name: str) -> None:
        """A daemon starts on what is durable of it. It has no view yet."""
        member = self.members[name]
        member.view = unknown(name, "builtin", member.ledger.term, "no heartbeats yet")
        member.core = Reconciler(
            me=name,
            version="1.0.0",
            cluster_id=self.given.desired.cluster.id,
            journal=replay(member.records),
            ledger=member.ledger,
            view=member.view,
            kept=member.tree,
            random=random.Random(1),
            peering=Peering(engine="builtin", mark=f"mark of {name}"),
        )
        try:
            self._carry_out(member, member.core.start(self.now))
        except Fallen:
            return
        self._exchange(member)
        self.push()

    def kill(self, name: str) -> None:
        member = self.members[name]
        member.core, member.silent = None, PeerState.DEAD
        member.events.clear()
        member.heard.clear()
        member.unsent.clear()

    def reconnect(self, name: str) -> None:
        """Facts go to this node again; what it missed, and what others did of it, is exchanged."""
        self.members[name].cut = False
        self._exchange(self.members[name])

    def _exchange(self, member: Member) -> None:
        if member.cut:
            return
        for other in self.living:
            if other is not member and not other.cut:
                self._take(other, list(member.ledger.facts.values()))
                self._take(member, list(other.ledger.facts.values()))

    def _take(self, member: Member, facts: list[Fact]) -> None:
        """As the edge does: what is news is durable, and then told to the core."""
        before = member.ledger.facts
        member.ledger = member.ledger.merge(facts)
        news = tuple(f for key, f in member.ledger.facts.items() if before.get(key) != f)
        if news:
            member.events.append(FactsMerged(facts=news))

    # --- facts on their way ---------------------------------------------------------------------

    def _send(self, member: Member, fact: Fact) -> None:
        if self.shuffle is None:
            self._deliver(member, [fact])
        else:
            member.unsent += [fact] * self.shuffle.choice([1, 1, 2])
            self.shuffle.shuffle(member.unsent)

    def _deliver(self, member: Member, facts: list[Fact]) -> None:
        for other in self.living:
            if other is not member and not other.cut and not member.cut:
                for fact in facts:
                    self._take(other, [fact])

    def _flush(self, member: Member) -> None:
        """All that this node said is acknowledged by whoever can be reached."""
        facts, member.unsent = member.unsent, []
        self._deliver(member, facts)
        if self.shuffle is not None:
            self.shuffle.shuffle(facts)
            self._deliver(member, facts)

    # --- rounds ---------------------------------------------------------------------------------

    def round(self, *, sees: bool = True) -> None:
        """One moment: calls end, the pool is seen by all, what is due is done."""
        for txn in self.pool.pass_time(self.now_s):
            for member in self.living:
                if txn in member.heard:
                    member.events.append(CallReturned(txn=txn, answer=Done()))
        for member in self.living:
            self._flush(member)
        if any(m.view.voters != m.voters(self.first) for m in self.living):
            self.push()
        if sees:
            self.see()
        self.settle()

    def see(self) -> None:
        for member in self.living:
            seen = self.pool.seen(self.now_s, self.now.epoch_s)
            member.events.append(PoolObserved(observed=self.said.shown(seen)))

    def settle(self) -> None:
        """Everybody takes in what there is for it, until there is nothing more."""
        for _ in range(1_000):
            for member in self.living:
                deadline_s = member.alive.deadline()
                if deadline_s is not None and deadline_s <= self.now_s and not member.events:
                    member.events.append(Tick())
                    self._drain(member)
                    after_s = member.alive.deadline() if member.core is not None else None
                    assert after_s is None or after_s > self.now_s, f"{member.name} spins"
                self._drain(member)
            if not any(member.events for member in self.living):
                return
        raise AssertionError("they never have done with each other")

    def _drain(self, member: Member) -> None:
        while member.events and member.core is not None:
            event = member.events.popleft()
            try:
                self._carry_out(member, member.core.handle(event, self.now))
            except Fallen:
                return

    def pass_s(self, seconds: float) -> None:
        """Rounds until so much time is over."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            ends = [moment for moment in self.pool.moments if moment > self.now_s]
            self.now_s = min([self.now_s + ROUND_S, until_s, *ends])
            self.round()

    def rest(self) -> None:
        """Until nothing more happens, through every wait."""
        quiet = 0
        for _ in range(MOST_ROUNDS):
            before = len(self.pool.log), len(self.performed), self.term
            self.round()
            after = len(self.pool.log), len(self.performed), self.term
            quiet = quiet + 1 if before == after and not self.pool.moments else 0
            statuses = [member.alive.status(self.now) for member in self.living]
            waiting = any(status.in_flight for status in statuses)
            if quiet < (PATIENT_ROUNDS if waiting else QUIET_ROUNDS):
                ends = [moment for moment in self.pool.moments if moment > self.now_s]
                self.now_s = min([self.now_s + ROUND_S, *ends])
                continue
            next_s = min((t for s in statuses if (t := s.plan.next_s) is not None), default=None)
            if next_s is None or next_s > self.given.now.mono_s + HORIZON_S:
                return
            self.now_s, quiet = max(next_s, self.now_s + 0.1), 0
        raise AssertionError("it never comes to rest")

    def ask(self, name: str, ask: Ask) -> Reply:
        reply, effects = self[name].alive.ask(ask, self.now)
        self._carry_out(self[name], effects)
        self.settle()
        return reply

    # --- hands ----------------------------------------------------------------------------------

    def _carry_out(self, member: Member, effects: list[Effect]) -> None:
        for batch in batches(effects):
            member.effects += batch
            if member.name == self.leader and isinstance(batch[0], COUNTED):
                self.counted += 1
                if isinstance(batch[0], Perform):
                    self.begun_at.add(self.counted)
                if self.fall_at is not None and self.counted >= self.fall_at:
                    self._fall(member, batch)
                    continue
            self._do(member, batch)

    def _fall(self, member: Member, batch: list[Effect]) -> None:
        """What befalls the leader at these effects; the next one leads."""
        self.fall_at = None if self.fall_every is None else self.counted + self.fall_every
        fate, lapses = self.fate, self.fate in (Fate.LAPSES, Fate.LAPSES_AFTER)
        if fate in (Fate.DIES_AFTER, Fate.LAPSES_AFTER):
            self._do(member, batch)
        elif fate is Fate.DIES_LATE and isinstance(batch[0], Perform):
            self._flush(member)
            self.pool.send(batch[0].txn, batch[0].call, self.now_s + LATE_S)
        heirs = [name for name in self.names if name != member.name]
        if not lapses:
            self.kill(member.name)
        if fate is Fate.RESTARTS:
            self.boot(member.name)
            self.elect(member.name)
        else:
            living = [name for name in heirs if self.members[name].core is not None]
            self.elect(living[0] if living else None)
        if not lapses:
            raise Fallen
        # Its edge asks at the last moment whether it may, by the view of that moment.
        member.alive.handle(ViewPushed(view=member.view), self.now)
        if fate is Fate.LAPSES:
            self._do(member, batch)

    def _do(self, member: Member, batch: list[Effect]) -> None:
        for effect in batch:
            self._do_one(member, effect)

    def _do_one(self, member: Member, effect: Effect) -> None:
        match effect:
            case Write(record=record):
                member.records.append(record)
            case Share(fact=fact):
                member.ledger = member.ledger.merge([fact])
                self._send(member, fact)
            case Tell(page=page):
                member.told.append(page)
                member.events.append(PageTold(page=page))
            case Look():
                tree = self.heads[member.name]
                lost = SourceFailed(reason="unreachable", message="")
                member.events.append(SourceSeen(head=tree.head) if tree else lost)
            case Fetch():
                tree = self.heads[member.name]
                assert tree is not None
                member.events.append(tree)
            case Probe(name=name):
                answers = self.answers.get(name, None if name in self.members else True)
                member.events.append(Probed(name=name, answers=answers, at_s=self.now_s))
            case StageTree(target=target):
                member.events.append(Staged(target=target, tree=self._tree_of(target.revision)))
            case Perform():
                self._perform(member, effect)
            case _:
                self._take_over(member, effect)

    def _tree_of(self, revision: int) -> TreeLoaded | None:
        """From whichever node can be reached and has it."""
        found = [tree for tree in self.heads.values() if tree and tree.head.revision == revision]
        return found[0] if found and self.stages else None

    def _perform(self, member: Member, effect: Perform) -> None:
        self._flush(member)
        enough = not member.alive.lacking(self._reached(member))
        if not member.alive.may_act(self.now) or not enough:
            answer = Retry(
                reason="LeaseOver" if enough else NOT_SHARED, message="too few know of it"
            )
            member.events.append(CallReturned(txn=effect.txn, answer=answer))
            return
        assert member.name == self.leader, f"{member.name} acts, {self.leader} leads"
        assert self.acts_from_s <= self.now_s < self.lead_until_s, "outside of the lease"
        assert self.said.terms.get(self.term) == f"{member.name} mark of {member.name}", (
            "not claimed"
        )
        assert max(self.said.terms) == self.term, "a higher term is claimed"
        assert not member.ledger.holds, "held"
        self.performed.append((member.name, self.term, effect.call))
        self.pool.begin(effect.txn, effect.call, self.now_s)
        member.heard.add(effect.txn)

    def _take_over(self, member: Member, effect: Effect) -> None:
        match effect:
            case Gather(term=term):
                self._exchange(member)
                member.events.append(Gathered(term=term, names=self._reached(member)))
            case Announce(term=term):
                self._flush(member)
                member.events.append(Announced(term=term, names=self._reached(member)))
            case ClaimTerm():
                member.events.append(self.said.answer(effect))
            case RevokeSession(term=term, sealed=sealed):
                holder = self.sessions.pop(sealed, None)
                if holder is not None and self.members[holder].core is not None:
                    self.members[holder].events.append(SessionEnded())
                member.events.append(SessionRevoked(term=term, done=True))
            case OpenSession(term=term):
                sealed = f"sealed {member.name} {term} {self.now_s}"
                self.sessions[sealed] = member.name
                member.events.append(SessionOpened(term=term, sealed=sealed))
            case CloseSession():
                self.sessions = {k: n for k, n in self.sessions.items() if n != member.name}

    def _reached(self, member: Member) -> tuple[str, ...]:
        others = () if member.cut else self.living
        return tuple(other.name for other in others if other is not member and not other.cut)

    # --- what can be said in the end --------------------------------------------------------------

    def foreign(self) -> Iterator[str]:
        """What any node holds to be the doing of somebody else."""
        for member in self.members.values():
            for entry in member.entries:
                if isinstance(entry, ForeignChange):
                    yield f"{member.name}: {entry.object} {entry.message}"

    def end(self) -> list[str]:
        """What the pool is in the end, as people would say it."""
        return described(self.pool.observed)


def sitting(wanted: Desired, real: Observed, revision: int = REVISION) -> Expanded:
    """A cluster whose tree in force is `wanted` at r`revision`, as `Parliament` takes it."""
    target = Target(repository=REPOSITORY, revision=revision, digest=digest(revision), path="/")
    fact = Fact(key="target", term=1, seq=1, at_epoch_s=EPOCH_S, value=target)
    return Expanded(
        desired=wanted,
        observed=real,
        records=(),
        ledger=Ledger().merge([fact]),
        view=unknown(NAMES[0], "builtin", 1, ""),
        now=Now(mono_s=MONO_S, epoch_s=EPOCH_S),
    )


def parliament(wanted: Desired, real: Observed, **more: Any) -> Parliament:
    """Three nodes on r7, which is `wanted`; nobody leads yet."""
    given = sitting(wanted, real)
    return Parliament(given, tree=loaded(REVISION, wanted), **more)
