"""Leading: whether this node may act, what it has to do for that, and what it knows of its peers.

With engine `single` there is nobody else, and nothing here has anything to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from msgspec.structs import replace

from membership.clock import Now
from membership.ledger import HOLD, FactValue, FoundedVoters, Ledger, SealedSession
from membership.proofs import UNREAD, Unread
from membership.roster import Roster
from membership.view import LEDGER, PeerState, View
from reconciler.deaths import headless
from reconciler.holding import heard_of, noted
from reconciler.journal import JournalState
from reconciler.messages import (
    Announce,
    Announced,
    CloseSession,
    Effect,
    Gathered,
    Muster,
    Refresh,
    SessionEnded,
    SessionOpened,
    TermClaimed,
    TreeLoaded,
)
from reconciler.mustering import STAGED, Peering, change, found, muster, staged
from reconciler.observed import Observed
from reconciler.patience import Patience
from reconciler.probing import Probing, asked
from reconciler.records import AnyEntry, Excepted, LeaderChanged, TookOver
from reconciler.reigns import Reigns, led_alone
from reconciler.sharing import by_itself, lacking, level, silent
from reconciler.sharing import unread as unread_of
from reconciler.takeover import READ, SAID, Stage, Takeover, TakeoverEvent
from schema.model import Desired, Mode

REFRESH_EVERY_S = 1.0
GATHER_FOR_S = 15.0
"""So long the ledger of a voter that is alive is asked for, before its silence is taken for an answer."""


@dataclass(slots=True)
class Moves:
    """What a step of leading wants: entries for the journal, facts for the ledger with the term that they
    are said in, then effects."""

    entries: list[AnyEntry] = field(default_factory=list)
    facts: list[tuple[str, FactValue, int]] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    holds: dict[str, str] = field(default_factory=dict)
    """The ids of holds that are to be raised, each with why everything is to be held."""

    def add(self, more: Moves) -> None:
        """What is wanted as well, after this."""
        self.entries += more.entries
        self.facts += more.facts
        self.effects += more.effects
        self.holds |= more.holds


@dataclass(frozen=True, slots=True)
class Ground:
    """What leading is judged by. `tree` is what is in force, or ready where nothing is yet; `follows`:
    what is in force is what was agreed."""

    ledger: Ledger
    journal: JournalState
    observed: Observed | None
    tree: TreeLoaded | None
    follows: bool

    @property
    def desired(self) -> Desired | None:
        return self.tree.desired if self.tree is not None else None


class Leading:
    """One node's leadership. `view` is what the engine said last, with blind peers told apart."""

    def __init__(self, me: str, peering: Peering, view: View) -> None:
        self.takeover = Takeover(me, peering.mark)
        self.patience = Patience()
        self.untold = ""  # Why too few voters know what the last call rested on, until they do.
        self.probing = Probing()
        self._me = me
        self._peering = peering
        self._pushed = view
        self._roster: Roster | None = None
        self._leaderless_s: float | None = None
        self._session = False
        self._acts_s: float | None = None
        self._refreshed_s = float("-inf")
        self._hands_off = False
        self._elected = 0
        self._elected_s = 0.0
        self._outranked = False
        self._reigns = Reigns()
        self._by_itself = False

    # --- what others ask ------------------------------------------------------------------------

    def view(self, now: Now) -> View:
        """The view in which a silent peer whose server answers is blind, not dead."""
        peers = {
            name: replace(peer, state=PeerState.BLIND) if self._answers(name, now) else peer
            for name, peer in self._pushed.peers.items()
        }
        return replace(self._pushed, peers=peers)

    def _answers(self, name: str, now: Now) -> bool:
        silent = self._pushed.peers[name].state in (PeerState.SUSPECT, PeerState.DEAD)
        return silent and self.probing.answers(name, now)

    def may_act(self, now: Now) -> bool:
        """Inside the lease, after the wait, with the term claimed and the predecessor's session over."""
        view = self._pushed
        if not view.may_act(now.mono_s):
            return False
        return self._peering.alone or self.takeover.acts(view.term)

    def acts_alone(self, now: Now) -> bool:
        """Whether this node acts without the one that could lead in its place, and the pool was told so:
        that one finds there, when it leads next, that it has missed something, and holds everything."""
        return self._by_itself and self.may_act(now)

    def decides(self, now: Now) -> bool:
        """Whether this node says which revision is in force. Where cxm only observes, no term is
        claimed: then it is enough to lead. Whoever has no tree yet does not know that it is so, and
        may have lost its ledger: it takes over first."""
        if self._peering.alone or self.may_act(now):
            return True
        return self._pushed.may_act(now.mono_s) and self._hands_off and not self._outranked

    def fences(self, now: Now) -> bool:
        """Whether this node may have others powered off: with the ledgers read, whether or not the pool
        can be asked. What it begins is ended with its lease, and costs nothing but availability."""
        if self.may_act(now):
            return True
        read = self.takeover.stage in READ and self.takeover.term == self._pushed.term
        return read and self._pushed.may_act(now.mono_s)

    def leaderless_s(self, now: Now) -> float | None:
        """For how long nobody has led; None where somebody does."""
        return None if self._leaderless_s is None else now.mono_s - self._leaderless_s

    @property
    def deadline_s(self) -> float | None:
        """When time alone brings leading forward."""
        moments = [
            self.takeover.deadline_s,
            self._acts_s,
            self.patience.deadline_s,
            self.probing.deadline_s,
        ]
        return min((moment for moment in moments if moment is not None), default=None)

    def floor(self, ledger: Ledger, observed: Observed | None) -> int:
        """The highest term that anything here knows of: the next one must be above it."""
        pool = observed.pool.term if observed is not None else 0
        return max(ledger.term, pool, self.takeover.beaten_by)

    def stands(self) -> bool:
        """Whether this node may be chosen: not while the term it leads in is another's, nor just after it
        led in vain."""
        lost = self.takeover.stage is Stage.LOST and self.takeover.term == self._pushed.term
        outranked = self._outranked and self._pushed.leader == self._me
        return not (lost or outranked or self.patience.aside)

    def lacking(self, names: Iterable[str]) -> str:
        """As `sharing.lacking`, by what the engine said last."""
        return lacking(self._pushed, names)

    # --- events ---------------------------------------------------------------------------------

    def pushed(self, view: View) -> bool:
        """Take in a view; True where it says nothing new."""
        same = view.same(self._pushed)
        self._pushed = view
        return same

    @property
    def hindrance(self) -> str:
        """What keeps this node, where it leads, from acting; "" where nothing is known to."""
        return self.untold or self.takeover.message

    def session_ended(self, event: SessionEnded) -> None:
        del event
        self.takeover.session_ended()

    def answered(self, event: TakeoverEvent, ground: Ground, now: Now) -> Moves:
        """What came of an effect of taking over. Facts of it are shared before the next effect, in the
        term that it was for: what comes late is never said in the name of a successor's."""
        moves = Moves()
        match event:
            case Gathered(names=names):
                event = replace(event, message=self._unread(names, now))
            case Announced(names=names):
                lack = lacking(self._pushed, names)
                event = replace(event, message=f"facts are shared with {lack}" if lack else "")
        if not self._in_term(event.term, now) or not self.takeover.answered(event, now):
            if isinstance(event, SessionOpened) and event.sealed:
                moves.effects.append(CloseSession())
            return moves
        match event:
            case Announced():
                self.untold = ""
            case Gathered(names=names):
                if unread := unread_of(self._pushed, names):
                    why = f"the ledger of {', '.join(unread)} was not read"
                    moves.facts.append((UNREAD, Unread(why=why), event.term))
            case TermClaimed(before=before, before_by=before_by):
                if _rolled_back(ground.ledger, before[0], event.term):
                    why = f"the pool's database is an older one: it knows no term above {before[0]}"
                    moves.facts.append((UNREAD, Unread(why=why), event.term))
                self._reigns.judge(before, before_by)
                moves.holds = self._reigns.holds(ground.ledger)
            case SessionOpened(sealed=sealed):
                self._session = True
                session = SealedSession(node=self._me, sealed=sealed)
                moves.facts.append(("session", session, event.term))
        return moves

    def _in_term(self, term: int, now: Now) -> bool:
        """Whether this node leads, and in this term: by then another may."""
        return self._pushed.leads(now.mono_s) and self._pushed.term == term

    def _unread(self, names: tuple[str, ...], now: Now) -> str:
        """What keeps us from going on with the ledgers of these peers; "" where nothing does."""
        lack = lacking(self._pushed, names)
        if lack:
            return f"the ledgers could be read of {lack}"
        missing = silent(self._pushed, names)
        if missing and now.mono_s - self.patience.since_s < GATHER_FOR_S:
            return f"the ledger of {', '.join(missing)} could not be read yet"
        return ""

    def step(self, ground: Ground, now: Now) -> Moves:
        """Bring everything forward that can be by now."""
        moves = Moves()
        if self._peering.alone:
            return moves
        self._note_leader(ground, now, moves)
        _take_holds(self._pushed, ground.ledger, moves)
        if not lacking(self._pushed, level(self._pushed, ground.ledger)):
            self.untold = ""
        self._muster(ground, now, moves)
        self._take_over(ground, now, moves)
        self._probe(ground, now, moves)
        return moves

    def _note_leader(self, ground: Ground, now: Now, moves: Moves) -> None:
        view = self._pushed
        waits = view.leads(now.mono_s) and view.acts_from_s > now.mono_s
        self._acts_s = view.acts_from_s if waits else None
        if view.leader is not None:
            self._leaderless_s = None
        elif self._leaderless_s is None:
            self._leaderless_s = now.mono_s
        if (view.leader, view.term) != ground.journal.leader:
            changed = LeaderChanged(leader=view.leader, term=view.term, reason=view.reason)
            moves.entries.append(changed)

    def _take_over(self, ground: Ground, now: Now, moves: Moves) -> None:
        takeover, desired = self.takeover, ground.desired
        self._hands_off = desired is not None and desired.cluster.mode is Mode.OBSERVE
        wanted = desired is not None and not self._hands_off
        if self._pushed.leads(now.mono_s) and self._pushed.term != self._elected:
            self._elected, self._elected_s = self._pushed.term, now.mono_s
            self.untold = ""
        takeover.follow(self._pushed, now, wanted=wanted)
        if ground.observed is not None and ground.observed.pool.term > takeover.term:
            takeover.superseded(ground.observed.pool.term)
        self._outranked = ground.ledger.term > self._pushed.term
        if self._outranked:
            takeover.superseded(ground.ledger.term)
        self._count_alone(ground, moves)
        if takeover.stage in (Stage.IDLE, Stage.LOST) and self._session:
            self._session = False
            moves.effects.append(CloseSession())
        if takeover.stage is Stage.WAIT and self._waited(ground, now):
            takeover.ready()
            moves.entries.append(TookOver(term=takeover.term))
        elif takeover.stage is Stage.WAIT and self._pushed.may_act(now.mono_s):
            moves.effects += self._look_again(now)
        self._survey(ground, now, moves)
        if headless(ground.ledger, ground.observed):
            takeover.headless()
        waits = takeover.stage is Stage.CLAIM and headless(ground.ledger, ground.observed)
        due = [] if waits else takeover.due(ground.ledger, now)
        if any(isinstance(effect, Announce) for effect in due):
            self._say_term(ground, moves)
        moves.effects += due
        orphaned = self._orphaned(ground, now)
        self.patience.follow(takeover, self.untold, self._pushed, now, orphaned=orphaned)

    def _survey(self, ground: Ground, now: Now, moves: Moves) -> None:
        """With the ledgers read, the pool is observed anew before anything is said of our term: it may know
        of one that no ledger does. A new master knows what its copy of the database does."""
        takeover, observed = self.takeover, ground.observed
        if takeover.stage is not Stage.SURVEY:
            return
        if headless(ground.ledger, observed) or not _seen_since(self._elected_s, observed):
            takeover.message = "the pool was not observed since this node was elected"
            moves.effects += self._look_again(now)
            return
        pool = observed.pool if observed is not None else None
        self._reigns.read(ground.ledger, pool, takeover.mark)
        takeover.alone = led_alone(ground.ledger, pool, takeover.term)
        self._by_itself = False
        moves.holds.update(self._reigns.holds(ground.ledger))
        if observed is not None:
            self._excuse_dead(ground.ledger, observed, now, moves)
        takeover.surveyed()

    def _excuse_dead(self, ledger: Ledger, observed: Observed, now: Now, moves: Moves) -> None:
        """What a ledger that was not read can have told of a host that died is older than that, where it
        is dead yet: its certificate need not be found anew."""
        fact = ledger.facts.get(UNREAD)
        dead = self._reigns.dead(ledger, observed, now)
        if fact is None or fact.term != self.takeover.term or not dead:
            return
        if isinstance(fact.value, Unread) and not fact.value.dead:
            unread = replace(fact.value, dead=dead)
            moves.facts.append((UNREAD, unread, self.takeover.term))

    def _orphaned(self, ground: Ground, now: Now) -> bool:
        """Whether the pool's master is what is silent: another leader would see no more of the pool."""
        observed, desired = ground.observed, ground.desired
        if observed is None or desired is None:
            return False
        if headless(ground.ledger, observed):
            return True
        hosts = {node.host.uuid: node.name for node in desired.nodes.values() if node.host}
        name = hosts.get(observed.pool.master, "")
        peer = self._pushed.peers.get(name)
        silent = peer is None or peer.state in (PeerState.SUSPECT, PeerState.DEAD)
        return silent and self.probing.of(name, now).failing_s is not None

    def _say_term(self, ground: Ground, moves: Moves) -> None:
        claim = self._reigns.claim(self._me, self.takeover.alone, ground.ledger)
        moves.facts.append(("term", claim, self.takeover.term))

    def _count_alone(self, ground: Ground, moves: Moves) -> None:
        """Whoever is away while we lead alone must find that in the pool. Once it is back it is told so in
        its turn, after all that it missed: then it knows of this reign."""
        takeover, itself = self.takeover, by_itself(self._pushed)
        if takeover.stage not in SAID or itself == self._by_itself:
            return
        self._by_itself = itself
        if itself:
            takeover.went_alone()
        else:
            self._say_term(ground, moves)

    def _look_again(self, now: Now) -> list[Effect]:
        """Nothing but a newer observation is waited for: ask for one."""
        if now.mono_s - self._refreshed_s < REFRESH_EVERY_S:
            return []
        self._refreshed_s = now.mono_s
        return [Refresh()]

    def _waited(self, ground: Ground, now: Now) -> bool:
        observed = ground.observed
        return (
            ground.follows
            and self._pushed.may_act(now.mono_s)
            and observed is not None
            and observed.as_of_s > max(self.takeover.since_s, self._pushed.acts_from_s)
        )

    def _muster(self, ground: Ground, now: Now, moves: Moves) -> None:
        tree, desired = ground.tree, ground.desired
        if tree is None or desired is None:
            return
        founded = ground.ledger.get("voters", FoundedVoters)
        name = (tree.head.revision, tree.digest)
        after: FoundedVoters | None = None
        if founded is None:
            after = found(desired, self._me, self._pushed, name)
        elif self.decides(now):
            after = change(desired, self._me, self._pushed, founded, tree.head.revision)
        if after is not None:
            moves.facts.append(("voters", after, max(self._pushed.term, ground.ledger.term)))
        roster = muster(desired, self._me, self._peering, after or founded, name)
        if roster != self._roster:
            self._roster = roster
            moves.effects.append(Muster(roster=roster))

    def _probe(self, ground: Ground, now: Now, moves: Moves) -> None:
        """Ask the servers of which no daemon tells that they are well."""
        addresses: dict[str, str] = {}
        if ground.desired is not None and ground.observed is not None:
            addresses = asked(ground.desired, ground.observed, self._pushed)
        moves.effects += self.probing.due(addresses, now)

    def notes(self, ground: Ground) -> dict[str, str]:
        """What the heartbeats tell others of this node."""
        notes = {LEDGER: ground.ledger.digest, **noted(ground.ledger)}
        if ground.tree is not None:
            notes[STAGED] = staged(ground.tree.head.revision, ground.tree.digest)
        return notes


def _take_holds(view: View, ledger: Ledger, moves: Moves) -> None:
    """What heartbeats tell of stops us too. In term 0: how whoever raised it tells of it counts for more,
    once that comes."""
    for hold in heard_of(view, ledger):
        told = f"held by {hold.by}, as its heartbeats say"
        moves.entries.append(Excepted(object="cluster", message=told, fact=hold))
        moves.facts.append((f"{HOLD}{hold.id}", hold, 0))


def _rolled_back(ledger: Ledger, before: int, term: int) -> bool:
    """Whether the pool has forgotten a term in which somebody had a session to act in."""
    last = ledger.facts.get("session")
    return last is not None and before < last.term < term


def _seen_since(moment_s: float, observed: Observed | None) -> bool:
    return observed is not None and observed.as_of_s > moment_s
