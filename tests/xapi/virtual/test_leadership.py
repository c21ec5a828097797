"""What a leader does in the pool: claim its term, act in a session of its own, end another's, probe, tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from reconciler.actions import Answer, CleanShutdown, Done, PoolMigrate, Retry, StartOn, Unsure
from reconciler.messages import TermClaimed
from reconciler.observed import Pool
from reconciler.paging import Page, Severity
from simulator.world import World
from tests.xapi.inprocess import (
    ADDRESSES,
    DEAF,
    POOL_UUID,
    WEB1,
    WEB2,
    XEN2,
    Script,
    WorldTransport,
    sessions,
)
from tests.xapi.virtual.conftest import Watched, make_client
from xapi import acting
from xapi.pool import PoolClient
from xapi.probe import probe
from xapi.session import PoolSession
from xapi.transport import FailureKind, TransportFailure, UnknownCertificate, XapiFailure

LOGIN = "session.login_with_password"
LONG_S = 600.0
START = StartOn(vm=WEB2, node=XEN2)


@pytest.fixture
async def rival(world: World) -> AsyncIterator[PoolClient]:
    """Another node's client of the same pool."""
    client = make_client(WorldTransport(world))
    yield client
    await client.close()


def claimed(world: World) -> dict[str, str]:
    config = world.pool.row.map("other_config")
    return {key: mark for key, mark in config.items() if key.startswith("cxm-")}


async def set_config(world: World, **values: str) -> None:
    world.pool.db.update(world.pool.row, other_config=values)
    await asyncio.sleep(0.5)


def pool_of(watched: Watched) -> Pool:
    return watched.pictures()[-1].observed.pool


# --- claims ---------------------------------------------------------------------------------------


async def test_a_term_that_nobody_has(watched: Watched, world: World) -> None:
    assert (pool_of(watched).term, pool_of(watched).term_holder) == (0, "")
    answer = await watched.client.claim(7, 0, "xen1 n1", 10.0)
    assert answer == TermClaimed(term=7, result="won", holder="xen1", highest=7)
    assert claimed(world) == {"cxm-term-7": "xen1 n1"}
    await asyncio.sleep(0.5)
    assert (pool_of(watched).term, pool_of(watched).term_holder) == (7, "xen1")


async def test_a_term_is_won_by_one_mark_alone(watched: Watched, rival: PoolClient) -> None:
    answers = await asyncio.gather(
        watched.client.claim(7, 0, "xen1 n1", 10.0), rival.claim(7, 0, "xen2 n2", 10.0)
    )
    assert sorted(answer.result for answer in answers) == ["lost", "won"]
    (lost,) = (answer for answer in answers if answer.result == "lost")
    (won,) = (answer for answer in answers if answer.result == "won")
    assert lost.holder == won.holder


async def test_a_claim_of_our_own_is_won_again_but_not_by_our_next_life(watched: Watched) -> None:
    for _ in range(2):
        assert (await watched.client.claim(7, 0, "xen1 n1", 10.0)).result == "won"
    again = await watched.client.claim(7, 0, "xen1 n2", 10.0)
    assert (again.result, again.holder) == ("lost", "xen1")


async def test_a_higher_term_beats_us(watched: Watched, world: World) -> None:
    await set_config(world, **{"cxm-term-9": "xen2 n2"})
    answer = await watched.client.claim(7, 0, "xen1 n1", 10.0)
    assert (answer.result, answer.holder, answer.highest) == ("lost", "xen2", 9)
    assert claimed(world) == {"cxm-term-9": "xen2 n2"}
    later = await watched.client.claim(10, 0, "xen1 n1", 10.0)
    assert (later.result, later.before) == ("won", (9, 0))


async def test_a_higher_term_that_comes_meanwhile_beats_us_too(
    watched: Watched, world: World
) -> None:
    world.faults.start("api-hang", 3.0, method="pool.add_to_other_config")
    ours = asyncio.create_task(watched.client.claim(7, 0, "xen1 n1", 10.0))
    await asyncio.sleep(1)
    world.pool.db.update(world.pool.row, other_config={"cxm-term-8": "xen2 n2"})
    answer = await ours
    assert (answer.result, answer.highest) == ("lost", 8)


async def test_a_claim_whose_answer_was_lost_is_read_back(watched: Watched, world: World) -> None:
    world.faults.start("answer-lost", 60.0, method="pool.add_to_other_config", count="1")
    assert (await watched.client.claim(7, 0, "xen1 n1", 10.0)).result == "won"


async def test_a_pool_that_does_not_answer_leaves_it_open(watched: Watched, world: World) -> None:
    world.faults.start("api-hang", 30.0, method="pool.add_to_other_config")
    answer = await watched.client.claim(7, 0, "xen1 n1", 10.0)
    assert answer.result == "unsure"
    assert answer.message
    await asyncio.sleep(30)
    assert (await watched.client.claim(7, 0, "xen1 n1", 10.0)).result == "won"


async def test_who_leads_alone_says_so_beside_its_term(watched: Watched, world: World) -> None:
    assert (await watched.client.claim(7, 0, "xen1 n1", 10.0)).alone == 0
    for alone in (1, 2, 2):
        answer = await watched.client.claim(7, alone, "xen1 n1", 10.0)
        assert (answer.result, answer.alone) == ("won", alone)
    await asyncio.sleep(0.5)
    seen = pool_of(watched)
    assert (seen.term, seen.alone, seen.alone_by) == (7, 2, "xen1 n1")
    assert sorted(claimed(world)) == ["cxm-alone-7.2", "cxm-term-7"]


async def test_a_claim_finds_what_its_predecessor_said_last(
    watched: Watched, rival: PoolClient
) -> None:
    for alone in (0, 1, 2):
        await rival.claim(7, alone, "xen2 n2", 10.0)
    answer = await watched.client.claim(8, 0, "xen1 n1", 10.0)
    assert (answer.result, answer.before, answer.before_by) == ("won", (7, 2), "xen2 n2")


async def test_who_has_a_successor_in_the_pool_leads_alone_no_more(
    watched: Watched, rival: PoolClient
) -> None:
    await rival.claim(7, 0, "xen2 n2", 10.0)
    await watched.client.claim(8, 0, "xen1 n1", 10.0)
    assert (await rival.claim(7, 1, "xen2 n2", 10.0)).result == "lost"


async def test_in_a_term_of_another_nobody_leads_alone(watched: Watched, world: World) -> None:
    await set_config(world, **{"cxm-term-7": "xen2 n2"})
    answer = await watched.client.claim(7, 1, "xen1 n1", 10.0)
    assert answer.result == "lost"
    assert sorted(claimed(world)) == ["cxm-term-7"]


async def test_that_a_leader_is_alone_is_sure_once_the_pool_shows_it(
    watched: Watched, world: World
) -> None:
    """The call may be lost on its way, or its answer on the way back."""
    await watched.client.claim(7, 0, "xen1 n1", 10.0)
    world.faults.start("api-hang", 30.0, method="pool.add_to_other_config")
    assert (await watched.client.claim(7, 1, "xen1 n1", 10.0)).result == "unsure"
    await asyncio.sleep(30)
    world.faults.start("answer-lost", 60.0, method="pool.add_to_other_config", count="1")
    assert (await watched.client.claim(7, 1, "xen1 n1", 10.0)).result == "won"


async def test_old_claims_are_removed_and_nothing_else(watched: Watched, world: World) -> None:
    await set_config(world, auto_poweron="false", **{"cxm-term-x": "?", "cxm-term-007": "?"})
    for term in (1, 2, 4, 10):
        assert (await watched.client.claim(term, 0, "xen1 n1", 10.0)).result == "won"
    config = world.pool.row.map("other_config")
    assert sorted(config) == [
        "auto_poweron",
        "cxm-term-007",
        "cxm-term-10",
        "cxm-term-2",
        "cxm-term-4",
        "cxm-term-x",
    ]
    await asyncio.sleep(0.5)
    assert pool_of(watched).term == 10


# --- the session to act in ------------------------------------------------------------------------


def acted(world: World) -> list[tuple[str, str]]:
    """What was done to VMs, and by what name."""
    return [(entry.method, entry.originator) for entry in world.log if entry.cls == "VM"]


def acts(watched: Watched) -> bool:
    return watched.client.acting


async def test_a_leader_acts_in_its_own_session(watched: Watched, world: World) -> None:
    ref = await watched.client.open_acting(10.0)
    assert sessions(world, "cxm/0.1@tests/term") == [ref]
    assert acts(watched)
    assert await watched.client.perform("t1", START, LONG_S) == Done()
    assert acted(world) == [("VM.start_on", "cxm/0.1@tests/term")]
    await watched.client.close_acting()
    assert not acts(watched)
    assert sessions(world, "cxm/0.1@tests/term") == []


async def test_a_revoked_session_does_nothing_and_is_not_replaced(
    watched: Watched, world: World, transport: WorldTransport, rival: PoolClient
) -> None:
    ref = await watched.client.open_acting(10.0)
    assert await rival.revoke(ref, 10.0)
    logins = transport.count(LOGIN)
    for _ in range(2):
        answer = await watched.client.perform("t1", START, LONG_S)
        assert isinstance(answer, Retry)
        assert (answer.reason, answer.after_s) == ("SessionRevoked", 0.0)
    assert acted(world) == []
    assert transport.count("Async.VM.start_on") == 1
    assert transport.count(LOGIN) == logins
    assert not acts(watched)
    async with asyncio.timeout(1):
        await watched.client.acting_ended()
    # The pool is still watched: that session is another.
    assert len(sessions(world)) == 2
    assert not watched.losses()


async def test_a_new_session_acts_again(watched: Watched, rival: PoolClient) -> None:
    assert await rival.revoke(await watched.client.open_acting(10.0), 10.0)
    await watched.client.perform("t1", START, LONG_S)
    assert await watched.client.open_acting(10.0)
    assert await watched.client.perform("t2", START, LONG_S) == Done()


async def test_an_idle_leader_learns_that_its_session_is_over(
    watched: Watched, rival: PoolClient
) -> None:
    ref = await watched.client.open_acting(10.0)
    await asyncio.sleep(2 * acting.CHECK_S)
    assert acts(watched)
    assert await rival.revoke(ref, 10.0)
    async with asyncio.timeout(acting.CHECK_S + 1):
        await watched.client.acting_ended()
    assert not acts(watched)


async def test_a_restart_of_the_master_ends_it(watched: Watched, world: World) -> None:
    assert await watched.client.open_acting(10.0)
    world.restart_toolstack("xen1")
    async with asyncio.timeout(180):
        await watched.client.acting_ended()
    await watched.seen()
    answer = await watched.client.perform("t1", START, LONG_S)
    assert isinstance(answer, Retry)
    assert answer.reason == "SessionRevoked"


async def test_after_it_was_closed_nothing_is_done_in_another(
    watched: Watched, world: World
) -> None:
    await watched.client.open_acting(10.0)
    await watched.client.close_acting()
    answer = await watched.client.perform("t1", START, LONG_S)
    assert isinstance(answer, Retry)
    assert answer.reason == "LeaseOver"
    assert acted(world) == []


async def test_a_session_that_was_given_up_while_it_was_made_is_ended(
    watched: Watched, world: World
) -> None:
    world.faults.start("api-hang", 3.0, method=LOGIN)
    opening = asyncio.create_task(watched.client.open_acting(10.0))
    await asyncio.sleep(1)
    await watched.client.close_acting()
    assert await opening == ""
    await asyncio.sleep(1)
    assert not acts(watched)
    assert sessions(world, "cxm/0.1@tests/term") == []


async def test_a_pool_that_lets_nobody_in_gives_none(watched: Watched, world: World) -> None:
    world.faults.start("api-hang", 60.0, method=LOGIN)
    assert await watched.client.open_acting(5.0) == ""
    assert not acts(watched)


async def test_the_work_of_a_revoked_leader_is_followed_to_its_end(
    watched: Watched, rival: PoolClient, transport: WorldTransport
) -> None:
    ref = await watched.client.open_acting(10.0)
    moving = asyncio.create_task(
        watched.client.perform("t1", PoolMigrate(vm=WEB1, node=XEN2), LONG_S)
    )
    await asyncio.sleep(2)
    assert await rival.revoke(ref, 10.0)
    assert await moving == Done()
    assert transport.count("Async.VM.pool_migrate") == 1


async def test_a_session_that_is_over_since_long_counts_as_ended(
    rival: PoolClient, world: World
) -> None:
    assert await rival.revoke("OpaqueRef:gone", 10.0)
    world.faults.start("api-hang", 60.0, method="session.logout")
    assert not await rival.revoke("OpaqueRef:gone", 2.0)


# --- permission -----------------------------------------------------------------------------------


def at_first(times: int) -> Callable[[], bool]:
    left = iter([True] * times)
    return lambda: next(left, False)


@pytest.mark.parametrize("leads", [False, True])
async def test_nothing_is_begun_without_permission(
    watched: Watched, transport: WorldTransport, leads: bool
) -> None:
    if leads:
        await watched.client.open_acting(10.0)
    answer = await watched.client.perform("t1", START, LONG_S, lambda: False)
    assert isinstance(answer, Retry)
    assert (answer.reason, answer.after_s) == ("LeaseOver", 0.0)
    assert transport.count("Async.VM.start_on") == 0


async def test_permission_is_asked_after_the_last_wait(
    watched: Watched, world: World, transport: WorldTransport
) -> None:
    """The session has to be made anew first, and when it is there the lease is over."""
    lease_over = asyncio.Event()
    world.faults.start("api-hang", 5.0, method=LOGIN)
    for ref in sessions(world):
        await world.call("xen1", "session.logout", [ref])
    # Whoever follows the pool has noticed, and logs in again.
    await asyncio.sleep(0.5)
    asking = asyncio.create_task(
        watched.client.perform("t1", START, LONG_S, lambda: not lease_over.is_set())
    )
    await asyncio.sleep(1)
    lease_over.set()
    answer = await asking
    assert isinstance(answer, Retry)
    assert answer.reason == "LeaseOver"
    assert transport.count("Async.VM.start_on") == 0


async def test_after_the_lease_not_even_a_cancellation_is_begun(
    watched: Watched, transport: WorldTransport
) -> None:
    await watched.client.open_acting(10.0)
    answer: Answer = await watched.client.perform(
        "t1", CleanShutdown(vm=DEAF), 20.0, permitted=at_first(1)
    )
    assert isinstance(answer, Unsure)
    assert answer.reason == "TimedOut"
    assert transport.count("task.cancel") == 0


# --- probes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["xen1", "xen2"])
async def test_a_toolstack_answers_for_itself(watched: Watched, world: World, name: str) -> None:
    assert await watched.client.probe(ADDRESSES[name], 2.0) is True
    await asyncio.sleep(0.5)
    assert sessions(world, "cxm/0.1@tests/probe") == []


async def test_slaves_answer_though_the_master_is_gone(watched: Watched, world: World) -> None:
    world.power_off("xen1")
    assert await watched.client.probe(ADDRESSES["xen2"], 2.0) is True
    assert await watched.client.probe(ADDRESSES["xen1"], 2.0) is False


@pytest.mark.parametrize(("fault", "answers"), [("api-restart", None), ("api-hang", False)])
async def test_a_toolstack_that_hangs_is_silent_and_one_that_restarts_cannot_be_told(
    watched: Watched, world: World, fault: str, answers: bool | None
) -> None:
    world.faults.start(fault, 60.0, host="xen2")
    asked_s = asyncio.get_running_loop().time()
    assert await watched.client.probe(ADDRESSES["xen2"], 2.0) is answers
    assert asyncio.get_running_loop().time() - asked_s <= 2.0


STRANGER = UnknownCertificate("10.0.0.1", "AB")
PAGE = TransportFailure(FailureKind.HTTP, "HTTP 404", sent=True)
RESET = TransportFailure(FailureKind.RESET, "reset", sent=True)
REFUSED = TransportFailure(FailureKind.REFUSED, "by a kernel that lives", sent=False)
NO_NAME = TransportFailure(FailureKind.UNREACHABLE, "no such name", sent=False)
NO_HOST = TransportFailure(FailureKind.NO_HOST, "no route to host", sent=False)
LATE = TransportFailure(FailureKind.TIMEOUT, "no answer in time", sent=False)


@pytest.mark.parametrize(
    ("answer", "answers"),
    [
        ("OpaqueRef:s", True),
        (XapiFailure("HOST_IS_SLAVE", ["10.0.0.2"]), True),
        (XapiFailure("HOST_STILL_BOOTING"), True),
        (XapiFailure("SESSION_AUTHENTICATION_FAILED", ["root", "no"]), True),
        (STRANGER, None),
        (PAGE, None),
        (RESET, None),
        (REFUSED, None),
        (NO_NAME, None),
        (NO_HOST, False),
        (LATE, False),
    ],
)
async def test_what_counts_as_an_answer(answer: str | Exception, answers: bool | None) -> None:
    script = Script(session__login_with_password=lambda _: answer, session__logout=lambda _: "")
    session = PoolSession(script, ["10.0.0.9:8443"], ("root", "secret"), "cxm/0.1@tests")
    assert await probe(session, "10.0.0.1", 2.0) is answers
    assert script.asked == [("10.0.0.1:8443", LOGIN)]
    await session.close()


async def test_what_is_no_address_is_not_asked(watched: Watched, transport: WorldTransport) -> None:
    logins = transport.count(LOGIN)
    assert await watched.client.probe("", 2.0) is None
    assert transport.count(LOGIN) == logins


async def test_while_the_password_is_known_to_be_wrong_nobody_is_called_silent(
    transport: WorldTransport,
) -> None:
    """A master says so only after seconds: within the time of a probe it would look dead."""
    client = make_client(transport, password="wrong")
    watched = Watched(client)
    while not watched.losses():
        await asyncio.sleep(0.5)
    assert await client.probe(ADDRESSES["xen1"], 2.0) is None
    await watched.end()


# --- telling --------------------------------------------------------------------------------------


async def test_a_page_is_left_in_the_pool(watched: Watched, world: World) -> None:
    page = Page(key="peer/xen3", severity=Severity.CRITICAL, title="xen3 is dead", text="Look.")
    assert await watched.client.tell(page, 10.0) == ""
    (alert,) = world.pool.messages.listed()
    fields = ("name", "priority", "cls", "obj_uuid", "body")
    assert [alert.record[field] for field in fields] == [
        "xen3 is dead", 2, "Pool", POOL_UUID, "Look.",
    ]  # fmt: skip


async def test_a_page_that_the_pool_does_not_take_says_why(watched: Watched, world: World) -> None:
    page = Page(key="source", severity=Severity.WARNING, title="t", text="b")
    world.faults.start("api-hang", 60.0, method="message.create")
    assert "2 s" in await watched.client.tell(page, 2.0)
    world.faults.start("api-restart", 60.0)
    assert await watched.client.tell(page, 2.0)
