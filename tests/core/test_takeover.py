"""Taking over: every step in every stage, late answers, and what a leader may do when."""

from __future__ import annotations

import itertools

import pytest
from msgspec.structs import replace

from membership.clock import Now
from membership.ledger import Fact, Hold, Ledger, SealedSession, TermClaim
from membership.view import View
from reconciler.messages import (
    Announce,
    Announced,
    ClaimTerm,
    Effect,
    Gather,
    Gathered,
    OpenSession,
    Perform,
    RevokeSession,
    SessionEnded,
    SessionOpened,
    SessionRevoked,
    Share,
    TermClaimed,
)
from reconciler.takeover import RETRY_S, TABLE, Stage, Step, Takeover, TakeoverEvent
from tests.core.parliament import NAMES, Parliament, parliament
from tests.core.stage import desired, pool

TERM = 7
EMPTY = Ledger()

ON_THE_WAY = [stage for stage in Stage if stage not in (Stage.IDLE, Stage.LOST)]


def now(mono_s: float = 100.0) -> Now:
    return Now(mono_s=mono_s, epoch_s=0.0)


def view(term: int = TERM, leader: str | None = "anna", until_s: float = 1e9) -> View:
    return View(me="anna", term=term, leader=leader, lead_until_s=until_s, engine="builtin")


WON = TermClaimed(term=TERM, result="won")
LOST = TermClaimed(term=TERM, result="lost", holder="bert", highest=9)
UNSURE = TermClaimed(term=TERM, result="unsure", message="the pool is silent")


def at(stage: Stage) -> Takeover:
    """A takeover in term 7 that has come to this stage by the real steps."""
    takeover = Takeover("anna", "mark")
    if stage is Stage.IDLE:
        return takeover
    takeover.follow(view(), now(), wanted=True)
    steps = {
        Stage.GATHER: Gathered(term=TERM),
        Stage.ANNOUNCE: Announced(term=TERM),
        Stage.CLAIM: WON,
        Stage.REVOKE: SessionRevoked(term=TERM, done=True),
        Stage.OPEN: SessionOpened(term=TERM, sealed="s"),
    }
    takeover.due(EMPTY, now())
    while takeover.stage is not stage:
        if stage is Stage.LOST:
            takeover.superseded(9)
        elif takeover.stage is Stage.WAIT and stage is Stage.MARK:
            takeover.went_alone()
            takeover.due(EMPTY, now())
        elif takeover.stage is Stage.WAIT:
            takeover.ready()
        elif takeover.stage is Stage.SURVEY:
            takeover.surveyed()
            takeover.due(EMPTY, now())
        else:
            assert takeover.answered(steps[takeover.stage], now())  # type: ignore[arg-type]
            takeover.due(EMPTY, now())
    return takeover


def take(takeover: Takeover, step: Step) -> None:
    """What brings this step about, if the stage allows it at all."""
    match step:
        case Step.LEADS:
            takeover.follow(view(), now(), wanted=True)
        case Step.GATHERED:
            takeover.answered(Gathered(term=TERM), now())
        case Step.SURVEYED:
            takeover.surveyed()
        case Step.ANNOUNCED:
            takeover.answered(Announced(term=TERM), now())
        case Step.WON:
            takeover.answered(replace(WON, alone=takeover.alone), now())
        case Step.ALONE:
            takeover.went_alone()
        case Step.BEATEN:
            takeover.superseded(9)
        case Step.REVOKED:
            takeover.answered(SessionRevoked(term=TERM, done=True), now())
        case Step.OPENED:
            takeover.answered(SessionOpened(term=TERM, sealed="s"), now())
        case Step.READY:
            takeover.ready()
        case Step.SESSION_ENDED:
            takeover.session_ended()
        case Step.HEADLESS:
            takeover.headless()
        case Step.LEADS_NO_MORE:
            takeover.follow(view(leader="bert"), now(), wanted=True)


@pytest.mark.parametrize(("stage", "step"), list(itertools.product(Stage, Step)))
def test_every_step_in_every_stage_goes_where_the_table_says(stage: Stage, step: Step) -> None:
    takeover = at(stage)
    take(takeover, step)
    assert takeover.stage is TABLE.get((stage, step), stage)


EXPECTED = {
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
}


def test_only_one_way_leads_to_acting() -> None:
    """The order of the steps is the safety argument; nothing but losing goes another way."""
    leaving = (Step.BEATEN, Step.LEADS_NO_MORE)
    assert {key: after for key, after in TABLE.items() if key[1] not in leaving} == EXPECTED
    assert all(TABLE[stage, Step.BEATEN] is Stage.LOST for stage in ON_THE_WAY)
    assert all(TABLE[stage, Step.LEADS_NO_MORE] is Stage.IDLE for stage in Stage)


WANTS: list[tuple[Stage, Effect]] = [
    (Stage.GATHER, Gather(term=TERM, within_s=3.0)),
    (Stage.ANNOUNCE, Announce(term=TERM)),
    (Stage.CLAIM, ClaimTerm(term=TERM, mark="anna mark", within_s=10.0)),
    (Stage.MARK, ClaimTerm(term=TERM, alone=1, mark="anna mark", within_s=10.0)),
    (Stage.REVOKE, RevokeSession(term=TERM, sealed="", within_s=10.0)),
    (Stage.OPEN, OpenSession(term=TERM, within_s=10.0)),
]


@pytest.mark.parametrize("stage", [stage for stage, _ in WANTS])
def test_what_came_of_an_older_term_changes_nothing(stage: Stage) -> None:
    takeover = at(stage)
    for late in (
        Gathered(term=TERM - 1),
        Announced(term=TERM - 1),
        TermClaimed(term=TERM - 1, result="won"),
        TermClaimed(term=TERM - 1, result="lost", highest=99),
        SessionRevoked(term=TERM - 1, done=True),
        SessionOpened(term=TERM - 1, sealed="s"),
    ):
        assert not takeover.answered(late, now())
    assert (takeover.stage, takeover.beaten_by, takeover.deadline_s) == (stage, 0, None)


@pytest.mark.parametrize("stage", [stage for stage, _ in WANTS])
def test_an_answer_to_what_was_not_asked_changes_nothing(stage: Stage) -> None:
    takeover = at(stage)
    takeover.follow(view(leader=None), now(), wanted=True)
    takeover.follow(view(), now(), wanted=True)
    assert not takeover.answered(Gathered(term=TERM), now())
    assert takeover.stage is Stage.GATHER


FAILED: dict[Stage, TakeoverEvent] = {
    Stage.GATHER: Gathered(term=TERM, message="m"),
    Stage.ANNOUNCE: Announced(term=TERM, message="m"),
    Stage.CLAIM: UNSURE,
    Stage.MARK: UNSURE,
    Stage.REVOKE: SessionRevoked(term=TERM, done=False, message="m"),
    Stage.OPEN: SessionOpened(term=TERM, message="m"),
}


@pytest.mark.parametrize(("stage", "effect"), WANTS)
def test_each_stage_asks_once_and_again_after_a_failure(stage: Stage, effect: Effect) -> None:
    takeover = at(stage)
    assert takeover.due(EMPTY, now()) == [], "it was asked on the way here"
    assert not takeover.answered(FAILED[stage], now(100.0))
    assert (takeover.stage, takeover.message) == (stage, FAILED[stage].message)
    assert takeover.deadline_s == 100.0 + RETRY_S
    assert takeover.due(EMPTY, now(100.0 + RETRY_S - 0.1)) == []
    assert takeover.due(EMPTY, now(100.0 + RETRY_S)) == [effect]
    assert takeover.deadline_s is None


@pytest.mark.parametrize("stage", [Stage.IDLE, Stage.SURVEY, Stage.WAIT, Stage.ACTING, Stage.LOST])
def test_the_other_stages_ask_for_nothing(stage: Stage) -> None:
    assert at(stage).due(EMPTY, now()) == []


def test_the_session_to_be_ended_is_that_of_the_ledger() -> None:
    takeover = at(Stage.CLAIM)
    takeover.answered(WON, now())
    last = SealedSession(node="bert", sealed="of bert")
    ledger = EMPTY.merge([Fact(key="session", term=6, seq=1, at_epoch_s=0.0, value=last)])
    assert takeover.due(ledger, now()) == [
        RevokeSession(term=TERM, sealed="of bert", within_s=10.0)
    ]


def test_a_lost_claim_tells_how_high_the_next_term_must_be() -> None:
    takeover = at(Stage.CLAIM)
    assert takeover.answered(LOST, now())
    assert (takeover.stage, takeover.beaten_by) == (Stage.LOST, 9)
    takeover.follow(view(), now(), wanted=True)
    assert takeover.stage is Stage.LOST, "leading on in the same term does not help"
    takeover.follow(view(term=10), now(), wanted=True)
    assert (takeover.stage, takeover.term) == (Stage.GATHER, 10)


def test_a_new_term_begins_at_the_beginning() -> None:
    takeover = at(Stage.ACTING)
    takeover.follow(view(term=8), now(), wanted=True)
    assert takeover.stage is Stage.GATHER
    assert not takeover.acts(8)


def test_who_comes_to_lead_alone_while_it_claims_says_that_too() -> None:
    """What the pool said of the claim before does not count."""
    takeover = at(Stage.CLAIM)
    takeover.went_alone()
    (claim,) = takeover.due(EMPTY, now())
    assert claim == ClaimTerm(term=TERM, alone=1, mark="anna mark", within_s=10.0)
    assert not takeover.answered(WON, now())
    assert takeover.stage is Stage.CLAIM
    assert takeover.answered(replace(WON, alone=1), now())


def test_outside_of_the_lease_nobody_takes_over() -> None:
    takeover = at(Stage.WAIT)
    takeover.follow(view(until_s=100.0), now(100.0), wanted=True)
    assert takeover.stage is Stage.IDLE


def test_where_cxm_only_observes_no_term_is_claimed() -> None:
    takeover = at(Stage.IDLE)
    takeover.follow(view(), now(), wanted=False)
    assert takeover.stage is Stage.IDLE


# --- with everything around it: nothing is performed unless ------------------------------------------

NODES: dict[str, object] = {"xen1": {}, "xen2": {}}
TREE = desired(nodes=NODES, vms={"web1": {"state": "running"}, "web2": {"state": "running"}})
HALTED = pool(TREE, vms={"web1": {}, "web2": {}})


def house() -> Parliament:
    return parliament(TREE, HALTED)


def asked(member_effects: list[Effect], kind: type[Effect]) -> list[Effect]:
    return [effect for effect in member_effects if isinstance(effect, kind)]


def test_the_steps_come_in_their_order() -> None:
    fresh = house()
    fresh.elect("anna")
    fresh.rest()
    kinds = (Announce, ClaimTerm, RevokeSession, OpenSession, Perform)
    order = [type(effect) for effect in fresh["anna"].effects if isinstance(effect, kinds)]
    assert order == [Announce, ClaimTerm, RevokeSession, OpenSession, Perform, Perform]
    facts = [e.fact.key for e in fresh["anna"].effects if isinstance(e, Share)]
    assert facts[:2] == ["term", "session"]


def announced(fresh: Parliament, term: int, node: str) -> None:
    """That this node claims this term reaches all."""
    value = TermClaim(node=node)
    fact = Fact(key="term", term=term, seq=90, at_epoch_s=0.0, value=value)
    for member in fresh.living:
        fresh._take(member, [fact])


def test_a_follower_performs_nothing_and_claims_nothing() -> None:
    fresh = house()
    fresh.elect("anna")
    fresh.rest()
    for name in ("bert", "cleo"):
        assert asked(fresh[name].effects, Perform) == []
        assert asked(fresh[name].effects, ClaimTerm) == []
        assert not fresh[name].alive.may_act(fresh.now)


def test_while_nobody_leads_nothing_is_performed() -> None:
    fresh = house()
    fresh.pass_s(60.0)
    assert fresh.performed == []


def test_before_the_wait_is_over_nothing_is_performed() -> None:
    fresh = house()
    fresh.elect("anna")
    while fresh.now_s + 1.0 < fresh.acts_from_s:
        fresh.pass_s(0.5)
        assert fresh.performed == []
    fresh.pass_s(4.0)
    assert [name for name, _, _ in fresh.performed] == ["anna", "anna"]


def test_an_observation_from_before_the_wait_was_over_is_not_enough() -> None:
    fresh = house()
    fresh.elect("anna")
    fresh.pass_s(7.0)
    fresh.now_s = fresh.acts_from_s + 0.5
    fresh.round(sees=False)
    assert fresh["anna"].alive.status(fresh.now).leadership.stage == "wait"
    assert fresh.performed == []
    fresh.pass_s(3.0)
    assert len(fresh.performed) == 2


def test_without_a_lease_nothing_is_performed() -> None:
    fresh = house()
    fresh.elect("anna")
    fresh.lead_until_s = fresh.now_s + 4.0
    fresh.push()
    fresh.pass_s(30.0)
    assert fresh.performed == []


def test_a_claim_that_is_lost_stops_the_leader_until_a_higher_term() -> None:
    fresh = house()
    fresh.said.terms[2] = "bert mark of bert"
    announced(fresh, 2, "bert")
    fresh.settle()
    fresh.elect("anna")
    assert fresh.term == 3
    announced(fresh, 3, "bert")
    fresh.said.terms[3] = "bert mark of bert"
    fresh.pass_s(20.0)
    anna = fresh["anna"]
    assert anna.alive.status(fresh.now).leadership.stage == "lost"
    assert fresh.performed == []
    assert not anna.alive.candidacy().healthy
    assert asked(anna.effects, OpenSession) == []
    fresh.elect(None)
    fresh.settle()
    assert anna.alive.candidacy().healthy
    assert anna.alive.candidacy().floor >= 3
    fresh.elect("anna")
    fresh.rest()
    assert {(name, term) for name, term, _ in fresh.performed} == {("anna", 4)}


def test_a_higher_term_in_the_pool_stops_a_leader() -> None:
    fresh = house()
    fresh.elect("anna")
    fresh.pass_s(8.0)
    announced(fresh, 5, "bert")
    fresh.said.terms[5] = "bert mark of bert"
    fresh.pass_s(10.0)
    assert fresh.performed == []
    assert fresh["anna"].alive.candidacy().floor == 5
    fresh.elect("anna")
    assert fresh.term == 6
    fresh.rest()
    assert {term for _, term, _ in fresh.performed} == {6}


def test_a_session_that_was_ended_is_opened_again_only_with_the_claim_proven() -> None:
    fresh = house()
    fresh.elect("anna")
    fresh.pass_s(8.0)
    anna = fresh["anna"]
    before = len(anna.effects)
    anna.events.append(SessionEnded())
    fresh.settle()
    fresh.rest()
    kinds = (ClaimTerm, RevokeSession, OpenSession, Perform)
    order = [type(effect) for effect in anna.effects[before:] if isinstance(effect, kinds)]
    assert order == [ClaimTerm, RevokeSession, OpenSession, Perform, Perform]


def test_a_session_ended_by_a_rival_with_a_higher_term_is_not_opened_again() -> None:
    fresh = house()
    fresh.elect("anna")
    fresh.pass_s(8.0)
    fresh.said.terms[4] = "bert mark of bert"
    fresh["anna"].events.append(SessionEnded())
    fresh.settle()
    fresh.pass_s(20.0)
    assert fresh["anna"].alive.status(fresh.now).leadership.stage == "lost"
    assert fresh.performed == []


def test_the_pool_that_does_not_answer_the_claim_is_asked_again() -> None:
    fresh = house()
    answers = iter(["unsure", "unsure"])
    real = fresh.said.answer

    def answer(claim: ClaimTerm) -> TermClaimed:
        word = next(answers, "")
        return TermClaimed(term=claim.term, result=word) if word else real(claim)

    fresh.said.answer = answer  # type: ignore[method-assign]
    fresh.elect("anna")
    fresh.rest()
    assert len(asked(fresh["anna"].effects, ClaimTerm)) == 3
    assert len(fresh.performed) == 2


# --- all ledgers lost -----------------------------------------------------------------------------------


def forget(fresh: Parliament) -> None:
    """All daemons stop, all ledgers are lost, all daemons start."""
    for name in NAMES:
        fresh.kill(name)
        fresh[name].ledger = Ledger()
    for name in NAMES:
        fresh.boot(name)


def test_all_ledgers_lost_but_not_the_pool_means_a_hold() -> None:
    fresh = house()
    fresh.said.terms[5] = "of another life"
    forget(fresh)
    fresh.pass_s(1.0)
    fresh.elect("anna")
    assert fresh.term == 6, "above what the pool knows"
    fresh.pass_s(30.0)
    assert fresh.performed == []
    for member in fresh.living:
        (hold,) = member.ledger.values(Hold)
        assert "term 5" in hold.reason
    fresh.kill("anna")
    fresh.boot("anna")
    fresh.elect("bert")
    fresh.pass_s(30.0)
    assert fresh.performed == [], "neither a restart nor another leader ends it"


def test_a_pool_without_terms_and_empty_ledgers_are_a_beginning() -> None:
    fresh = house()
    fresh.said.terms.clear()
    forget(fresh)
    fresh.elect("anna")
    fresh.rest()
    assert len(fresh.performed) == 2
    assert fresh["cleo"].ledger.holds == ()
