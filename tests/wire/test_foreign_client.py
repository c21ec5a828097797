"""The Python client that everybody uses, and Python's own XML-RPC, against a served pool."""

from __future__ import annotations

import asyncio
import http.client
import ssl
import time
import xmlrpc.client
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import XenAPI  # type: ignore[import-untyped]

from simulator.serve import Simulation
from tests.wire.served import SECRET, served

POOL = (Path(__file__).parent / "cases" / "pool.yaml").read_text()
THIRD = "  - {name: xen3, uuid: 3d5e0f5a-0103-4f0f-9a57-1c1f6a3a9c03, memory: 32GiB, cpus: 8}\n"
THREE = POOL.replace("srs:\n", f"{THIRD}srs:\n")
T = TypeVar("T")


async def _with_pool(folder: Path, use: Callable[[Simulation], T]) -> T:
    """Blocking clients run in a thread; the pool is served by this loop."""
    async with served(folder, POOL) as running:
        return await asyncio.to_thread(use, running)


def _session(url: str) -> Any:
    session = XenAPI.Session(url, ignore_ssl=True)
    session.xenapi.login_with_password("root", SECRET, "1.0", "foreign")
    return session


async def test_xenapi_reads_records_and_logs_out(tmp_path: Path) -> None:
    def use(running: Simulation) -> tuple[Any, Any, Any]:
        session = _session(running.hosts[0].url)
        api = session.xenapi
        hosts = api.host.get_all_records()
        version = session.API_version
        ref = session._session
        session.xenapi.session.logout()
        late = XenAPI.Session(running.hosts[0].url, ignore_ssl=True).host.get_all(ref)
        return hosts, version, late

    hosts, version, late = await _with_pool(tmp_path, use)
    assert sorted(host["name_label"] for host in hosts.values()) == ["xen1", "xen2"]
    assert version.startswith("2.")
    assert late["ErrorDescription"][0] == "SESSION_INVALID"


async def test_xenapi_starts_a_vm_and_polls_its_task(tmp_path: Path) -> None:
    def use(running: Simulation) -> tuple[str, str]:
        api = _session(running.hosts[0].url).xenapi
        (vm,) = api.VM.get_by_name_label("db1")
        task = api.Async.VM.start(vm, False, True)
        deadline = time.monotonic() + 10
        while api.task.get_status(task) == "pending" and time.monotonic() < deadline:
            time.sleep(0.05)
        status = api.task.get_status(task)
        api.task.destroy(task)
        return status, api.VM.get_power_state(vm)

    assert await _with_pool(tmp_path, use) == ("success", "Running")


async def test_xenapi_waits_for_events(tmp_path: Path) -> None:
    def use(running: Simulation) -> tuple[list[str], dict[str, Any]]:
        api = _session(running.hosts[0].url).xenapi
        first = api.event_from(["VM"], "", 5.0)
        (vm,) = api.VM.get_by_name_label("db1")
        api.VM.set_name_description(vm, "seen")
        second = api.event_from(["VM"], first["token"], 5.0)
        return [event["operation"] for event in first["events"]], second

    operations, second = await _with_pool(tmp_path, use)
    assert set(operations) == {"add"}
    assert [event["snapshot"]["name_description"] for event in second["events"]] == ["seen"]
    assert second["valid_ref_counts"]["vm"] == 5


async def test_xenapi_is_sent_from_the_slave_to_the_master(tmp_path: Path) -> None:
    def use(running: Simulation) -> tuple[str, str]:
        with pytest.raises(XenAPI.Failure) as redirected:
            _session(running.hosts[1].url)
        code, address = redirected.value.details
        port = running.hosts[1].url.rpartition(":")[2]
        _session(f"https://{address}:{port}").xenapi.host.get_all()
        return code, f"https://{address}:{port}"

    code, url = await _with_pool(tmp_path, use)
    async with served(tmp_path / "again", POOL) as running:
        assert url.rpartition(":")[0] == running.hosts[0].url.rpartition(":")[0]
    assert code == "HOST_IS_SLAVE"


async def test_xenapi_follows_a_promotion(tmp_path: Path) -> None:
    """The master is dead, a slave is promoted, the third is recovered: whoever asks it is sent to
    the new master, and finds there what there was."""

    def use(running: Simulation) -> tuple[list[str], list[str], str]:
        first, second, third = (host.url for host in running.hosts)
        before = _session(first).xenapi.VM.get_all()
        # What takes and gives power is another thread's.
        asyncio.run_coroutine_threadsafe(_dead(running, "xen1"), loop).result(5)
        own = XenAPI.Session(second, ignore_ssl=True)
        ref = own.session.slave_local_login_with_password("root", SECRET)["Value"]
        assert own.pool.emergency_transition_to_master(ref)["Status"] == "Success"
        new = _patiently(lambda: _session(second).xenapi)
        recovered = new.pool.recover_slaves()
        told = _patiently(lambda: _redirection(third, away_from=running.hosts[0].url))
        port = second.rpartition(":")[2]
        followed = _session(f"https://{told}:{port}").xenapi
        assert sorted(followed.VM.get_all()) == sorted(before)
        return recovered, [new.host.get_by_name_label("xen3")[0]], f"https://{told}:{port}"

    loop = asyncio.get_running_loop()
    async with served(tmp_path, THREE, speed=100) as running:
        recovered, third, url = await asyncio.to_thread(use, running)
        assert recovered == third
        assert url == running.hosts[1].url


async def _dead(running: Simulation, host: str) -> None:
    running.world.power_off(host)


def _patiently(ask: Callable[[], T], within_s: float = 20.0) -> T:
    """The answer, which may be refused or not be there for a while."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            return ask()
        except (XenAPI.Failure, OSError, http.client.HTTPException):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _redirection(url: str, away_from: str) -> str:
    """The address to which a slave sends a client; OSError while it is the old one."""
    with pytest.raises(XenAPI.Failure) as redirected:
        _session(url)
    code, *params = redirected.value.details
    if code != "HOST_IS_SLAVE" or params[0] in away_from:
        raise ConnectionError(f"still {code} {params}")
    return str(params[0])


async def test_plain_xmlrpc_gets_dates_digits_and_doubles(tmp_path: Path) -> None:
    def use(running: Simulation) -> tuple[Any, Any, Any]:
        context = ssl.create_default_context(cadata=_pem(running))
        proxy: Any = xmlrpc.client.ServerProxy(running.hosts[0].url, context=context)
        ref = proxy.session.login_with_password("root", SECRET)["Value"]
        host = proxy.host.get_all(ref)["Value"][0]
        when = proxy.host.get_servertime(ref, host)["Value"]
        memory = proxy.host.compute_free_memory(ref, host)["Value"]
        with pytest.raises(OverflowError):
            proxy.VM.set_memory_static_max(ref, host, 2**40)
        return when, memory, proxy.system.listMethods()

    when, memory, methods = await _with_pool(tmp_path, use)
    assert isinstance(when, xmlrpc.client.DateTime)
    assert memory.isdigit()
    assert {"VM.start", "VM.get_all_records", "event.from"} <= set(methods)


def _pem(running: Simulation) -> str:
    """The certificate is trusted as its own authority, so that the address is really verified."""
    address = running.hosts[0].url.removeprefix("https://").split(":")
    return ssl.get_server_certificate((address[0], int(address[1])))
