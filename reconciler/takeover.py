"""Taking over: what a node that leads has to do before it may act, and when it has to do it again.

Being named leader is not enough: the predecessor may be paused in the middle of a call. So the ledgers
of all reachable peers are gathered, the term is announced to them, it is claimed in the pool (one
test-and-set for all nodes, whatever they believe), the predecessor's session is ended, and a while is
waited in which whatever it had begun has ended. The same again wherever the own session turns out to
be ended by another, or the pool has another master: what was claimed is in the old one's database.

Announced before it is claimed: so a term that the pool knows and a ledger does not is one whose leader
this ledger never heard, and not one whose leader died before it could tell.

Who leads alone, the only other voter being dead, says so in the pool before it acts, each time anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from membership.clock import Now
from membership.ledger import Ledger, SealedSession
from membership.view import View
from reconciler.messages import (
    Announce,
    Announced,
    ClaimTerm,
    Effect,
    Gather,
    Gathered,
    OpenSession,
    RevokeSession,
    SessionOpened,
    SessionRevoked,
    TermClaimed,
)

RETRY_S = 2.0
GATHER_S = 3.0
CLAIM_S = 10.0


class Stage(StrEnum):
    """`LOST`: this term is another's in the pool, or a higher one is known. Nothing helps but a new,
    higher one. `MARK`: it is being said in the pool that this node leads alone."""

    IDLE = "idle"
    GATHER = "gather"
    SURVEY = "survey"
    ANNOUNCE = "announce"
    CLAIM = "claim"
    REVOKE = "revoke"
    OPEN = "open"
    MARK = "mark"
    WAIT = "wait"
    ACTING = "acting"
    LOST = "lost"


SAID = frozenset({Stage.CLAIM, Stage.REVOKE, Stage.OPEN, Stage.MARK, Stage.WAIT, Stage.ACTING})
"""Stages at which the voters have been told of the term."""

READ = SAID | {Stage.SURVEY, Stage.ANNOUNCE}
"""Stages at which the ledgers of a predecessor have been read."""


class Step(StrEnum):
    LEADS = "leads"
    GATHERED = "gathered"
    SURVEYED = "surveyed"
    ANNOUNCED = "announced"
    WON = "won"
    BEATEN = "beaten"
    REVOKED = "revoked"
    OPENED = "opened"
    READY = "ready"
    ALONE = "alone"
    SESSION_ENDED = "session-ended"
    HEADLESS = "headless"
    LEADS_NO_MORE = "leads-no-more"


TABLE: Mapping[tuple[Stage, Step], Stage] = {
    (Stage.IDLE, Step.LEADS): Stage.GATHER,
    (Stage.GATHER, Step.GATHERED): Stage.SURVEY,
    (Stage.SURVEY, Step.SURVEYED): Stage.ANNOUNCE,
    (Stage.ANNOUNCE, Step.ANNOUNCED): Stage.CLAIM,
    (Stage.CLAIM, Step.WON): Stage.REVOKE,
    (Stage.REVOKE, Step.REVOKED): Stage.OPEN,
    (Stage.OPEN, Step.OPENED): Stage.WAIT,
    (Stage.WAIT, Step.READY): Stage.ACTING,
    (Stage.REVOKE, Step.ALONE): Stage.CLAIM,
    (Stage.OPEN, Step.ALONE): Stage.CLAIM,
    (Stage.WAIT, Step.ALONE): Stage.MARK,
    (Stage.ACTING, Step.ALONE): Stage.MARK,
    (Stage.MARK, Step.WON): Stage.WAIT,
    (Stage.MARK, Step.SESSION_ENDED): Stage.CLAIM,
    (Stage.WAIT, Step.SESSION_ENDED): Stage.CLAIM,
    (Stage.ACTING, Step.SESSION_ENDED): Stage.CLAIM,
    (Stage.REVOKE, Step.HEADLESS): Stage.CLAIM,
    (Stage.OPEN, Step.HEADLESS): Stage.CLAIM,
    (Stage.MARK, Step.HEADLESS): Stage.CLAIM,
    (Stage.WAIT, Step.HEADLESS): Stage.CLAIM,
    (Stage.ACTING, Step.HEADLESS): Stage.CLAIM,
    **{
        (stage, Step.BEATEN): Stage.LOST for stage in Stage if stage not in (Stage.IDLE, Stage.LOST)
    },
    **{(stage, Step.LEADS_NO_MORE): Stage.IDLE for stage in Stage},
}
"""What is not listed changes nothing."""

TakeoverEvent = Gathered | Announced | TermClaimed | SessionRevoked | SessionOpened


class Takeover:
    """One node's way from being named to acting. `mark` tells this node from all others in the pool, and
    `alone` counts how often it came to lead alone in its term."""

    def __init__(self, me: str, mark: str) -> None:
        self.stage = Stage.IDLE
        self.term = 0
        self.message = ""
        self.beaten_by = 0
        self.since_s = 0.0
        self.alone = 0
        self.mark = f"{me} {mark}"
        self._asked = False
        self._retry_s: float | None = None

    def acts(self, term: int) -> bool:
        return self.stage is Stage.ACTING and self.term == term

    @property
    def deadline_s(self) -> float | None:
        """When something is to be tried again."""
        return self._retry_s

    def follow(self, view: View, now: Now, *, wanted: bool) -> None:
        """Take in who leads. Where nothing would be done anyway no term is `wanted`."""
        leads = wanted and view.leads(now.mono_s)
        if not leads or view.term != self.term:
            self._go(Step.LEADS_NO_MORE)
        if leads:
            self.alone = self.alone if view.term == self.term else 0
            self.term = view.term
            self._go(Step.LEADS)

    def answered(self, event: TakeoverEvent, now: Now) -> bool:
        """Take in what came of an effect; True where it brought us on. A late answer changes nothing.
        A `message` of a gathering or an announcement says what it lacks: it is tried again."""
        if event.term != self.term or not self._asked:
            return False
        step = self._step_of(event)
        if step is None:
            self.message = event.message
            self._retry_s = now.mono_s + RETRY_S
            return False
        self.message = ""
        return self._go(step)

    def _step_of(self, event: TakeoverEvent) -> Step | None:
        match event:
            case Gathered(message=""):
                return Step.GATHERED
            case Announced(message=""):
                return Step.ANNOUNCED
            case TermClaimed(result="won", alone=alone) if alone == self.alone:
                return Step.WON
            case TermClaimed(result="lost", highest=highest):
                self.beaten_by = max(self.beaten_by, highest, self.term)
                return Step.BEATEN
            case SessionRevoked(done=True):
                return Step.REVOKED
            case SessionOpened(sealed=sealed) if sealed:
                return Step.OPENED
        return None

    def went_alone(self) -> None:
        """From now on there is nobody to be told: the pool is, before anything else is begun."""
        self.alone += 1
        if not self._go(Step.ALONE):
            self._asked = False

    def superseded(self, term: int) -> None:
        """The pool or our ledger knows a higher term than ours: another has led since, rightly or not."""
        self.beaten_by = max(self.beaten_by, term)
        self._go(Step.BEATEN)

    def surveyed(self) -> None:
        """The pool was observed since this node was elected."""
        self.message = ""
        self._go(Step.SURVEYED)

    def session_ended(self) -> None:
        self._go(Step.SESSION_ENDED)

    def headless(self) -> None:
        """The pool is to have another master: what its database knew of us, that one's may not."""
        self._go(Step.HEADLESS)

    def ready(self) -> None:
        """What had to be waited for is over."""
        self._go(Step.READY)

    def due(self, ledger: Ledger, now: Now) -> list[Effect]:
        """The effect that this stage wants now: once, and again after a failure."""
        retry = self._retry_s is not None and self._retry_s <= now.mono_s
        if self._asked and not retry:
            return []
        effects = self._wanted(ledger)
        self._asked = True
        self._retry_s = None
        self.since_s = now.mono_s
        return effects

    def _wanted(self, ledger: Ledger) -> list[Effect]:
        match self.stage:
            case Stage.GATHER:
                return [Gather(term=self.term, within_s=GATHER_S)]
            case Stage.ANNOUNCE:
                return [Announce(term=self.term)]
            case Stage.CLAIM | Stage.MARK:
                return [self._claim()]
            case Stage.REVOKE:
                last = ledger.get("session", SealedSession)
                sealed = last.sealed if last is not None else ""
                return [RevokeSession(term=self.term, sealed=sealed, within_s=CLAIM_S)]
            case Stage.OPEN:
                return [OpenSession(term=self.term, within_s=CLAIM_S)]
        return []

    def _claim(self) -> ClaimTerm:
        return ClaimTerm(term=self.term, alone=self.alone, mark=self.mark, within_s=CLAIM_S)

    def _go(self, step: Step) -> bool:
        after = TABLE.get((self.stage, step))
        if after is None or after is self.stage:
            return False
        self.stage, self._asked, self._retry_s = after, False, None
        return True
