"""Every exchange broken in every way, once: what is told, and that it heals."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from reconciler.actions import Call, Done, PoolMigrate, Retry, SetNameLabel, Unsure
from reconciler.observed import PowerState
from tests.xapi.inprocess import WEB1, WEB2, XEN2, WorldTransport, make_world, sessions
from tests.xapi.virtual.conftest import Watched, make_client
from xapi.transport import FailureKind, JsonValue, TransportFailure, Unavailable, XapiFailure

BREAKS = [
    TransportFailure(kind, "broken", sent=sent)
    for kind, sent in (
        (FailureKind.REFUSED, False),
        (FailureKind.TLS, False),
        (FailureKind.TIMEOUT, False),
        (FailureKind.TIMEOUT, True),
        (FailureKind.RESET, True),
        (FailureKind.HTTP, True),
    )
]
ALSO_REFUSED = [*BREAKS, XapiFailure("INTERNAL_ERROR", ["why"])]


class Breaking(WorldTransport):
    """Breaks the next call of one method; what was sent is carried out all the same."""

    method = ""
    failure: Unavailable | None = None

    def break_next(self, method: str, failure: Unavailable) -> None:
        self.method, self.failure = method, failure

    async def call(
        self, address: str, method: str, params: Sequence[JsonValue], deadline_s: float
    ) -> JsonValue:
        failure = self.failure
        if failure is None or method != self.method:
            return await super().call(address, method, params, deadline_s)
        self.failure = None
        if isinstance(failure, TransportFailure) and failure.sent:
            await super().call(address, method, params, deadline_s)
        raise failure


async def begun() -> tuple[Watched, Breaking]:
    transport = Breaking(make_world())
    watched = Watched(make_client(transport))
    await watched.seen()
    return watched, transport


@pytest.mark.parametrize("failure", BREAKS, ids=lambda f: f"{f.kind.name} sent={f.sent}")
@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("Async.VM.pool_migrate", PoolMigrate(vm=WEB1, node=XEN2)),
        ("VM.set_name_label", SetNameLabel(vm=WEB2, label="new")),
    ],
)
async def test_the_call_itself(method: str, call: Call, failure: TransportFailure) -> None:
    watched, transport = await begun()
    transport.break_next(method, failure)
    answer = await watched.client.perform("t1", call, 600.0)
    assert isinstance(answer, Unsure if failure.sent else Retry)
    assert transport.count(method) == (1 if failure.sent else 0)
    await watched.end()
    assert sessions(transport.world) == []


@pytest.mark.parametrize("failure", ALSO_REFUSED, ids=str)
@pytest.mark.parametrize(
    "method", ["task.add_to_other_config", "task.destroy", "event.inject", "event.from"]
)
async def test_what_goes_with_the_call(method: str, failure: Unavailable) -> None:
    """A tag that was not set, a task not cleared away, a look that failed: the call is done."""
    watched, transport = await begun()
    transport.break_next(method, failure)
    answer = await watched.client.perform("t1", PoolMigrate(vm=WEB1, node=XEN2), 600.0)
    assert answer == Done()
    await asyncio.sleep(20)
    assert transport.failure is None
    assert watched.pictures()[-1].observed.vms[WEB1].node == XEN2
    assert watched.pictures()[-1].observed.vms[WEB1].power is PowerState.RUNNING
    await watched.end()
    assert sessions(transport.world) == []


@pytest.mark.parametrize("failure", ALSO_REFUSED, ids=str)
async def test_a_broken_look_is_told_and_heals(failure: Unavailable) -> None:
    watched, transport = await begun()
    transport.break_next("event.from", failure)
    await asyncio.sleep(30)
    assert [lost.reason for lost in watched.losses()] == [failure.reason]
    assert watched.pictures()[-1].observed.age_s(asyncio.get_running_loop().time()) < 11.0
    await watched.end()


@pytest.mark.parametrize("code", ["EVENTS_LOST", "EVENT_FROM_TOKEN_PARSE_FAILURE"])
async def test_a_lost_thread_is_taken_up_again_without_a_word(code: str) -> None:
    watched, transport = await begun()
    transport.break_next("event.from", XapiFailure(code, ["x"]))
    await asyncio.sleep(12)
    whole = [call for call in transport.asked if call.params[2:3] == ("",)]
    assert len([call for call in whole if call.method == "event.from"]) == 2
    assert watched.losses() == []
    await watched.end()


async def test_a_server_that_always_loses_the_thread_is_not_asked_in_a_loop() -> None:
    class Forgetful(WorldTransport):
        async def call(
            self, address: str, method: str, params: Sequence[JsonValue], deadline_s: float
        ) -> JsonValue:
            if method == "event.from":
                self.asked.append(self.asked[-1])
                raise XapiFailure("EVENTS_LOST")
            return await super().call(address, method, params, deadline_s)

    transport = Forgetful(make_world())
    watched = Watched(make_client(transport))
    await asyncio.sleep(60)
    assert watched.losses()[-1].reason == "EVENTS_LOST"
    assert len(transport.asked) < 200
    await watched.end()
    assert sessions(transport.world) == []


@pytest.mark.parametrize("failure", ALSO_REFUSED, ids=str)
@pytest.mark.parametrize("method", ["session.login_with_password", "pool.get_all_records"])
async def test_a_broken_login_is_told_and_heals(method: str, failure: Unavailable) -> None:
    transport = Breaking(make_world())
    transport.break_next(method, failure)
    watched = Watched(make_client(transport))
    await asyncio.sleep(30)
    assert watched.pictures()
    assert watched.pictures()[-1].observed.age_s(asyncio.get_running_loop().time()) < 11.0
    await watched.end()
    # A login that was carried out and never heard of is the pool's to forget.
    unheard = method.startswith("session") and isinstance(failure, TransportFailure)
    assert len(sessions(transport.world)) <= (1 if unheard else 0)


@pytest.mark.parametrize("failure", ALSO_REFUSED, ids=str)
async def test_a_broken_farewell_does_not_hold_up_the_end(failure: Unavailable) -> None:
    watched, transport = await begun()
    transport.break_next("session.logout", failure)
    began_s = asyncio.get_running_loop().time()
    await watched.end()
    assert asyncio.get_running_loop().time() - began_s < 5.0
    assert transport.methods()[-1] == "close"
