"""Logging in and out, on masters and slaves, and the first checks of every call."""

import asyncio
from typing import Any

import pytest

from simulator.values import ApiError
from simulator.world import World


async def refused(world: World, host: str, method: str, *args: Any) -> list[str]:
    with pytest.raises(ApiError) as caught:
        await world.call(host, method, list(args))
    return caught.value.description


async def test_login_takes_two_to_any_number_of_arguments(world: World) -> None:
    for extra in ([], ["1.0"], ["1.0", "me"], ["1.0", "me", "more"]):
        args = ["root", "secret", *extra]
        assert str(await world.call("xen1", "session.login_with_password", args)).startswith(
            "Opaque"
        )
    assert await refused(world, "xen1", "session.login_with_password", "root") == [
        "MESSAGE_PARAMETER_COUNT_MISMATCH", "session.login_with_password", "2", "1",
    ]  # fmt: skip


async def test_a_wrong_login_is_slow_and_says_why(world: World) -> None:
    before = world.pool.clock.now()
    assert await refused(world, "xen1", "session.login_with_password", "root", "x") == [
        "SESSION_AUTHENTICATION_FAILED", "root", "Authentication failure",
    ]  # fmt: skip
    assert world.pool.clock.now() - before > 1
    nobody = await refused(world, "xen1", "session.login_with_password", "nobody", "x")
    assert nobody[:2] == ["SESSION_AUTHENTICATION_FAILED", "nobody"]
    assert nobody[2] != "Authentication failure"


async def test_the_originator_is_kept(client: Any) -> None:
    record = await client.call("session.get_record", client.session)
    assert (record["originator"], record["auth_user_name"]) == ("tests", "root")
    assert record["this_host"] == client.host("xen1")


@pytest.mark.parametrize("session", ["", "garbage", "OpaqueRef:NULL"])
async def test_sessions_that_are_none(world: World, session: str) -> None:
    for host in ("xen1", "xen2"):
        assert await refused(world, host, "host.get_all", session) == ["SESSION_INVALID", session]


async def test_after_logout(client: Any) -> None:
    await client.call("session.logout")
    assert await client.refused("host.get_all") == ["SESSION_INVALID", client.session]
    assert await client.refused("session.logout") == ["SESSION_INVALID", client.session]


async def test_a_session_ends_by_its_reference_whoever_asks(client: Any) -> None:
    """Also while it waits for events; other sessions are not touched."""
    theirs = await client.world.call("xen1", "session.login_with_password", ["root", "secret"])
    token = (await client.call("event.from", ["*"], "", 0.0))["token"]
    waiting = asyncio.create_task(
        client.world.call("xen1", "event.from", [theirs, ["VM"], token, 60.0])
    )
    await client.world.pool.clock.sleep(1)
    assert await client.world.call("xen1", "session.logout", [theirs]) == ""
    with pytest.raises(ApiError) as caught:
        await waiting
    assert caught.value.description == ["SESSION_INVALID", theirs]
    assert len(await client.call("host.get_all")) == 3


async def test_a_slave_names_its_master(client: Any) -> None:
    told = ["HOST_IS_SLAVE", "127.77.0.1"]
    world = client.world
    assert await refused(world, "xen2", "session.login_with_password", "root", "wrong") == told
    assert await refused(world, "xen2", "host.get_all", client.session) == told
    assert await refused(world, "xen2", "event.from", client.session, ["*"], "", 1.0) == told


async def test_a_local_session_looks_but_does_not_touch(client: Any) -> None:
    world, args = client.world, ["root", "secret"]
    session = await world.call("xen2", "session.slave_local_login_with_password", args)
    assert len(await world.call("xen2", "host.get_all", [session])) == 3
    assert await world.call("xen2", "host.is_in_emergency_mode", [session]) is False
    vm = await client.vm("web1")
    told = ["HOST_IS_SLAVE", "127.77.0.1"]
    assert await refused(world, "xen2", "VM.hard_shutdown", session, vm) == told
    assert await refused(world, "xen2", "pool.is_slave", client.session, "x") == told
    assert await world.call("xen2", "pool.is_slave", [session, "x"]) is True
    assert await refused(world, "xen1", "host.get_all", session) == ["SESSION_INVALID", session]
    await world.call("xen2", "session.local_logout", [session])
    assert await refused(world, "xen2", "host.get_all", session) == ["SESSION_INVALID", session]


async def test_unknown_methods_and_wrong_counts_come_before_the_session(world: World) -> None:
    assert await refused(world, "xen1", "foo") == ["MESSAGE_METHOD_UNKNOWN", "foo"]
    assert await refused(world, "xen1", "host.nope", "x") == ["MESSAGE_METHOD_UNKNOWN", "host.nope"]
    mismatch = "MESSAGE_PARAMETER_COUNT_MISMATCH"
    assert await refused(world, "xen1", "VM.get_all") == [mismatch, "VM.get_all", "0", "-1"]
    assert await refused(world, "xen1", "VM.get_record", "x") == [
        mismatch,
        "VM.get_record",
        "1",
        "0",
    ]
    assert await refused(world, "xen1", "VM.get_record", "x", "y", "z") == [
        mismatch, "VM.get_record", "1", "2",
    ]  # fmt: skip


async def test_a_full_bucket_loses_its_idlest(client: Any) -> None:
    """A nameless client that leaks sessions pushes out other nameless ones, not ours."""
    world = client.world
    login = ["root", "secret"]
    first = await world.call("xen1", "session.login_with_password", login)
    for _ in range(400):
        await world.call("xen1", "session.login_with_password", login)
    assert await refused(world, "xen1", "host.get_all", first) == ["SESSION_INVALID", first]
    assert len(await client.call("host.get_all")) == 3
