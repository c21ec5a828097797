"""Effects that reach out: each brings its event, and nothing that others do is ever raised."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from membership.roster import Member, Roster
from reconciler.actions import NOT_SHARED, Retry
from reconciler.messages import (
    Announce,
    Announced,
    CallReturned,
    ClaimTerm,
    CloseSession,
    Gather,
    Gathered,
    GuestProbed,
    HandOver,
    Muster,
    OpenSession,
    PageTold,
    Probe,
    Probed,
    ProbeGuest,
    RevokeSession,
    SessionOpened,
    SessionRevoked,
    Stage,
    Staged,
    Tell,
    TermClaimed,
    TreeLoaded,
)
from tests.edge.outreach_rig import (
    PAGE,
    TARGET,
    TREE,
    Rig,
    perform,
    share,
)


async def test_an_announcement_is_over_when_all_that_was_said_before_is_acknowledged() -> None:
    rig = Rig()
    rig.peers.acknowledging = ("xen3", "xen2")
    events = await rig.carried_out(share("a"), share("b"), Announce(term=4))
    assert events == [Announced(term=4, names=("xen2", "xen3"))]
    assert rig.done[-1] == "acknowledged a,b"


@pytest.mark.parametrize(("acknowledging", "made"), [(("xen2", "xen3"), True), (("xen2",), False)])
async def test_a_call_is_made_only_if_enough_voters_know_of_it(
    acknowledging: tuple[str, ...], made: bool
) -> None:
    rig = Rig()
    rig.peers.acknowledging = acknowledging
    rig.least = 2
    (event,) = await rig.carried_out(share("a"), perform("t1"))
    assert isinstance(event, CallReturned)
    assert (isinstance(event.answer, Retry) and event.answer.reason == NOT_SHARED) is not made
    assert any("perform" in line for line in rig.done) is made


# --- each effect and its event --------------------------------------------------------------------


async def test_gathering() -> None:
    rig = Rig()
    assert await rig.carried_out(Gather(term=4, within_s=3.0)) == [
        Gathered(term=4, names=("xen2", "xen3"))
    ]
    assert rig.done == ["gather within 3"]


@pytest.mark.parametrize("result", ["won", "lost", "unsure"])
async def test_a_claim_is_answered_by_the_pool(result: str) -> None:
    rig = Rig()
    rig.pool.claimed = TermClaimed(term=4, result=result, holder="xen2", message="m")
    claim = ClaimTerm(term=4, mark="beef", within_s=2.0)
    assert await rig.carried_out(claim) == [rig.pool.claimed]
    assert rig.done == ["claim 4.0 for beef within 2"]


async def test_the_predecessors_session_is_ended() -> None:
    rig = Rig()
    effect = RevokeSession(term=4, sealed="sealed OpaqueRef:old", within_s=2.0)
    assert await rig.carried_out(effect) == [SessionRevoked(term=4, done=True)]
    assert rig.done == ["revoke OpaqueRef:old within 2"]


async def test_a_session_that_may_still_be_good_is_not_said_to_be_over() -> None:
    rig = Rig()
    rig.pool.revoked = False
    effect = RevokeSession(term=4, sealed="sealed OpaqueRef:old", within_s=2.0)
    (event,) = await rig.carried_out(effect)
    assert isinstance(event, SessionRevoked)
    assert not event.done
    assert event.message


@pytest.mark.parametrize("sealed", ["", "by another key"])
async def test_a_session_that_nobody_can_read_is_left_to_the_wait(sealed: str) -> None:
    rig = Rig()
    rig.pool.revoked = False
    effect = RevokeSession(term=4, sealed=sealed, within_s=2.0)
    assert await rig.carried_out(effect) == [SessionRevoked(term=4, done=True)]
    assert rig.done == []


async def test_a_session_to_act_in_is_sealed_and_never_told_in_clear() -> None:
    rig = Rig()
    assert await rig.carried_out(OpenSession(term=4, within_s=2.0)) == [
        SessionOpened(term=4, sealed="sealed OpaqueRef:new")
    ]
    rig = Rig()
    rig.pool.ref = ""
    (event,) = await rig.carried_out(OpenSession(term=4, within_s=2.0))
    assert isinstance(event, SessionOpened)
    assert (event.term, event.sealed) == (4, "")
    assert event.message


async def test_closing_tells_nothing() -> None:
    rig = Rig()
    assert await rig.carried_out(CloseSession()) == []
    assert rig.done == ["close"]


@pytest.mark.parametrize("answers", [True, False, None])
async def test_a_probe_is_as_old_as_its_question(answers: bool | None) -> None:
    rig = Rig()
    rig.pool.answers, rig.pool.probe_s = answers, 0.05
    probing = asyncio.create_task(
        rig.carried_out(Probe(name="xen2", address="192.0.2.2", within_s=3.0))
    )
    await asyncio.sleep(0.02)
    rig.now_s = 103.0
    assert await probing == [Probed(name="xen2", answers=answers, at_s=100.0)]
    assert rig.done == ["probe 192.0.2.2 within 3"]


@pytest.mark.parametrize("answers", [True, False])
async def test_an_answer_of_a_guest_is_about_the_start_that_was_asked_about(answers: bool) -> None:
    rig = Rig()
    rig.guests.answers_now = answers
    asked = ProbeGuest(
        vm="vm1", started_epoch_s=7.0, by="tcp:80", addresses=("192.0.2.5",), port=80, within_s=2.0
    )
    told = GuestProbed(vm="vm1", started_epoch_s=7.0, by="tcp:80", answers=answers)
    assert await rig.carried_out(asked) == [told]
    assert rig.done == ["knock at 192.0.2.5 port 80 within 2"]


async def test_a_tree_is_taken_from_subversion_and_peers_are_not_troubled() -> None:
    rig = Rig()
    rig.source.staged = Staged(target=TARGET, tree=TREE)
    stage = Stage(target=TARGET, since=2, timeout_s=60.0)
    assert await rig.carried_out(stage) == [rig.source.staged]
    assert rig.done == ["source r3 since 2 within 60"]


@pytest.mark.parametrize("tree", [TREE, None])
async def test_where_subversion_is_away_peers_are_asked(tree: TreeLoaded | None) -> None:
    rig = Rig()
    rig.peers.staged = replace(rig.peers.staged, tree=tree)
    stage = Stage(target=TARGET, since=2, timeout_s=60.0)
    assert await rig.carried_out(stage) == [rig.peers.staged]
    assert rig.done == ["source r3 since 2 within 60", "peers r3 since 2 within 60"]


@pytest.mark.parametrize(
    ("lines", "untold", "said"),
    [
        (("exec /a: told", "mail b: exit 1"), "", ["exec /a: told; mail b: exit 1"]),
        ((), "no session", ["no way of telling anybody is set up", "no session"]),
    ],
)
async def test_people_and_the_pool_are_told_and_the_log_says_how(
    caplog: pytest.LogCaptureFixture, lines: tuple[str, ...], untold: str, said: list[str]
) -> None:
    caplog.set_level("INFO", "cxm.outreach")
    rig = Rig()
    rig.people.lines, rig.pool.untold = lines, untold
    assert await rig.carried_out(Tell(page=PAGE)) == [PageTold(page=PAGE)]
    assert sorted(rig.done) == ["people told of k", "pool told of k"]
    assert len(caplog.messages) == len(said)
    assert "held (critical)" in caplog.messages[0]
    for message, part in zip(caplog.messages, said, strict=True):
        assert part in message


async def test_what_needs_no_answer_is_done_in_its_turn() -> None:
    rig = Rig()
    roster = Roster(cluster_id="c", me="xen1", members=(Member(name="xen1"), Member(name="xen2")))
    async with asyncio.TaskGroup() as tasks:
        hands = rig.hands(tasks.create_task)
        hands.carry_out([share("a"), Muster(roster=roster), HandOver(to="xen2"), HandOver(to="")])
        assert rig.done == [
            "ledger 1",
            "muster xen1,xen2",
            "hand over to xen2",
            "hand over to anybody",
        ]
