"""The reconciler: where observation, wish, view and memory meet. Events in, ordered effects out.

It holds the latest snapshots and the fold of the journal, nothing else. Each step recomputes the plan
and emits what is ready and not in flight. A call is announced in the journal before it is made, and
is over only when an observation newer than its return says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

from msgspec.structs import replace

from fencing import may_run
from membership.clock import Now
from membership.ledger import HOLD, Approval, Fact, FactValue, Hold, Ledger
from membership.roster import Candidacy
from membership.view import View
from reconciler.accusing import Hearing, accused
from reconciler.actions import (
    NOT_SHARED,
    Answer,
    Plan,
    PoolMigrate,
    ResumeOn,
    Retry,
    StartOn,
    Waits,
)
from reconciler.arrivals import Arrivals
from reconciler.asking import decide
from reconciler.deaths import Deaths
from reconciler.diff import diff
from reconciler.drift import Drift
from reconciler.facts import Facts
from reconciler.foretelling import outlived, still_told, taken_in, told
from reconciler.guests import Guests
from reconciler.inflight import foreign_resets, found_open, limit_s, settle
from reconciler.journal import InFlight, JournalState
from reconciler.leading import Ground, Leading, Moves
from reconciler.looking import Looking
from reconciler.messages import (
    Announced,
    Ask,
    CallReturned,
    Effect,
    Event,
    FactsMerged,
    FetchFailed,
    Gathered,
    GuestProbed,
    HandOver,
    PageTold,
    Perform,
    PoolLost,
    PoolObserved,
    Probed,
    Refresh,
    Reply,
    SessionEnded,
    SessionOpened,
    SessionRevoked,
    Share,
    SourceFailed,
    SourceSeen,
    Staged,
    Tell,
    TermClaimed,
    Tick,
    TreeLoaded,
    ViewPushed,
    Write,
)
from reconciler.mustering import ALONE, Peering
from reconciler.noticing import noticed
from reconciler.observed import STALE_AFTER_S, Observed
from reconciler.pager import Pager
from reconciler.paging import Page
from reconciler.plan import plan
from reconciler.records import (
    Answered,
    AnyEntry,
    Converged,
    DaemonStarted,
    Diverged,
    Excepted,
    Foretold,
    FoundOpen,
    Intended,
    Record,
    Retried,
    SourceBack,
    SourceLost,
)
from reconciler.report import report
from reconciler.revisions import NOTHING, HeadState, Revisions, Verdict, trusted
from reconciler.sightings import excuses, sight
from reconciler.situations import situation
from reconciler.staging import Staging
from reconciler.status import Status
from reconciler.survival import Survival
from reconciler.warding import WardEvent, Warding
from reconciler.whatif import WhatIf, foretold
from reconciler.why import Why, explain
from schema.model import Desired, Source
from schema.model import Retry as RetryPolicy

STEP_INTERVAL_S = 1.0
"""At most one plan a second: a busy pool sends events much faster than anything can change course."""


JITTER = 0.2
"""Back-off is longer by up to this share, so that what failed together is not tried together."""

FETCH_FACTOR = 6.0
"""An export may take so many times as long as a look."""


class Reconciler:
    """One daemon's core. Not thread-safe; `now` never goes back."""

    def __init__(
        self,
        *,
        me: str,
        version: str,
        cluster_id: str,
        journal: JournalState,
        ledger: Ledger,
        view: View,
        kept: TreeLoaded | None,
        random: Random,
        peering: Peering = ALONE,
    ) -> None:
        self._me = me
        self._version = version
        self._cluster_id = cluster_id
        self._journal = journal
        self._ledger = ledger
        self._view = view
        self._leading = Leading(me, peering, view)
        self._pager = Pager(me)
        self._guests = Guests()
        self._survival = Survival()
        self._warding = Warding()
        self._arrivals = Arrivals()
        self._deaths: Deaths | None = None
        self._random = random
        kept = trusted(kept, ledger.target)
        self._revisions = Revisions(cluster_id, kept)
        self._observed: Observed | None = None
        self._lost: PoolLost | None = None
        self._drift: Drift | None = None
        self._plan = Plan()
        self._planned_for: int | None = None
        self._proposed: Plan | None = None
        self._proposed_for: TreeLoaded | None = None
        self._proof_s: float | None = None
        self._stepped_s: float | None = None
        self._due_s: float | None = None
        self._fresh = False
        self._looking = Looking(random)
        self._effects: list[Effect] = []
        self._desired_before: Desired | None = kept.desired if kept is not None else None
        self._staging = Staging()

    # --- the surface ----------------------------------------------------------------------------

    def start(self, now: Now) -> list[Effect]:
        """What a daemon does first: what was in flight has lost its caller, and Subversion is looked at."""
        self._write(now, DaemonStarted(version=self._version, node=self._me, term=self._view.term))
        self._tell_again(now)
        self._take_in(self._ledger.facts.values(), now)
        self._look(now)
        self._lead(now)
        return self._taken()

    def handle(self, event: Event, now: Now) -> list[Effect]:
        """Take one event in; the effects are to be performed in their order."""
        match event:
            case PoolObserved(observed=observed):
                self._observe(observed, now)
            case PoolLost():
                self._lost = event
            case SourceSeen() | SourceFailed():
                self._looked(event, now)
            case TreeLoaded() | FetchFailed():
                self._loaded(event, now)
            case CallReturned(txn=txn, answer=answer):
                self._answer(txn, answer, now)
            case ViewPushed(view=view):
                if not self._leading.pushed(view):
                    self._wake(now)
            case FactsMerged(facts=facts):
                self._ledger = self._ledger.merge(facts)
                self._arrivals.note(facts, now)
                self._take_in(facts, now)
                self._wake(now)
            case Gathered() | Announced() | TermClaimed() | SessionRevoked() | SessionOpened():
                self._carry(self._leading.answered(event, self._ground(), now), now)
            case SessionEnded():
                self._leading.session_ended(event)
            case Probed():
                self._leading.probing.probed(event)
                self._wake(now)
            case GuestProbed():
                self._carry(self._guests.answered(event, self._ledger, self._view.term), now)
            case Staged():
                self._staged(event, now)
            case PageTold(page=page):
                self._told_people(page, now)
            case Tick():
                pass
            case _:
                self._warded(event, now)
        self._lead(now)
        self._advance(now)
        return self._taken()

    def ask(self, ask: Ask, now: Now) -> tuple[Reply, list[Effect]]:
        """Take in a request of a person."""
        decision = decide(ask, self._facts(now), now)
        for entry in decision.entries:
            self._write(now, entry)
        for key, value in decision.facts:
            self._share(now, key, value)
        reply = decision.reply
        if decision.approve is not None:
            self._follow(self._revisions.approve(decision.approve, self._ledger.target), now)
        if decision.look:
            reply = replace(reply, look=self._looking.asked(now))
            self._effects.append(Refresh())
        if decision.read:
            self._read_devices(decision.read, now)
        if decision.hand_over is not None:
            self._effects.append(HandOver(to=decision.hand_over))
        if reply.accepted:
            self._wake(now)
        self._lead(now)
        self._advance(now)
        return reply, self._taken()

    def deadline(self) -> float | None:
        """The monotonic moment at which time alone asks for a `Tick`."""
        moments = [
            self._due_s,
            self._looking.deadline_s,
            self._leading.deadline_s,
            self._pager.deadline_s,
            self._guests.deadline_s,
            self._staging.deadline_s,
        ]
        return min((moment for moment in moments if moment is not None), default=None)

    def status(self, now: Now) -> Status:
        return report(self._facts(now), now)

    def why(self, obj: str, now: Now) -> Why:
        """What is known about one object: its rows, its past, and what placement says of it."""
        return explain(obj, self._facts(now), now)

    def what_if(self, down: Sequence[str], now: Now) -> WhatIf | Reply:
        """What would become of these nodes and their VMs, if they fell silent now."""
        desired, observed = self._desired(), self._observed
        if desired is None or observed is None:
            return foretold(None, down)
        return foretold(self._hearing(desired, observed, now), down)

    def candidacy(self) -> Candidacy:
        """That this node may be chosen to lead, as of now; and what its peers are told of it."""
        return Candidacy(
            floor=self._leading.floor(self._ledger, self._observed),
            notes=self._leading.notes(self._ground()),
            healthy=self._leading.stands(),
        )

    def may_act(self, now: Now) -> bool:
        """Whether a call may be begun at this very moment: it may have waited for others to know."""
        return self._leading.may_act(now) and not self._ledger.holds

    def fences(self, now: Now) -> bool:
        """Whether this node may, as far as its leadership goes, have another one powered off now."""
        return self._leading.fences(now)

    def acts_alone(self, now: Now) -> bool:
        """Whether this node acts without its only possible successor, which would hold if it led next
        without our ledger."""
        return self._leading.acts_alone(now)

    def lacking(self, names: Iterable[str]) -> str:
        """What is missing for an effect where of the peers only these know what it rests on; "" where
        nothing is. As of this very moment: who was well when it was planned may be dead by now."""
        return self._leading.lacking(names)

    # --- fencing --------------------------------------------------------------------------------

    def _hearing(self, desired: Desired, observed: Observed, now: Now) -> Hearing:
        return Hearing(
            me=self._me,
            desired=desired,
            observed=observed,
            view=self._view,
            ledger=self._ledger,
            journal=self._journal,
            probing=self._leading.probing,
            leads=self._leading.fences(now) and self._ground().follows,
            acts=self._leading.may_act(now),
            now=now,
            arrivals=self._arrivals,
        )

    def _guard(self, at: Hearing) -> Deaths:
        """Judge every node, on every node; go on with it where this one leads."""
        self._deaths = accused(at)
        self._carry(self._warding.step(at, self._deaths), at.now)
        return self._deaths

    def _warded(self, event: WardEvent, now: Now) -> None:
        """Fence devices or members of the pool have answered."""
        if self._observed is not None and (desired := self._desired()) is not None:
            at = self._hearing(desired, self._observed, now)
            self._carry(self._warding.took(event, at), now)
        self._wake(now)

    def _read_devices(self, nodes: tuple[str, ...], now: Now) -> None:
        """Look at the fence devices of these nodes, for whoever asked."""
        desired = self._desired()
        if desired is not None and self._observed is not None:
            at = self._hearing(desired, self._observed, now)
            self._carry(self._warding.guarding.read(nodes, at), now)

    # --- leading --------------------------------------------------------------------------------

    def _ground(self) -> Ground:
        revisions, agreed = self._revisions, self._ledger.target
        ready = revisions.target or revisions.candidate
        follows = revisions.follows(agreed) or (agreed is not None and revisions.goes_back(agreed))
        return Ground(self._ledger, self._journal, self._observed, ready, follows)

    def _lead(self, now: Now) -> None:
        """Bring forward what has to do with peers: who leads, what was agreed, who is to be told."""
        self._carry(self._leading.step(self._ground(), now), now)
        self._view = self._leading.view(now)
        self._agree(now)
        self._alarm(now)

    def _carry(self, moves: Moves, now: Now) -> None:
        for entry in moves.entries:
            self._write(now, entry)
        for id_, reason in moves.holds.items():
            # Before the term that it is about: whoever knows that one asks for no hold any more.
            self._hold(id_, reason, now)
        self._share_all(now, moves.facts)
        self._effects += moves.effects
        if moves.entries or moves.facts:
            self._wake(now)

    def _hold(self, id_: str, reason: str, now: Now) -> None:
        """One that stands is not raised twice, nor one that was released once more."""
        hold, key = Hold(id=id_, reason=reason, by="cxm"), f"{HOLD}{id_}"
        if key in self._ledger.facts:
            return
        self._share(now, key, hold)
        self._write(now, Excepted(object="cluster", message=f"held: {reason}", fact=hold))

    def _agree(self, now: Now) -> None:
        """One revision for all: the leader says which, the others follow."""
        agreed, approved = self._ledger.target, self._ledger.get("approval", Approval)
        decides = self._leading.decides(now)
        verdict = self._revisions.agree(agreed, approved, decides=decides)
        if verdict is not NOTHING:
            self._follow(verdict, now)
        elif not self._view.alone:
            self._stage(now)

    def _stage(self, now: Now) -> None:
        agreed, target = self._ledger.target, self._revisions.target
        if agreed is None or self._revisions.follows(agreed):
            self._staging.done()
        elif self._revisions.goes_back(agreed):
            self._staging.done()
            if self._leading.may_act(now) and target is not None:
                self._share(now, "target", self._revisions.name_of(target))
        else:
            timeout_s = FETCH_FACTOR * self._settings().timeout_s
            request = self._staging.due(self._revisions, agreed, timeout_s, now)
            self._effects += [request] if request is not None else []

    def _staged(self, event: Staged, now: Now) -> None:
        self._staging.ended(now)
        if event.tree is not None:
            verdict = self._revisions.follow(event.tree, self._ledger.target)
            if verdict is not NOTHING:
                self._follow(verdict, now)

    def _take_in(self, facts: Iterable[Fact], now: Now) -> None:
        for entry in tuple(taken_in(facts, self._journal, self._me, now)):
            self._write(now, entry)
            if isinstance(entry, Answered) and not self._journal.in_flight[entry.txn].by:
                self._tell_answer(self._journal.in_flight[entry.txn], now)

    def _answer(self, txn: str, answer: Answer, now: Now) -> None:
        if txn not in self._journal.in_flight:
            return
        self._write(now, Answered(txn=txn, answer=answer))
        if isinstance(answer, Retry) and answer.reason == NOT_SHARED:
            self._leading.untold = answer.message or answer.reason
        self._tell_answer(self._journal.in_flight[txn], now)

    def _tell_answer(self, flight: InFlight, now: Now) -> None:
        term = still_told(flight, self._ledger)
        if not self._view.alone and term is not None:
            self._share(now, *told(self._me, flight), term=term)

    def _tell_again(self, now: Now) -> None:
        """Whoever follows our calls is to know that those before this start have lost their caller."""
        for flight in list(self._journal.in_flight.values()):
            if not flight.by:
                self._tell_answer(flight, now)

    def _alarm(self, now: Now) -> None:
        """Tell people what began and what is over."""
        leaderless_s, cannot = self._leading.leaderless_s(now), self._leading.patience.cannot
        seen = situation(self._facts(now), leaderless_s, cannot, now)
        self._effects += [Tell(page=page) for page in self._pager.due(seen, now)]

    def _told_people(self, page: Page, now: Now) -> None:
        entry, (key, value) = self._pager.was_told(page)
        self._write(now, entry)
        self._share(now, key, value)

    # --- events -------------------------------------------------------------------------------

    def _observe(self, observed: Observed, now: Now) -> None:
        self._observed = foreign_resets(self._journal, observed)
        self._lost = None
        self._fresh = True
        self._wake(now)

    def _loaded(self, event: TreeLoaded | FetchFailed, now: Now) -> None:
        if isinstance(event, FetchFailed):
            if event.head == self._revisions.head and self._revisions.failed():
                self._lose(event, now)
            return
        approved = self._ledger.get("approval", Approval)
        decides = self._leading.decides(now)
        verdict = self._revisions.loaded(event, self._ledger.target, approved, decides=decides)
        self._follow(verdict, now)
        if self._revisions.state is not HeadState.DOUBTED:
            self._believe(now)

    def _looked(self, event: SourceSeen | SourceFailed, now: Now) -> None:
        self._looking.ended()
        if isinstance(event, SourceFailed):
            self._lose(event, now)
            return
        fetch_s = FETCH_FACTOR * self._settings().timeout_s
        verdict = self._revisions.seen(event.head, self._ledger.target, fetch_s)
        self._follow(verdict, now)
        if self._revisions.settled:
            self._believe(now)

    def _believe(self, now: Now) -> None:
        """Subversion answered, and what it showed is here. A head that cannot be fetched is no answer."""
        self._looking.believed(now)
        if self._journal.source_lost is not None:
            self._write(now, SourceBack())

    def _lose(self, event: SourceFailed | FetchFailed, now: Now) -> None:
        self._looking.failed()
        lost = SourceLost(reason=event.reason, message=event.message)
        if lost != self._journal.source_lost:
            self._write(now, lost)

    def _follow(self, verdict: Verdict, now: Now) -> None:
        """Carry out what the revisions decided. The ledger knows the target before anybody acts on it."""
        before = self._desired_before
        if self._revisions.candidate is not self._proposed_for:
            # What was proposed belonged to another head, and nobody is to approve it for this one.
            self._proposed, self._proposed_for = None, self._revisions.candidate
        for entry in verdict.entries:
            if not (isinstance(entry, SourceLost) and entry == self._journal.source_lost):
                self._write(now, entry)
        if verdict.fetch is not None:
            self._effects.append(verdict.fetch)
        if verdict.keep is not None:
            self._effects.append(verdict.keep)
        if verdict.target is not None:
            self._share(now, "target", verdict.target)
        if verdict.keep is not None:
            self._effects.append(Refresh())
            self._another_chance(before, now)
        self._desired_before = self._desired()
        self._wake(now)

    def _another_chance(self, before: Desired | None, now: Now) -> None:
        """A new wish for an object ends its back-off: what failed was the old one."""
        for name, subject in tuple(self._facts(now).wished_anew(before)):
            if subject in self._journal.backoff:
                self._write(now, Retried(object=name, subject=subject, by=f"r{self._in_force()}"))

    def _settings(self) -> Source:
        desired = self._desired()
        return desired.cluster.source if desired is not None else Source()

    def _look(self, now: Now) -> None:
        self._effects.append(self._looking.begin(self._settings(), now))

    # --- one step -------------------------------------------------------------------------------

    def _wake(self, now: Now) -> None:
        """Something changed: plan again, but not within a second of the last time."""
        earliest = now.mono_s
        if self._stepped_s is not None:
            earliest = max(earliest, self._stepped_s + STEP_INTERVAL_S)
        self._due_s = earliest if self._due_s is None else min(self._due_s, earliest)

    def _advance(self, now: Now) -> None:
        if self._looking.due(now):
            self._look(now)
        if self._due_s is not None and self._due_s <= now.mono_s:
            self._step(now)
        self._carry(self._guests.due(self._drift, now, leads=self._leading.may_act(now)), now)

    def _step(self, now: Now) -> None:
        self._stepped_s = now.mono_s
        self._due_s = None
        observed, desired = self._observed, self._desired()
        if observed is None:
            return
        # Where the pool's master is what died, nobody sees the pool, and it is fenced all the same.
        at = self._hearing(desired, observed, now) if desired is not None else None
        deaths = self._guard(at) if at is not None else None
        if observed.age_s(now.mono_s) > STALE_AFTER_S:
            self._due_s = now.mono_s + STEP_INTERVAL_S
            return
        if at is not None and self._fresh:
            self._learn(at, now)
            self._fresh = False
        self._proposed = self._propose(observed, now)
        if desired is None or deaths is None:
            return
        self._drift, self._plan = self._compared(desired, observed, deaths, now)
        if self._leading.untold:
            waits = Waits(on="sharing", message=self._leading.untold)
            self._plan = self._plan.kept_waiting(waits)
        self._planned_for = self._in_force()
        if self._leading.may_act(now) and self._ground().follows:
            self._emit(desired, now)
            for key, gone in () if self._view.alone else outlived(self._ledger, self._journal, now):
                self._share(now, key, gone)
                self._take_in([self._ledger.facts[key]], now)
        for entry in tuple(noticed(self._plan, self._journal)):
            self._write(now, entry)
        self._prove(observed, now)
        self._survival.step(self._hearing(desired, observed, now), deaths)
        self._due_s = self._next(desired, now)

    def _learn(self, at: Hearing, now: Now) -> None:
        """Let the observation settle what was in flight, and remember what was seen of each VM."""
        observed, ours = at.observed, excuses(self._journal)
        policy: RetryPolicy = at.desired.cluster.reconcile.retry
        for settled in list(settle(self._journal, observed, policy)):
            wait_s = settled.backoff_s * (1.0 + JITTER * self._random.random())
            self._write(now, replace(settled, backoff_s=wait_s))
        for node in sorted(found_open(self._journal, observed)):
            self._write(now, FoundOpen(node=node))
        self._guests.seen(observed, now)
        for entry in sight(at.adoption, self._journal, ours, now.mono_s):
            self._write(now, entry)

    def _compared(
        self, desired: Desired, observed: Observed, deaths: Deaths, now: Now
    ) -> tuple[Drift, Plan]:
        ledger, journal, runs = self._ledger, self._journal, self._guests.runs
        drift = diff(desired, observed, ledger, journal, deaths, runs, now)
        return drift, plan(drift, desired, observed, self._view, ledger, journal, None, now)

    def _propose(self, observed: Observed, now: Now) -> Plan | None:
        """What the gated head would do, if it were approved."""
        candidate = self._revisions.candidate
        gated = self._revisions.state is HeadState.GATED
        if not gated or candidate is None or candidate.desired is None:
            return None
        deaths = accused(self._hearing(candidate.desired, observed, now))
        return self._compared(candidate.desired, observed, deaths, now)[1]

    def _emit(self, desired: Desired, now: Now) -> None:
        for action in self._plan.ready:
            call = action.call
            assert call is not None
            txn = f"cxm-{self._view.term}-{self._journal.last_seq + 1}"
            if call.subject in self._journal.busy:
                continue
            if not self._view.alone:
                self._write(now, Foretold(txn=txn, subject=call.subject))
            self._write(now, Intended(txn=txn, action=action, subject=call.subject))
            if isinstance(call, StartOn | ResumeOn | PoolMigrate):
                self._may_run(call, now)
            if not self._view.alone:
                begun = told(self._me, self._journal.in_flight[txn])
                self._share(now, *begun, term=self._view.term)
            timeout_s = limit_s(call, action.object, desired)
            self._effects.append(Perform(txn=txn, call=call, timeout_s=timeout_s))

    def _may_run(self, call: StartOn | ResumeOn | PoolMigrate, now: Now) -> None:
        """Before a call that can make a domain, the ledger says where."""
        assert self._drift is not None
        stamp = (self._view.term, self._ledger.next_seq)
        grown = self._drift.deaths.grown(self._ledger, call.vm, call.node, stamp)
        if grown is not None:
            self._share(now, may_run.key(call.vm), grown, term=self._view.term)

    # --- what people are told -------------------------------------------------------------------

    def _prove(self, observed: Observed, now: Now) -> None:
        revision = self._in_force()
        assert revision is not None
        newer = observed.as_of_s > self._journal.targeted_s
        idle = self._plan.empty and not self._journal.in_flight
        quiet = idle and observed.complete and newer
        if quiet:
            self._proof_s = observed.as_of_s
            if not self._journal.in_sync:
                self._write(now, Converged(revision=revision))
        elif self._journal.in_sync and not idle:
            self._write(now, Diverged(revision=revision))

    def _next(self, desired: Desired, now: Now) -> float:
        """When time alone changes the plan: a wait ends, a freeze expires, the interval is over."""
        expiry = self._ledger.next_expiry(now)
        moments = [
            now.mono_s + desired.cluster.reconcile.interval_s,
            self._plan.next_s,
            self._survival.due_s,
            self._warding.deadline_s,
            None if expiry is None else now.mono_s + expiry,
            self._proposed.next_s if self._proposed is not None else None,
        ]
        known = [moment for moment in moments if moment is not None]
        return max(min(known), now.mono_s + STEP_INTERVAL_S)

    def _in_force(self) -> int | None:
        target = self._revisions.target
        return target.head.revision if target is not None else None

    # --- small things ---------------------------------------------------------------------------

    def _desired(self) -> Desired | None:
        target = self._revisions.target
        return target.desired if target is not None else None

    def _write(self, now: Now, entry: AnyEntry) -> None:
        record = Record(seq=self._journal.last_seq + 1, at_s=now.mono_s, entry=entry)
        self._journal.apply(record)
        self._effects.append(Write(record=record))

    def _share_all(self, now: Now, facts: Iterable[tuple[str, FactValue, int]]) -> None:
        """As `_share`, of as many facts as a pool has VMs."""
        first = self._ledger.next_seq
        new = [
            Fact(key=key, term=term, seq=seq, at_epoch_s=now.epoch_s, value=value)
            for seq, (key, value, term) in enumerate(facts, start=first)
        ]
        if new:
            self._ledger = self._ledger.merge(new)
            self._arrivals.note(new, now)
            self._effects += [Share(fact=fact) for fact in new]

    def _share(self, now: Now, key: str, value: FactValue, *, term: int | None = None) -> None:
        """`term`: in which this was begun, where that must not outrank what a successor says since."""
        fact = Fact(
            key=key,
            term=max(self._view.term, self._ledger.term) if term is None else term,
            seq=self._ledger.next_seq,
            at_epoch_s=now.epoch_s,
            value=value,
        )
        self._ledger = self._ledger.merge([fact])
        self._arrivals.note([fact], now)
        self._effects.append(Share(fact=fact))

    def _taken(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def _facts(self, now: Now) -> Facts:
        desired, observed = self._desired(), self._observed
        return Facts(
            me=self._me,
            version=self._version,
            cluster_id=self._cluster_id,
            view=self._view,
            ledger=self._ledger,
            journal=self._journal,
            revisions=self._revisions,
            observed=self._observed,
            lost=self._lost,
            drift=self._drift,
            plan=self._plan,
            planned=self._planned_for,
            proposed=self._proposed,
            proof_s=self._proof_s,
            looks=self._looking.looks,
            answered_s=self._looking.answered_s,
            failures=self._looking.failures,
            hearing=self._hearing(desired, observed, now) if desired and observed else None,
            deaths=self._deaths,
            readings=self._warding.guarding.readings,
            stage=self._leading.takeover.stage,
            hindrance=self._warding.promoting.message or self._leading.hindrance,
            decides=self._leading.decides(now),
            survives=self._survival.survives,
        )
