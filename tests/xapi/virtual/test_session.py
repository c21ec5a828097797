"""Finding the master, logging in once, and leaving nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from simulator.world import World
from tests.xapi.inprocess import ADDRESSES, POOL_UUID, Script, WorldTransport, sessions
from tests.xapi.virtual.conftest import Watched, make_client
from xapi.session import REFUSED_PAUSE_S, NoMaster, PoolSession
from xapi.transport import (
    FailureKind,
    TransportFailure,
    Unavailable,
    UnknownCertificate,
    XapiFailure,
)

LOGIN = "session.login_with_password"
A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"
GONE = TransportFailure(FailureKind.REFUSED, "connection refused", sent=False)
POOLS = {"OpaqueRef:p": {"uuid": POOL_UUID}}
OTHER = {"OpaqueRef:q": {"uuid": "00000000-0000-0000-0000-000000000001"}}

Answer = Callable[[str], Any]


def by_address(**answers: Any) -> Answer:
    """Answers by the last part of the address: `_1` for 10.0.0.1."""
    return lambda address: answers["_" + address.rpartition(".")[2]]


def slave_of(address: str) -> XapiFailure:
    return XapiFailure("HOST_IS_SLAVE", [address])


def script(login: Answer, pools: Answer = lambda _: POOLS) -> Script:
    return Script(
        session__login_with_password=login,
        pool__get_all_records=pools,
        session__logout=lambda _: "",
    )


def session(transport: Script, *addresses: str, pool_uuid: str = "") -> PoolSession:
    return PoolSession(transport, addresses, ("root", "secret"), "cxm/0.1@tests", pool_uuid)


async def failed(tried: PoolSession) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        await tried.login()
    return caught.value


async def test_the_master_is_found_among_the_members() -> None:
    transport = script(by_address(_1=slave_of(B), _2="OpaqueRef:s", _3=GONE))
    found = await session(transport, A, B, C).login()
    assert (found.address, found.ref, found.pool_uuid) == (B, "OpaqueRef:s", POOL_UUID)
    assert [method for _, method in transport.asked].count(LOGIN) == 3


@pytest.mark.parametrize(
    ("asked", "named", "found"),
    [
        (A, "10.0.0.2", "10.0.0.2"),
        ("10.0.0.1:8443", "10.0.0.2", "10.0.0.2:8443"),
        ("10.0.0.1:8443", "fd00::2", "[fd00::2]:8443"),
        ("[fd00::1]", "[fd00::2]", "[fd00::2]"),
    ],
)
async def test_a_master_that_is_not_configured_is_followed_on_the_same_port(
    asked: str, named: str, found: str
) -> None:
    transport = script(lambda address: "OpaqueRef:s" if address == found else slave_of(named))
    assert (await session(transport, asked).login()).address == found


async def test_members_that_name_each_other_are_not_bounced_between() -> None:
    transport = script(by_address(_1=slave_of(B), _2=slave_of(A)))
    failure = await failed(session(transport, A))
    assert isinstance(failure, NoMaster)
    assert transport.asked == [(A, LOGIN), (B, LOGIN)]
    assert "10.0.0.1 is a member of 10.0.0.2's pool" in failure.message


async def test_a_dead_master_is_named_once() -> None:
    transport = script(by_address(_1=slave_of(C), _2=slave_of(C), _3=GONE))
    failure = await failed(session(transport, A, B))
    assert failure.reason == "Refused"
    assert transport.asked.count((C, LOGIN)) == 1


@pytest.mark.parametrize("named", ["", "not an address", "a/b"])
async def test_a_master_without_an_address_is_not_followed(named: str) -> None:
    transport = script(by_address(_1=slave_of(named)))
    failure = await failed(session(transport, A))
    assert failure.reason == "HOST_IS_SLAVE"


async def test_a_member_of_another_pool_is_refused_and_logged_out() -> None:
    transport = script(lambda _: "OpaqueRef:s", lambda _: OTHER)
    tried = session(transport, A, pool_uuid=POOL_UUID)
    failure = await failed(tried)
    await tried.close()
    assert failure.reason == "OtherPool"
    assert transport.asked.count((A, "session.logout")) == 1


async def test_an_ejected_host_does_not_stand_in_for_the_pool() -> None:
    transport = script(lambda _: "OpaqueRef:s", by_address(_1=OTHER, _2=POOLS))
    tried = session(transport, A, B, pool_uuid=POOL_UUID)
    assert (await tried.login()).address == B
    await tried.close()
    assert transport.asked.count((A, "session.logout")) == 1


async def test_addresses_of_two_pools_are_refused_where_none_is_known() -> None:
    transport = script(lambda _: "OpaqueRef:s", by_address(_1=OTHER, _2=POOLS))
    tried = session(transport, A, B)
    failure = await failed(tried)
    await tried.close()
    assert failure.reason == "OtherPool"
    assert [method for _, method in transport.asked].count("session.logout") == 2


async def test_the_pool_that_was_found_is_kept_to() -> None:
    seen = iter([POOLS, OTHER])
    tried = session(script(lambda _: "OpaqueRef:s", lambda _: next(seen)), A)
    await tried.login()
    tried.drop()
    assert (await failed(tried)).reason == "OtherPool"


async def test_two_masters_of_one_pool_are_refused() -> None:
    """The old one has come back alone: each of them believes itself."""
    believing = [{"OpaqueRef:p": {"uuid": POOL_UUID, "master": name}} for name in "ab"]
    transport = script(lambda _: "OpaqueRef:s", by_address(_1=believing[0], _2=believing[1]))
    tried = session(transport, A, B)
    failure = await failed(tried)
    await tried.close()
    assert failure.reason == "TwoMasters"
    assert [method for _, method in transport.asked].count("session.logout") == 2


async def test_a_master_known_by_two_addresses_is_one_master() -> None:
    """Configured by name, and told by the pool as a number."""
    transport = script(lambda _: "OpaqueRef:s")
    tried = session(transport, A, B)
    assert (await tried.login()).address == A
    await tried.close()
    logouts = sorted(where for where, method in transport.asked if method == "session.logout")
    assert logouts == [A, B]


async def test_a_late_second_session_is_logged_out() -> None:
    class Late(Script):
        async def call(self, address: str, method: str, params: Any, deadline_s: float) -> Any:
            await asyncio.sleep(5.0 if address == B else 0.0)
            return await super().call(address, method, params, deadline_s)

    transport = Late(
        session__login_with_password=lambda _: "OpaqueRef:s",
        pool__get_all_records=lambda _: POOLS,
        session__logout=lambda _: "",
    )
    tried = session(transport, A, B)
    assert (await tried.login()).address == A
    await tried.close()
    logouts = {where for where, method in transport.asked if method == "session.logout"}
    assert logouts == {A, B}


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"_1": XapiFailure("HOST_STILL_BOOTING")}, "HOST_STILL_BOOTING"),
        (
            {"_1": XapiFailure("HOST_MASTER_CANNOT_TALK_BACK", ["x"])},
            "HOST_MASTER_CANNOT_TALK_BACK",
        ),
        ({"_1": GONE, "_2": XapiFailure("HOST_BROKEN")}, "HOST_BROKEN"),
        ({"_1": GONE, "_2": UnknownCertificate(B, "AB:CD")}, "UnknownCertificate"),
        (
            {
                "_1": UnknownCertificate(A, "AB"),
                "_2": XapiFailure("SESSION_AUTHENTICATION_FAILED", ["root", "no"]),
            },
            "SESSION_AUTHENTICATION_FAILED",
        ),
    ],
)
async def test_the_most_telling_failure_is_told(answers: dict[str, Any], reason: str) -> None:
    addresses = [f"10.0.0.{name[1:]}" for name in answers]
    failure = await failed(session(script(by_address(**answers)), *addresses))
    assert failure.reason == reason


async def test_an_unknown_certificate_reaches_the_caller_as_it_is() -> None:
    failure = await failed(session(script(lambda _: UnknownCertificate(A, "AB:CD")), A))
    assert isinstance(failure, UnknownCertificate)
    assert failure.fingerprint == "AB:CD"
    assert "--fingerprint AB:CD" in failure.message


@pytest.mark.parametrize("pools", ["", [], {}, {"r": 5}, POOLS | OTHER])
async def test_a_session_with_no_telling_pool_is_given_back(pools: Any) -> None:
    transport = script(lambda _: "OpaqueRef:s", lambda _: pools)
    tried = session(transport, A)
    assert (await failed(tried)).reason == "BadAnswer"
    assert transport.asked.count((A, "session.logout")) == 1


async def test_refused_credentials_are_not_hammered_with(transport: WorldTransport) -> None:
    watched = Watched(make_client(transport, password="wrong"))
    await asyncio.sleep(REFUSED_PAUSE_S * 3 + 15)
    losses = watched.losses()
    await watched.end()
    assert watched.pictures() == []
    assert {loss.reason for loss in losses} == {"SESSION_AUTHENTICATION_FAILED"}
    assert len(losses) > 10
    # Members that are not the master do not look at the password.
    asked = [call for call in transport.asked if call.address == ADDRESSES["xen1"]]
    assert len([call for call in asked if call.method == LOGIN]) == 4


async def test_callers_share_one_login(transport: WorldTransport) -> None:
    client = make_client(transport)
    inner = client._session
    found = await asyncio.gather(*(inner.login() for _ in range(5)))
    assert len({login.ref for login in found}) == 1
    assert transport.count(LOGIN) == len(ADDRESSES)
    await client.close()


@pytest.mark.parametrize("steps", range(1, 12))
async def test_a_caller_cut_off_in_the_login_leaves_no_session(
    transport: WorldTransport, world: World, steps: int
) -> None:
    client = make_client(transport)
    calling = asyncio.create_task(client.snapshot())
    for _ in range(steps):
        await asyncio.sleep(0.01)
    calling.cancel()
    await asyncio.wait([calling])
    await client.close()
    assert sessions(world) == []


async def test_a_dead_member_costs_no_more_than_a_moment() -> None:
    class Slow(Script):
        async def call(self, address: str, method: str, params: Any, deadline_s: float) -> Any:
            if address == B:
                await asyncio.sleep(deadline_s)
                raise GONE
            return await super().call(address, method, params, deadline_s)

    transport = Slow(
        session__login_with_password=lambda _: "OpaqueRef:s", pool__get_all_records=lambda _: POOLS
    )
    started_s = asyncio.get_running_loop().time()
    assert (await session(transport, A, B).login()).address == A
    assert asyncio.get_running_loop().time() - started_s < 3.0


@pytest.mark.parametrize("addresses", [(), ("",), ("a b",), ("host:0",), ("https://host",)])
async def test_ill_formed_addresses_are_refused_at_once(addresses: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"address|port"):
        session(script(lambda _: ""), *addresses)
