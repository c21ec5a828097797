"""What members take themselves for, and what a new master is made of: against the simulated pool."""

from __future__ import annotations

import asyncio

import pytest

from reconciler.members import Role, Said
from simulator.world import World
from tests.xapi.inprocess import ADDRESSES, WorldTransport
from tests.xapi.virtual.conftest import make_client
from xapi.pool import PoolClient
from xapi.roles import role
from xapi.session import PoolSession
from xapi.transport import FailureKind, JsonValue, TransportFailure, XapiFailure

SOON_S = 5.0


async def roles(client: PoolClient) -> dict[str, Said]:
    return {name: await client.role(address, SOON_S) for name, address in ADDRESSES.items()}


async def test_a_pool_in_health(transport: WorldTransport) -> None:
    async with make_client(transport) as client:
        said = await roles(client)
    master = ADDRESSES["xen1"]
    assert said["xen1"] == Said(role=Role.MASTER)
    assert said["xen2"] == said["xen3"] == Said(role=Role.SLAVE, follows=master)


async def test_a_session_to_ask_is_left_again(transport: WorldTransport, world: World) -> None:
    async with make_client(transport) as client:
        await client.role(ADDRESSES["xen1"], SOON_S)
        await asyncio.sleep(1.0)
        names = [row.text("originator") for row in world.pool.db.rows("session")]
        assert not any(name.endswith("/probe") for name in names)


async def test_a_dead_masters_slaves_go_on_naming_it(
    transport: WorldTransport, world: World
) -> None:
    async with make_client(transport) as client:
        world.power_off("xen1")
        said = await roles(client)
        assert said["xen1"].role is Role.SILENT
        assert said["xen2"] == Said(role=Role.SLAVE, follows=ADDRESSES["xen1"])


async def test_one_whose_toolstack_starts_meanwhile_is_alone(
    transport: WorldTransport, world: World
) -> None:
    async with make_client(transport) as client:
        world.power_off("xen1")
        world.restart_toolstack("xen2")
        await asyncio.sleep(300.0)
        assert (await roles(client))["xen2"].role is Role.ALONE


async def test_a_member_becomes_master_and_gathers_the_others(
    transport: WorldTransport, world: World
) -> None:
    async with make_client(transport) as client:
        await client.snapshot()
        world.power_off("xen1")
        assert await client.make_master(ADDRESSES["xen2"], SOON_S) == ""
        assert (await client.role(ADDRESSES["xen2"], SOON_S)).role is Role.SLAVE, "for a moment"
        await asyncio.sleep(120.0)
        assert (await client.role(ADDRESSES["xen2"], SOON_S)).role is Role.MASTER
        methods = len(transport.methods())
        assert await client.make_master(ADDRESSES["xen2"], SOON_S) == "", "it is already"
        assert "pool.emergency_transition_to_master" not in transport.methods()[methods:]


async def test_what_may_not_be_begun_is_not(transport: WorldTransport, world: World) -> None:
    async with make_client(transport) as client:
        await client.snapshot()
        world.power_off("xen1")
        assert "may not act" in await client.make_master(ADDRESSES["xen2"], SOON_S, lambda: False)
        assert "pool.emergency_transition_to_master" not in transport.methods()
        assert world.site.machines["xen2"].local_sessions == set()
        assert await client.make_master(ADDRESSES["xen1"], SOON_S) != "", "it is off"


async def test_copies_go_to_all_members(transport: WorldTransport, world: World) -> None:
    async with make_client(transport) as client:
        await client.snapshot()
        before = world.site.machines["xen2"].copy
        assert await client.send_copies(SOON_S) == ""
        assert world.site.machines["xen2"].copy is not before
        world.faults.start("api-hang", 60.0, method="pool.sync_database")
        assert await client.send_copies(SOON_S) != ""


class Answering:
    """Every login is answered like this."""

    def __init__(self, answer: Exception) -> None:
        self._answer = answer

    async def call(self, address: str, method: str, params: object, deadline_s: float) -> JsonValue:
        del address, method, params, deadline_s
        raise self._answer

    async def close(self) -> None:
        return


@pytest.mark.parametrize(
    ("answer", "taken"),
    [
        (XapiFailure("HOST_IS_SLAVE", ["192.0.2.9"]), Role.SLAVE),
        (XapiFailure("HOST_IS_SLAVE"), Role.UNKNOWN),
        (XapiFailure("HOST_STILL_BOOTING"), Role.BOOTING),
        (XapiFailure("HOST_UNKNOWN_TO_MASTER", ["u"]), Role.ALONE),
        (XapiFailure("INTERNAL_ERROR", ["ECONNREFUSED"]), Role.ALONE),
        (XapiFailure("SESSION_AUTHENTICATION_FAILED"), Role.MASTER),
        (XapiFailure("MESSAGE_METHOD_UNKNOWN"), Role.UNKNOWN),
        (TransportFailure(FailureKind.TIMEOUT, "late", sent=True), Role.SILENT),
        (TransportFailure(FailureKind.REFUSED, "no", sent=False), Role.SILENT),
        (TransportFailure(FailureKind.UNREACHABLE, "no such name", sent=False), Role.UNKNOWN),
        (TransportFailure(FailureKind.HTTP, "a web server", sent=True), Role.UNKNOWN),
    ],
)
async def test_what_each_answer_is_taken_for(answer: Exception, taken: Role) -> None:
    session = PoolSession(Answering(answer), ["192.0.2.1"], ("root", "s"), "cxm/0.1@tests")
    assert (await role(session, "192.0.2.1", SOON_S)).role is taken


async def test_an_address_that_is_none_is_not_asked() -> None:
    session = PoolSession(Answering(AssertionError()), ["192.0.2.1"], ("root", "s"), "cxm/0.1@t")
    assert (await role(session, "192.0.2.1:none", SOON_S)).role is Role.UNKNOWN
