"""A promotion, step by step: what is known before what is done, and what is never done."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace as with_parts
from typing import TypeVar

import pytest
from msgspec.structs import replace

from membership.clock import Now
from membership.ledger import Fact, FactValue, Hold, Withdrawn
from membership.proofs import MayRun, Place, Promotion, Unread
from reconciler.accusing import Hearing, accused
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
from reconciler.messages import Effect, HandOver
from reconciler.promotion import (
    CALL_OFF_S,
    ORDER_AGAIN_S,
    TABLE,
    TELL_EVERY_S,
    Promoting,
    Stage,
    Step,
)
from tests.core.court import WEB, died
from tests.core.orphans import (
    ADDRESSES,
    MASTER,
    SAID,
    SILENT,
    SLAVE,
    XEN1,
    XEN2,
    XEN3,
    later,
    orphaned,
    promoted,
)

E = TypeVar("E", bound=Effect)
FOLLOWS = Said(role=Role.SLAVE, follows=ADDRESSES[XEN2])
RISEN = {XEN1: FOLLOWS, XEN2: MASTER, XEN3: SILENT}


def step(promoting: Promoting, at: Hearing) -> Moves:
    return promoting.step(at, accused(at))


def asked(promoting: Promoting, said: dict[str, Said], at: Hearing) -> None:
    promoting.asked(MembersAsked(said=said), at.now)


def only(moves: Moves, kind: type[E]) -> E:
    (found,) = (effect for effect in moves.effects if isinstance(effect, kind))
    return found


def none(moves: Moves, kind: type[Effect]) -> bool:
    return not any(isinstance(effect, kind) for effect in moves.effects)


def known(at: Hearing, moves: Moves) -> Hearing:
    """The same once what was said is in the ledger."""
    facts = (
        Fact(key=key, term=term, seq=100 + number, at_epoch_s=0.0, value=value)
        for number, (key, value, term) in enumerate(moves.facts)
    )
    return with_parts(at, ledger=at.ledger.merge(facts))


def named() -> tuple[Promoting, Hearing, Moves]:
    """A promotion whose fact was just said."""
    promoting, at = Promoting(), orphaned()
    step(promoting, at)
    asked(promoting, SAID, at)
    return promoting, at, step(promoting, at)


def resumed(promotion: Promotion, **shown: object) -> tuple[Promoting, Hearing]:
    """A successor that finds this one under way."""
    at = orphaned(but={"promotion": promotion}, **shown)  # type: ignore[arg-type]
    promoting = Promoting()
    step(promoting, at)
    return promoting, at


def test_only_listed_steps_lead_anywhere() -> None:
    for stage, taken in itertools.product(Stage, Step):
        promoting = Promoting()
        promoting.stage = stage
        promoting._go(taken)
        assert promoting.stage is TABLE.get((stage, taken), stage)


def test_the_members_are_asked_first_and_all_of_them() -> None:
    promoting, at = Promoting(), orphaned()
    moves = step(promoting, at)
    assert dict(only(moves, AskMembers).addresses) == ADDRESSES
    assert moves.facts == []
    assert none(step(promoting, at), AskMembers), "once"


def test_a_follower_asks_nobody() -> None:
    promoting = Promoting()
    assert step(promoting, with_parts(orphaned(), leads=False)).effects == []
    assert promoting.stage is Stage.IDLE


def test_the_facts_come_before_the_order() -> None:
    promoting, at, moves = named()
    assert [key for key, _, _ in moves.facts] == ["may-run", "promotion"]
    (_, unread, _), (_, promotion, term) = moves.facts
    assert isinstance(unread, Unread)
    assert unread.dead == (XEN3,)
    assert isinstance(promotion, Promotion)
    assert (promotion.old, promotion.certificate, promotion.stage) == (XEN3, "C-xen3", "begun")
    assert promotion.term == term == at.view.term
    order = only(moves, MakeMaster)
    assert (order.promotion, order.address) == (promotion.id, ADDRESSES[promotion.host])
    assert promoting.stage is Stage.ORDER


@pytest.mark.parametrize("role", [MASTER, SILENT, Said(role=Role.BOOTING)])
def test_nobody_is_named_while_one_may_be_master(role: Said) -> None:
    promoting, at = Promoting(), orphaned()
    step(promoting, at)
    asked(promoting, {**SAID, XEN2: role}, at)
    moves = step(promoting, at)
    assert moves.facts == []
    assert none(moves, MakeMaster)
    assert "xen2" in promoting.message


def test_nobody_is_named_in_a_hold() -> None:
    promoting = Promoting()
    at = later(orphaned(), "hold/h", Hold(id="h", reason="wait", by="anna"))
    step(promoting, at)
    asked(promoting, SAID, at)
    assert step(promoting, at).facts == []
    assert "wait" in promoting.message


def test_an_old_copy_is_a_hold_and_no_order() -> None:
    promoting = Promoting()
    moved = MayRun(vm=WEB, places=(Place(host=XEN2, term=3, seq=40),))
    at = later(orphaned(on="xen2"), f"may-run/{WEB}", moved)
    step(promoting, at)
    asked(promoting, SAID, at)
    moves = step(promoting, at)
    ((key, hold, _),) = moves.facts
    assert isinstance(hold, Hold)
    assert key == f"hold/{hold.id}"
    assert none(moves, MakeMaster)
    held = known(at, moves)
    assert step(promoting, held).facts == [], "raised once"
    released = later(held, key, Withdrawn(by="anna"), 200)
    assert only(step(promoting, released), MakeMaster)


def test_one_in_a_term() -> None:
    """The one that was named in this term died: another node leads on, in a term of its own."""
    ended = promoted(term=3, host=XEN2, stage="called-off")
    promoting, at = Promoting(), orphaned(but={"promotion": ended})
    step(promoting, at)
    asked(promoting, SAID, at)
    moves = step(promoting, at)
    assert moves.facts == []
    assert only(moves, HandOver)
    assert none(step(promoting, at), HandOver), "asked for once"


# --- told, and not yet master -------------------------------------------------------------------------


def test_who_was_told_is_told_again_only_where_it_did_not_hear() -> None:
    promoting, at, moves = named()
    at = known(at, moves)
    promotion = at.ledger.get("promotion", Promotion)
    assert promotion is not None
    promoting.made(MasterMade(promotion=promotion.id), accused(at), at.now)
    assert promoting.stage is Stage.RISE
    soon = _after(at, ORDER_AGAIN_S - 1.0)
    asked(promoting, SAID, soon)
    assert none(step(promoting, soon), MakeMaster)
    late = _after(at, ORDER_AGAIN_S)
    assert only(step(promoting, late), MakeMaster).promotion == promotion.id
    assert late.ledger.get("promotion", Promotion) == promotion, "no other one is named"


def _after(at: Hearing, seconds: float) -> Hearing:
    now = Now(mono_s=at.now.mono_s + seconds, epoch_s=at.now.epoch_s + seconds)
    return with_parts(at, now=now)


def test_while_it_starts_it_is_waited_for() -> None:
    promoting, at = resumed(promoted())
    late = _after(at, 10 * ORDER_AGAIN_S)
    asked(promoting, {**SAID, XEN2: Said(role=Role.BOOTING)}, late)
    assert none(step(promoting, late), MakeMaster)


def test_a_successor_goes_on_with_the_one_that_was_named() -> None:
    promoting, at = resumed(promoted())
    assert promoting.stage is Stage.RISE
    late = _after(at, ORDER_AGAIN_S)
    asked(promoting, SAID, late)
    moves = step(promoting, late)
    assert only(moves, MakeMaster).address == ADDRESSES[XEN2]
    assert moves.facts == []


def test_the_one_that_was_named_died() -> None:
    """A later term names another one, whose copy is as good as it was."""
    promoting, at = resumed(promoted())
    at = later(at, "certificate/xen2", died("xen2"))
    states = {**at.view.peers, "xen2": at.view.peers["xen3"]}
    at = with_parts(at, view=replace(at.view, peers=states))
    step(promoting, at)
    assert promoting.stage is Stage.ASK
    asked(promoting, {XEN1: SLAVE, XEN2: SILENT, XEN3: SILENT}, at)
    moves = step(promoting, at)
    assert only(moves, MakeMaster).address == ADDRESSES[XEN1]
    promotion = {key: value for key, value, _ in moves.facts}["promotion"]
    assert isinstance(promotion, Promotion)
    assert (promotion.host, promotion.old) == (XEN1, XEN2)


def test_two_masters_are_held() -> None:
    promoting, at = resumed(promoted())
    asked(promoting, {**SAID, XEN2: MASTER, XEN3: MASTER}, at)
    assert ["both answer" in why for why in step(promoting, at).holds.values()] == [True]
    held = later(at, "hold/h", Hold(id="h", reason="two masters", by="cxm"))
    assert step(promoting, held).holds == {}, "once"


def test_it_is_called_off_where_the_old_master_is_back_and_nobody_took_its_place() -> None:
    promoting, at = resumed(promoted())
    back = {**SAID, XEN3: MASTER}
    soon = _after(at, CALL_OFF_S - 1.0)
    asked(promoting, back, soon)
    assert step(promoting, soon).facts == []
    late = _after(at, CALL_OFF_S)
    asked(promoting, back, late)
    ((key, ended, _),) = step(promoting, late).facts
    assert isinstance(ended, Promotion)
    assert (key, ended.stage) == ("promotion", "called-off")


# --- master, and not yet followed ---------------------------------------------------------------------

ANEW = {"xen1": {"started": "200."}, "xen2": {"started": "150."}}


def test_the_others_are_told_once_calls_may_be_made() -> None:
    promoting, at = resumed(promoted(), master=XEN2)
    assert promoting.stage is Stage.JOIN
    assert none(step(promoting, at), TellMembers)
    acting = with_parts(at, acts=True)
    assert only(step(promoting, acting), TellMembers).promotion == "P-2-9"
    assert none(step(promoting, acting), TellMembers)
    promoting.told(MembersTold(promotion="P-2-9"), acting.now)
    assert none(step(promoting, acting), TellMembers)
    assert only(step(promoting, _after(acting, TELL_EVERY_S)), TellMembers)


def test_it_is_over_once_each_has_joined_or_is_dead() -> None:
    promoting, at = resumed(promoted(joined=(XEN2,)), master=XEN2, hosts=ANEW)
    asked(promoting, RISEN, with_parts(at, now=_after(at, -1.0).now))
    ((_, over, _),) = step(promoting, at).facts
    assert isinstance(over, Promotion)
    assert (over.stage, over.joined) == ("over", tuple(sorted((XEN1, XEN2))))
    assert promoting.stage is Stage.IDLE


def test_it_waits_for_one_that_lives_whatever_certificate_of_an_earlier_death_there_is() -> None:
    """xen1 died and came back. The new master's copy is older than its return, so it shows the boot that
    the certificate ended, and xen1 has not told yet what it runs by now."""
    anew = {"xen2": {"started": "200."}}
    earlier: Mapping[str, FactValue] = {"promotion": promoted(), "certificate__xen1": died("xen1")}
    at = orphaned(but=earlier, master=XEN2, hosts=anew)
    promoting = Promoting()
    step(promoting, at)
    asked(promoting, {XEN1: SLAVE, XEN2: MASTER, XEN3: SILENT}, at)
    newer = replace(at.observed, as_of_s=at.now.mono_s + 1.0)
    moves = step(promoting, with_parts(at, observed=newer))
    assert accused(at).awaited() == (XEN1, XEN2)
    assert "xen1 has yet to join" in promoting.message
    said = [value for _, value, _ in moves.facts if isinstance(value, Promotion)]
    assert [promotion.stage for promotion in said] == ["begun"]


def test_it_waits_no_more_for_one_that_was_dead_when_the_master_was_named() -> None:
    """Nothing is begun anywhere before it is over."""
    named = Unread(why="", dead=(XEN1, XEN3))
    earlier: Mapping[str, FactValue] = {"promotion": promoted(), "certificate__xen1": died("xen1")}
    at = orphaned(but={**earlier, "may-run": named}, master=XEN2)
    assert accused(at).awaited() == (XEN2,)


def test_an_answer_counts_with_a_picture_of_the_pool_that_is_newer() -> None:
    promoting, at = resumed(promoted(joined=(XEN2,)), master=XEN2, hosts=ANEW)
    asked(promoting, RISEN, _after(at, 1.0))
    assert step(promoting, _after(at, 2.0)).facts == []
    assert promoting.message.startswith("xen1 has yet to join xen2")


def test_who_has_joined_is_known_one_by_one() -> None:
    hosts = {"xen2": ANEW["xen2"]}
    promoting, at = resumed(promoted(), master=XEN2, hosts=hosts)
    asked(promoting, RISEN, _after(at, -1.0))
    ((_, going_on, _),) = step(promoting, at).facts
    assert isinstance(going_on, Promotion)
    assert (going_on.stage, going_on.joined) == ("begun", (XEN2,))
