"""Faults that strike the connection: hangs, lateness, lost answers, hosts that are gone."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path

import pytest

from simulator.serve import Simulation
from tests.wire.served import (
    NOTHING,
    Connection,
    Refused,
    Session,
    eventually,
    has_state,
    post,
    request,
    served,
)

POOL = (Path(__file__).parent / "cases" / "pool.yaml").read_text()
ASK = request("host.get_all", ["OpaqueRef:NULL"])
HEAD = f"POST /jsonrpc HTTP/1.1\r\nHost: x\r\nContent-Length: {len(ASK)}\r\n\r\n"


async def _refused(running: Simulation, host: int) -> bool:
    try:
        connection = await Connection.to(running.hosts[host].url)
    except ConnectionRefusedError:
        return True
    except (ConnectionError, ssl.SSLError):
        return False  # cut while it was being made: the host is just going
    await connection.close()
    return False


async def _until_refused(running: Simulation, host: int, refused: bool) -> None:
    async def as_wanted() -> bool:
        return await _refused(running, host) == refused

    await eventually(as_wanted)


async def _silent(running: Simulation, host: int) -> bool:
    """Whether who connects is neither refused nor served."""
    try:
        async with asyncio.timeout(0.3):
            await _refused(running, host)
    except TimeoutError:
        return True
    return False


async def _refuses(session: Session, code: str) -> bool:
    """Whether the session's host refuses a call, by now with that code."""
    try:
        await session.call("host.get_all")
    except Refused as refused:
        return refused.code == code
    return False


async def test_a_hung_api_reads_and_says_nothing_until_the_fault_is_over(tmp_path: Path) -> None:
    async with served(tmp_path, POOL) as running:
        session = await Session.login(running.hosts[0].url)
        number = running.world.faults.start("api-hang", 60, host="xen1")
        asking = asyncio.create_task(session.call("host.get_all"))
        await asyncio.sleep(0.3)
        assert not asking.done()
        running.world.faults.stop(number)
        assert len(await asyncio.wait_for(asking, 5)) == 2


async def test_a_hang_of_one_host_leaves_the_others_alone(tmp_path: Path) -> None:
    async with served(tmp_path, POOL) as running:
        running.world.faults.start("api-hang", 60, host="xen2")
        session = await Session.login(running.hosts[0].url)
        assert len(await session.call("host.get_all")) == 2


async def test_a_lost_answer_is_that_of_a_call_that_was_performed(tmp_path: Path) -> None:
    async with served(tmp_path, POOL) as running:
        session = await Session.login(running.hosts[0].url)
        (vm,) = await session.call("VM.get_by_name_label", "db1")
        running.world.faults.start("answer-lost", 60, method="VM.start", count="1")
        lost = request("Async.VM.start", [session.ref, vm, False, False])
        assert await post(running.hosts[0].url, "/jsonrpc", lost) is NOTHING
        await eventually(lambda: has_state(session, vm, "Running"))
        assert running.world.faults.listed() == []


async def test_slow_answers_are_late_and_right(tmp_path: Path) -> None:
    async with served(tmp_path, POOL) as running:
        session = await Session.login(running.hosts[0].url)
        running.world.faults.start("slow", 60, ms="300")
        began = asyncio.get_running_loop().time()
        assert len(await session.call("host.get_all")) == 2
        assert asyncio.get_running_loop().time() - began >= 0.3


async def test_a_host_without_power_is_silent_and_cuts_what_was_open(tmp_path: Path) -> None:
    async with served(tmp_path, POOL) as running:
        session = await Session.login(running.hosts[0].url)
        idle = await Connection.to(running.hosts[1].url)
        assert (await idle.ask(HEAD, ASK)).status == "HTTP/1.1 200 OK"
        running.world.power_off("xen2")
        await eventually(lambda: _silent(running, 1))
        assert await idle.ask(HEAD, ASK) is NOTHING
        assert len(await session.call("host.get_all")) == 2
        running.world.power_on("xen2")
        await _until_refused(running, 1, refused=False)


async def test_a_blocked_call_ends_when_its_host_goes_down(tmp_path: Path) -> None:
    async with served(tmp_path, POOL) as running:
        session = await Session.login(running.hosts[0].url)
        token = (await session.call("event.from", ["pool"], "", 0.0))["token"]
        body = request("event.from", [session.ref, ["pool"], token, 30.0])
        waiting = asyncio.create_task(post(running.hosts[0].url, "/jsonrpc", body))
        await asyncio.sleep(0.3)
        running.world.power_off("xen1")
        assert await asyncio.wait_for(waiting, 5) is NOTHING


async def test_a_restarted_toolstack_refuses_a_while_and_forgets_its_sessions(
    tmp_path: Path,
) -> None:
    async with served(tmp_path, POOL, speed=100) as running:
        session = await Session.login(running.hosts[0].url)
        running.world.restart_toolstack("xen1")
        await _until_refused(running, 0, refused=True)
        await _until_refused(running, 0, refused=False)
        await eventually(lambda: _refuses(session, "SESSION_INVALID"))
        await Session.login(running.hosts[0].url)


async def test_a_client_that_leaves_does_not_stop_what_it_asked_for(tmp_path: Path) -> None:
    async with served(tmp_path, POOL) as running:
        session = await Session.login(running.hosts[0].url)
        (vm,) = await session.call("VM.get_by_name_label", "db1")
        body = request("VM.start", [session.ref, vm, False, False])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(post(running.hosts[0].url, "/jsonrpc", body), 0.1)
        await eventually(lambda: has_state(session, vm, "Running"))


async def test_a_host_that_hangs_or_is_cut_off_is_silent(tmp_path: Path) -> None:
    async with served(tmp_path, POOL) as running:
        for name in ("hang", "net-cut"):
            number = running.world.faults.start(name, 60, host="xen2")
            login = request("session.login_with_password", ["root", "Secret123"])
            asking = asyncio.create_task(post(running.hosts[1].url, "/jsonrpc", login))
            await asyncio.sleep(0.3)
            assert not asking.done()
            running.world.faults.stop(number)
            assert "HOST_IS_SLAVE" in (await asyncio.wait_for(asking, 5)).body


async def test_emergency_mode_answers_json_in_a_form_of_its_own(tmp_path: Path) -> None:
    async with served(tmp_path, POOL, speed=100) as running:
        running.world.power_off("xen1")
        slave = Session(running.hosts[1].url, "OpaqueRef:none")
        running.world.restart_toolstack("xen2")
        await _until_refused(running, 1, refused=True)
        await _until_refused(running, 1, refused=False)
        await eventually(lambda: _refuses(slave, "INTERNAL_ERROR"))
        asked = '{"method": "host.get_all", "params": ["x"], "id": 7}'
        answer = json.loads((await post(running.hosts[1].url, "/jsonrpc", asked)).body)
        assert (answer["jsonrpc"], answer["id"]) == ("2.0", 0)
        assert answer["error"][0] == "INTERNAL_ERROR"


async def test_two_simulators_live_side_by_side(tmp_path: Path) -> None:
    one, two = served(tmp_path / "one", POOL), served(tmp_path / "two", POOL)
    async with one as first, two as second:
        first.world.power_off("xen1")
        session = await Session.login(second.hosts[0].url)
        assert len(await session.call("host.get_all")) == 2
        await eventually(lambda: _silent(first, 0))
