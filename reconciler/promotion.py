"""Promotion: another member of the pool becomes its master, once the one it had is proven dead.

Until then nobody observes the pool and nothing can be called in it. One member is named in a fact that
a quorum knows before that member is told; whoever leads after goes on with it and names no other one,
unless it is dead by certificate too. What is remembered here is only what is on its way.
Why in this order: docs/fencing.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec.structs import replace

from membership.clock import Now
from membership.proofs import UNREAD, Promotion, Unread
from reconciler.accusing import Hearing
from reconciler.deaths import Deaths
from reconciler.leading import Moves
from reconciler.members import (
    AskMembers,
    MakeMaster,
    MasterMade,
    MembersAsked,
    MembersTold,
    Role,
    Said,
    TellMembers,
)
from reconciler.messages import HandOver, Refresh
from reconciler.observed import STALE_AFTER_S
from reconciler.records import Excepted, Promoted
from reconciler.succession import Heir, bereaved, dead, heir, joining, refused, two_masters, unready

ASK_EVERY_S = 2.0
ASK_WITHIN_S = 3.0
ORDER_WITHIN_S = 20.0
ORDER_AGAIN_S = 30.0
"""A member that was told restarts its toolstack within seconds: one that still answers as before so long
after it was told has not heard it."""

CALL_OFF_S = 60.0
"""So long after it was last told a member that is no master will not become one."""

TELL_EVERY_S = 10.0
TELL_WITHIN_S = 180.0
"""Each member that is not to be reached costs the new master as long as TCP tries."""


class Stage(StrEnum):
    IDLE = "idle"
    ASK = "ask"
    ORDER = "order"
    RISE = "rise"
    JOIN = "join"


class Step(StrEnum):
    MASTER_DEAD = "master-dead"
    RESUMED = "resumed"
    AGREED = "agreed"
    TOLD = "told"
    AGAIN = "again"
    RISEN = "risen"
    SUCCESSOR_DEAD = "successor-dead"
    OVER = "over"


TABLE: Mapping[tuple[Stage, Step], Stage] = {
    (Stage.IDLE, Step.MASTER_DEAD): Stage.ASK,
    (Stage.IDLE, Step.RESUMED): Stage.RISE,
    (Stage.ASK, Step.AGREED): Stage.ORDER,
    (Stage.ASK, Step.RESUMED): Stage.RISE,
    (Stage.ORDER, Step.TOLD): Stage.RISE,
    (Stage.ORDER, Step.RISEN): Stage.JOIN,
    (Stage.ORDER, Step.SUCCESSOR_DEAD): Stage.ASK,
    (Stage.RISE, Step.AGAIN): Stage.ORDER,
    (Stage.RISE, Step.RISEN): Stage.JOIN,
    (Stage.RISE, Step.SUCCESSOR_DEAD): Stage.ASK,
    (Stage.JOIN, Step.SUCCESSOR_DEAD): Stage.ASK,
    **{(stage, Step.OVER): Stage.IDLE for stage in Stage},
}
"""What is not listed changes nothing."""


class Promoting:
    """One node's part in it. `message` says what it waits for, "" where it has nothing to do."""

    def __init__(self) -> None:
        self.stage = Stage.IDLE
        self.message = ""
        self._said: Mapping[str, Said] = {}
        self._said_s = 0.0
        self._ask_s: float | None = None
        self._told_s = 0.0
        self._tell_s = 0.0
        self._telling = False
        self._gives_up = False

    @property
    def deadline_s(self) -> float | None:
        """When the members are to be asked again."""
        return self._ask_s

    # --- events ---------------------------------------------------------------------------------

    def step(self, at: Hearing, deaths: Deaths) -> Moves:
        """Go on with it, where this node leads; `deaths` is what all are judged as now."""
        wants = Moves()
        self._stand(at, deaths)
        match self.stage:
            case Stage.ASK:
                self._ask(at, wants)
                self._begin(at, deaths, wants)
            case Stage.ORDER | Stage.RISE:
                self._ask(at, wants)
                self._await(at, deaths, wants)
            case Stage.JOIN:
                if self._said and at.observed.as_of_s <= self._said_s:
                    # What they said counts with a newer picture of the pool: no new answer before.
                    wants.effects.append(Refresh())
                else:
                    self._ask(at, wants)
                self._gather(at, deaths, wants)
        return wants

    def asked(self, event: MembersAsked, now: Now) -> None:
        """Take in what the members answered."""
        if self.stage is not Stage.IDLE:
            self._said, self._said_s = event.said, now.mono_s
            self._ask_s = now.mono_s + ASK_EVERY_S

    def made(self, event: MasterMade, deaths: Deaths, now: Now) -> None:
        """The one that was named has been told, or could not be: only what it answers from now on shows."""
        under_way = deaths.promotion
        if under_way is not None and event.promotion == under_way.id:
            self._told_s = now.mono_s
            self._go(Step.TOLD)
            self.message = event.message or f"{under_way.node} was told to become the pool's master"

    def told(self, event: MembersTold, now: Now) -> None:
        """The new master has told the others."""
        del event
        self._telling, self._tell_s = False, now.mono_s + TELL_EVERY_S

    # --- where it stands ------------------------------------------------------------------------

    def _stand(self, at: Hearing, deaths: Deaths) -> None:
        under_way, fallen = deaths.promotion, bereaved(at, deaths)
        if not at.leads or (under_way is None and fallen is None):
            self._go(Step.OVER)
        elif fallen is not None:
            self._go(Step.MASTER_DEAD if self.stage is Stage.IDLE else Step.SUCCESSOR_DEAD)
        elif under_way is not None:
            if self.stage in (Stage.IDLE, Stage.ASK):
                self._told_s = at.now.mono_s
                self._go(Step.RESUMED)
            if at.observed.pool.master == under_way.host:
                self._go(Step.RISEN)

    def _go(self, step: Step) -> None:
        after = TABLE.get((self.stage, step))
        if after is None or after is self.stage:
            return
        self.stage, self.message = after, ""
        self._said, self._ask_s = {}, None
        self._telling = self._gives_up = False

    def _ask(self, at: Hearing, wants: Moves) -> None:
        if self._ask_s is None or self._ask_s <= at.now.mono_s:
            addresses = {host: node.address for host, node in at.observed.nodes.items()}
            self._ask_s = at.now.mono_s + ASK_WITHIN_S + ASK_EVERY_S
            wants.effects.append(AskMembers(addresses=addresses, within_s=ASK_WITHIN_S))

    # --- to begin it ----------------------------------------------------------------------------

    def _begin(self, at: Hearing, deaths: Deaths, wants: Moves) -> None:
        fallen = bereaved(at, deaths)
        assert fallen is not None
        if not self._said:
            self.message = "the members are asked whether any of them is master"
            return
        self.message = refused(at, fallen) or unready(self._said, at, deaths)
        if self.message:
            return
        last = at.ledger.get("promotion", Promotion)
        if last is not None and last.term == at.view.term:
            self.message = f"one member was named in this term already ({last.node})"
            if not self._gives_up:
                self._gives_up = True
                wants.effects.append(HandOver(to=""))
            return
        chosen = heir(self._said, at, deaths)
        if chosen.hold is not None:
            key = f"hold/{chosen.hold.id}"
            message = f"held: {chosen.hold.reason}"
            wants.entries.append(Excepted(object="cluster", message=message, fact=chosen.hold))
            wants.facts.append((key, chosen.hold, at.view.term))
            return
        self._name(chosen, fallen, at, deaths, wants)

    def _name(self, chosen: Heir, fallen: str, at: Hearing, deaths: Deaths, wants: Moves) -> None:
        """The facts first: the effect waits until enough voters know them."""
        adoption, earlier = at.adoption, deaths.promotion
        proof = deaths.proofs[fallen]
        shown = {host: node.started for host, node in at.observed.nodes.items()}
        promotion = Promotion(
            id=f"P-{at.view.term}-{at.ledger.next_seq}",
            term=at.view.term,
            node=adoption.node_name(chosen.host),
            host=chosen.host,
            old=fallen,
            certificate=proof.certificate.id,
            by=at.me,
            stage="begun",
            copies=chosen.copies,
            stale=chosen.stale,
            started={**(earlier.started if earlier is not None else {}), **shown},
        )
        why = f"{promotion.node} becomes the pool's master on its own copy of the database"
        unread = Unread(why=f"{promotion.id}: {why}", dead=dead(at, deaths))
        wants.facts.append((UNREAD, unread, at.view.term))
        wants.facts.append(("promotion", promotion, at.view.term))
        wants.entries.append(Promoted(node=promotion.node, stage="begun", message=why))
        self._go(Step.AGREED)
        self._order(promotion, at, wants)

    def _order(self, promotion: Promotion, at: Hearing, wants: Moves) -> None:
        self.message = f"{promotion.node} is to become the pool's master"
        wants.effects.append(
            MakeMaster(
                promotion=promotion.id,
                address=at.observed.nodes[promotion.host].address,
                within_s=ORDER_WITHIN_S,
            )
        )

    # --- until it is master -----------------------------------------------------------------------

    def _await(self, at: Hearing, deaths: Deaths, wants: Moves) -> None:
        promotion = deaths.promotion
        if promotion is None or not self._said:
            return
        self._hold_two_masters(at, wants)
        since_s = at.now.mono_s - self._told_s
        role = self._said[promotion.host].role if promotion.host in self._said else Role.SILENT
        if self.stage is not Stage.RISE or role not in (Role.SLAVE, Role.ALONE):
            return
        back = promotion.old in self._said and self._said[promotion.old].role is Role.MASTER
        if back and since_s >= CALL_OFF_S:
            message = "the old master is back, and nobody took its place"
            self._end(promotion, "called-off", message, at, wants)
        elif since_s >= ORDER_AGAIN_S and not refused(at, promotion.old):
            self.message = unready(self._said, at, deaths)
            if not self.message:
                self._go(Step.AGAIN)
                self._order(promotion, at, wants)

    def _hold_two_masters(self, at: Hearing, wants: Moves) -> None:
        why = two_masters(self._said, at)
        if why and not at.ledger.holds:
            wants.holds[f"H-masters-{at.me}-{at.view.term}-{at.ledger.next_seq}"] = why

    # --- until all others follow it ---------------------------------------------------------------

    def _gather(self, at: Hearing, deaths: Deaths, wants: Moves) -> None:
        promotion = deaths.promotion
        assert promotion is not None
        self._hold_two_masters(at, wants)
        fresh = at.observed.age_s(at.now.mono_s) <= STALE_AFTER_S
        if self._said and fresh and at.observed.as_of_s > self._said_s:
            joined = {*promotion.joined, *joining(self._said, promotion, at)}
            promotion = replace(promotion, joined=tuple(sorted(joined)))
        left = [at.observed.nodes[host].name for host in deaths.awaited_by(promotion)]
        if not left:
            message = "all members follow it, or are dead by certificate"
            self._end(promotion, "over", message, at, wants)
            return
        self.message = f"{', '.join(left)} has yet to join {promotion.node}, the new master"
        if promotion != deaths.promotion:
            wants.facts.append(("promotion", promotion, at.view.term))
        if at.acts and not self._telling and self._tell_s <= at.now.mono_s:
            self._telling = True
            tell = TellMembers(promotion=promotion.id, within_s=TELL_WITHIN_S)
            wants.effects.append(tell)

    def _end(
        self, promotion: Promotion, stage: str, message: str, at: Hearing, wants: Moves
    ) -> None:
        over = replace(promotion, stage=stage, message=message)
        wants.facts.append(("promotion", over, at.view.term))
        wants.entries.append(Promoted(node=promotion.node, stage=stage, message=message))
        self._go(Step.OVER)
