"""The built-in engine: who leads, by the agreement of a quorum of voters.

A voter gives each term to one candidate and promises a living leader not to vote for anybody else for
a little longer than the leader may act on that. A shared disk may be a voter too, beside
one name or two. Times are seconds of CLOCK_BOOTTIME.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from random import Random

from membership.heartbeat import Ack, Beat
from membership.roster import DRIFT, EFFECT_S, Roster
from membership.view import Standing
from schema.model import Frozen

DISK_VOTER = "disk"

_REPLIED = ("asking", "candidate", "leader")


class Role(StrEnum):
    FOLLOWER = ""
    ASKING = "asking"
    CANDIDATE = "candidate"
    LEADER = "leader"


class Turn(StrEnum):
    """What can happen to a role."""

    STAND = "stand"
    QUORUM = "quorum"
    YIELD = "yield"


TABLE: Mapping[tuple[Role, Turn], Role] = {
    (Role.FOLLOWER, Turn.STAND): Role.ASKING,
    (Role.ASKING, Turn.QUORUM): Role.CANDIDATE,
    (Role.CANDIDATE, Turn.QUORUM): Role.LEADER,
    (Role.ASKING, Turn.YIELD): Role.FOLLOWER,
    (Role.CANDIDATE, Turn.YIELD): Role.FOLLOWER,
    (Role.LEADER, Turn.YIELD): Role.FOLLOWER,
}
"""What is not listed changes nothing."""


class Vote(Frozen, frozen=True, kw_only=True):
    """What a voter must not forget: the highest term it knows, and whom it gave it to."""

    term: int = 0
    voted_for: str = ""


class Election:
    """One node's part in choosing a leader. It decides; `Heart` sends, remembers and tells.

    `vote` is durable before any message that tells of it: whoever changes it has it remembered.
    """

    def __init__(self, roster: Roster, vote: Vote, random: Random, now_s: float) -> None:
        self.roster = roster
        self.vote = vote
        self.role = Role.FOLLOWER
        self.leader: str | None = None
        self.resigned = 0
        self.successor = ""
        self._heir = False
        self._random = random
        self._acts_s = 0.0
        self._alone_s = now_s
        self._slow_s = 0.0
        self._slow_until_s = now_s
        self._leases: dict[str, float] = {}
        self._proposal = vote.term
        self._ballot = vote.term if vote.voted_for == roster.me else 0
        self._agreed: dict[str, float] = {}
        self._promised_to = ""
        self._promise_s = now_s + roster.timing.promise_s
        self._stand_s: float | None = None
        self._give_up_s = 0.0
        self._defer_s = now_s

    # --- what it says of itself -----------------------------------------------------------------

    @property
    def term(self) -> int:
        """The term in which this node asks, stands, leads or follows."""
        return self._proposal if self.role is Role.ASKING else self.vote.term

    @property
    def ballot(self) -> int:
        """The highest term for which this node ever stood."""
        return self._ballot

    @property
    def wanted(self) -> str:
        """The answer that counts as agreement now."""
        return "would" if self.role is Role.ASKING else "yes"

    @property
    def votes(self) -> bool:
        return self.roster.me in self.roster.voters.names

    @property
    def quorum(self) -> int:
        return self.roster.voters.quorum

    @property
    def disk_counts(self) -> bool:
        """Whether the disk is a voter, and this node reaches it."""
        return self.roster.voters.disk and self.roster.disk is not None

    def standing(self) -> Standing:
        """Leader, term and, for this node itself, from when until when it may act."""
        if self.role is Role.LEADER:
            return Standing(
                term=self.vote.term,
                leader=self.roster.me,
                acts_from_s=self._acts_s,
                lead_until_s=self.lease_s,
            )
        return Standing(term=self.vote.term, leader=self.leader)

    @property
    def lease_s(self) -> float:
        """The end of what a quorum has agreed to: counted from when that was *sent*."""
        sent = sorted(self._agreed.values(), reverse=True)
        others = self.quorum - 1
        if self.role is not Role.LEADER or len(sent) < others:
            return 0.0
        return (sent[others - 1] if others else self._alone_s) + self._length_s()

    def _length_s(self) -> float:
        """Of a lease. Where voters count by different trees, the shortest that any of them counts by."""
        told = [lease_s for name, lease_s in self._leases.items() if lease_s > 0.0]
        return min([self.roster.timing.lease_s, *told])

    def _longest_s(self, now_s: float) -> float:
        """The lease that a leader may still count by, as far as this node knows: where it was made
        shorter not every leader may have heard of it."""
        lease_s = self.roster.timing.lease_s
        return max(lease_s, self._slow_s) if now_s < self._slow_until_s else lease_s

    def deadline(self) -> float:
        """When something happens though nothing is heard."""
        if self.role is Role.LEADER:
            return self.lease_s
        if self.role is not Role.FOLLOWER:
            return self._give_up_s
        if self._stand_s is not None:
            return self._stand_s
        return max(self._promise_s, self._defer_s) if self.votes else float("inf")

    # --- the roster -----------------------------------------------------------------------------

    def follow(self, roster: Roster, now_s: float) -> None:
        """Work by this roster from now on. Who agreed as a voter of other voters agreed to nothing.

        Voters that were made in a term say that it had a leader: whoever knows them renews no earlier
        one, votes in no earlier term, and leads in none.
        """
        before, longest_s = self.roster, self._longest_s(now_s)
        self.roster = roster
        if roster.voters.term > self.vote.term:
            self.vote = Vote(term=roster.voters.term)
            self._yield()
        if roster.timing.lease_s < longest_s:
            self._slow_s = longest_s
            self._slow_until_s = now_s + longest_s * DRIFT + EFFECT_S
        if self.role is not Role.LEADER and before.voters != roster.voters:
            self._yield()
        self._agreed = {name: at_s for name, at_s in self._agreed.items() if self._counts(name)}
        self._leases = {
            name: lease_s for name, lease_s in self._leases.items() if self._counts(name)
        }

    def _counts(self, voter: str) -> bool:
        return voter in self.roster.voters.names or (voter == DISK_VOTER and self.disk_counts)

    # --- time -----------------------------------------------------------------------------------

    def tick(self, now_s: float, *, may_stand: bool, current: bool, leader_alive: bool) -> None:
        """Let time pass. `may_stand`: candidacy is fresh and nothing speaks against this node.
        `current`: nobody knows later voters than we do."""
        if not leader_alive and self.role is not Role.LEADER:
            self.leader = None
        if current:
            self._alone_s = now_s
        match self.role:
            case Role.LEADER:
                if now_s >= self.lease_s or not may_stand or not self.votes:
                    self._yield()
            case Role.ASKING | Role.CANDIDATE:
                if now_s >= self._give_up_s or not (may_stand and current):
                    self._yield()
            case Role.FOLLOWER:
                if self._may_stand(now_s, may_stand and current):
                    self._approach(now_s)
                else:
                    self._stand_s = None

    def _may_stand(self, now_s: float, may_stand: bool) -> bool:
        free = now_s >= self._promise_s and now_s >= self._defer_s
        return may_stand and self.votes and self.leader is None and free

    def _approach(self, now_s: float) -> None:
        """One after the other, by name and chance, so that two seldom ask at once."""
        interval_s = self.roster.timing.interval_s
        if self._stand_s is None:
            self._stand_s = now_s + interval_s * 0.5 * self._spread()
        if now_s >= self._stand_s:
            self._stand_s = None
            self._heir = False
            self._agreed = {}
            self._turn(Turn.STAND)
            self._give_up_s = now_s + self._patience_s()

    def _spread(self) -> float:
        if self._heir:
            return 0.0
        rank = self.roster.voters.names.index(self.roster.me)
        return min(rank, 4) + self._random.random()

    def _patience_s(self) -> float:
        timing = self.roster.timing
        return timing.suspect_after_s * (0.5 + 0.5 * self._random.random())

    def propose(self, floor: int, seen: int) -> None:
        """Choose the term to ask for: above all that is known. Of two voters each has every second
        term, so that their ballots on a disk never tie."""
        term = max(self.vote.term, self._ballot, floor, seen) + 1
        names = self.roster.voters.names
        if len(names) == 2 and term % 2 != names.index(self.roster.me):
            term += 1
        self._proposal = term

    def restart(self, now_s: float) -> None:
        """We were away: nothing that was agreed with us before holds, and we promise anew."""
        self._yield()
        self._promise("", now_s)
        self._defer_s = now_s

    # --- agreement ------------------------------------------------------------------------------

    def agreed(self, voter: str, sent_s: float, now_s: float) -> None:
        """A voter, or the disk, agrees to what we sent at `sent_s`."""
        if self.role is Role.FOLLOWER or not self._counts(voter):
            return
        self._agreed[voter] = max(sent_s, self._agreed.get(voter, sent_s))
        if len(self._agreed) + 1 >= self.quorum:
            self.advance(now_s)

    def advance(self, now_s: float) -> None:
        """A quorum agrees (alone it is one by itself): from asking to standing to leading."""
        if len(self._agreed) + 1 < self.quorum:
            return
        if self.role is Role.ASKING:
            self._turn(Turn.QUORUM)
            self.vote = Vote(term=self._proposal, voted_for=self.roster.me)
            self._ballot = self._proposal
            self._agreed = {}
            self._give_up_s = now_s + self._patience_s()
            if self.quorum == 1:
                self.advance(now_s)
        elif self.role is Role.CANDIDATE:
            self._turn(Turn.QUORUM)
            self.leader = self.roster.me
            self._acts_s = now_s + self._longest_s(now_s) * DRIFT + EFFECT_S
            self.resigned, self.successor = 0, ""

    def refused(self, own: int) -> None:
        """A voter says no, and that it knows term `own`."""
        if own > self.vote.term:
            self.vote = Vote(term=own)
            self._yield()

    def beaten(self, ballot: int) -> None:
        """The other voter's slot shows a ballot above ours: the disk is no longer with us."""
        self._agreed.pop(DISK_VOTER, None)
        if self.role in (Role.LEADER, Role.CANDIDATE) and ballot > self._ballot:
            self.refused(ballot)

    def hand_over(self, to: str, now_s: float) -> bool:
        """Step down for the sake of another; False where we do not lead."""
        if self.role is not Role.LEADER:
            return False
        term = self.vote.term
        self._yield()
        self.resigned, self.successor = term, to
        self._defer_s = now_s + 2.0 * self.roster.timing.suspect_after_s
        return True

    # --- what others say ------------------------------------------------------------------------

    def told(self, name: str, lease_s: float) -> None:
        """By which lease a voter counts."""
        if self._counts(name):
            self._leases[name] = lease_s

    def heard(self, beat: Beat, now_s: float) -> Ack | None:
        """Take in what a living peer says of leadership; the answer that it is owed."""
        self.told(beat.sender, beat.lease_s)
        self._released(beat, now_s)
        if beat.role not in _REPLIED or not self._respected(beat):
            if self.leader == beat.sender:
                self.leader = None
            return None
        answer = self._answer(beat, now_s)
        return Ack(term=beat.term, seq=beat.seq, answer=answer, own=self.vote.term)

    def _respected(self, beat: Beat) -> bool:
        """Whether the sender is a voter, as far as we know or it knows better."""
        voters = self.roster.voters
        return beat.sender in voters.names or beat.rank > voters.rank

    def _answer(self, beat: Beat, now_s: float) -> str:
        match beat.role:
            case Role.LEADER:
                return self._follow(beat, now_s)
            case Role.CANDIDATE:
                return self._give(beat, now_s)
        return "would" if self._would(beat, now_s) else "no"

    def _follow(self, beat: Beat, now_s: float) -> str:
        """A leader of this or a later term: whoever elected it was free to, so we are bound anew.

        Of older voters than ours it is still the leader, and gets no renewal from us: its quorum need
        not share a voter with one of the voters after ours.
        """
        if beat.term < self.vote.term or self._leads_it(beat.term):
            return "no"
        if beat.term > self.vote.term:
            self.vote = Vote(term=beat.term)
        self._yield()
        self.leader, self._heir = beat.sender, False
        if not self.votes or beat.rank < self.roster.voters.rank:
            return "no"
        self._promise(beat.sender, now_s)
        return "yes"

    def _leads_it(self, term: int) -> bool:
        return self.role is Role.LEADER and self.vote.term == term

    def _give(self, beat: Beat, now_s: float) -> str:
        mine = self.vote
        free = beat.term > mine.term or (
            beat.term == mine.term and mine.voted_for in ("", beat.sender)
        )
        if not free or self.role is Role.LEADER or not self._unbound(beat, now_s):
            return "no"
        self.vote = Vote(term=beat.term, voted_for=beat.sender)
        self._yield()
        self._promise(beat.sender, now_s)
        return "yes"

    def _would(self, beat: Beat, now_s: float) -> bool:
        if self.role is Role.LEADER or self.leader not in (None, beat.sender):
            return False
        return beat.term > self.vote.term and self._unbound(beat, now_s)

    def _unbound(self, beat: Beat, now_s: float) -> bool:
        current = beat.rank >= self.roster.voters.rank
        bound = now_s < self._promise_s and self._promised_to != beat.sender
        return self.votes and current and not bound

    def _promise(self, to: str, now_s: float) -> None:
        self._promised_to = to
        self._promise_s = now_s + self._longest_s(now_s) * DRIFT

    def _released(self, beat: Beat, now_s: float) -> None:
        """A leader that stepped down binds nobody any more. Its heir does not wait, the others let it try."""
        if not beat.resigned or beat.resigned != self.vote.term:
            return
        if self._promised_to == beat.sender and self._promise_s > now_s:
            self._promised_to, self._promise_s = "", now_s
            self._heir = beat.successor == self.roster.me
            patience_s = self.roster.timing.suspect_after_s
            others = not self._heir and beat.successor != ""
            self._defer_s = now_s + patience_s if others else now_s

    def _yield(self) -> None:
        """Back to following. What we promised ourselves as leader is over with our lease."""
        if self.role is Role.LEADER:
            self.leader = None
        self._agreed = {}
        self._stand_s = None
        self._turn(Turn.YIELD)

    def _turn(self, turn: Turn) -> None:
        self.role = TABLE.get((self.role, turn), self.role)
