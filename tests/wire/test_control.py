"""The control socket: every operation, what it refuses, and how it looks from the command line."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from simulator.serve import CannotServe, Simulation, simulation
from tests.wire.served import Session, eventually, has_state, served

POOL = (Path(__file__).parent / "cases" / "pool.yaml").read_text()


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Simulation]:
    async with served(tmp_path, POOL) as running:
        yield running


async def ask(running: Simulation, **request: Any) -> Any:
    """One request over the socket; the whole answer."""
    reader, writer = await asyncio.open_unix_connection(running.control)
    writer.write(json.dumps(request).encode() + b"\n")
    answer = json.loads(await reader.readline())
    writer.close()
    return answer


async def data(running: Simulation, **request: Any) -> Any:
    answer = await ask(running, **request)
    assert answer["ok"], answer
    return answer["data"]


async def refusal(running: Simulation, **request: Any) -> Any:
    answer = await ask(running, **request)
    assert not answer["ok"], answer
    return answer["error"]


async def test_status_shows_hosts_and_what_runs_on_them(running: Simulation) -> None:
    status = await data(running, op="status")
    first, second = status["hosts"]
    assert status["pool"]["name"] == "cases"
    assert (first["role"], first["running"], second["role"]) == ("master", ["web1"], "slave")
    assert first["powered"]
    assert first["reachable"]
    assert (status["faults"], status["corruption"]) == ([], 0)


async def test_power_off_takes_the_domains_and_not_the_database(running: Simulation) -> None:
    session = await Session.login(running.hosts[0].url)
    await data(running, op="act", method="VM.start_on", name="db1", args=["xen2", "false", "false"])
    assert (await data(running, op="vm", name="db1"))["host"] == "xen2"
    assert not (await data(running, op="power", host="xen2", to="off"))["powered"]
    after = await data(running, op="vm", name="db1")
    assert (after["host"], after["power_state"]) == (None, "Halted")
    assert after["database"] == {"host": "xen2", "power_state": "Running"}
    (vm,) = await session.call("VM.get_by_name_label", "db1")
    assert await has_state(session, vm, "Running")


async def test_act_is_another_client_and_is_logged(running: Simulation) -> None:
    done = await data(running, op="act", method="VM.clean_shutdown", name="web1", args=[])
    assert done["result"] == ""
    entries = (await data(running, op="log"))["entries"]
    (entry,) = [entry for entry in entries if entry["method"] == "VM.clean_shutdown"]
    assert entry["object"]["name"] == "web1"
    assert entry["object"]["class"] == "VM"
    assert entry["outcome"] == "success"
    assert entry["originator"]
    assert entry["time"].endswith("Z")


async def test_act_moves_a_vm_to_a_host_named_by_name(running: Simulation) -> None:
    await data(running, op="act", method="VM.pool_migrate", name="web1", args=["xen2", "{}"])
    where = await data(running, op="vm", name="web1")
    assert (where["host"], where["hosts"], where["power_state"]) == ("xen2", ["xen2"], "Running")


async def test_act_on_hosts_and_on_the_pool(running: Simulation) -> None:
    session = await Session.login(running.hosts[0].url)
    (xen2,) = await session.call("host.get_by_name_label", "xen2")
    done = await data(running, op="act", method="host.disable", name="xen2", args=[])
    assert done["object"] == {"class": "host", "name": "xen2"}
    assert not await session.call("host.get_enabled", xen2)
    flag = ["rolling_upgrade_in_progress", "true"]
    await data(running, op="act", method="pool.add_to_other_config", name="cases", args=flag)
    (pool,) = await session.call("pool.get_all")
    assert dict([flag]).items() <= (await session.call("pool.get_other_config", pool)).items()
    error = await refusal(running, op="act", method="host.declare_dead", name="xen2", args=[])
    assert error["code"] == "HOST_IS_LIVE"
    error = await refusal(running, op="act", method="host.disable", name="web1", args=[])
    assert (error["code"], error["message"]) == ("no-such-object", "there is no host 'web1'")


async def test_a_promotion_from_the_command_line(running: Simulation) -> None:
    await data(running, op="power", host="xen1", to="off")
    given = {"method": "pool.emergency_transition_to_master", "name": "xen2", "args": []}
    await data(running, op="act", **given)

    async def promoted() -> bool:
        hosts = (await data(running, op="status"))["hosts"]
        return bool(hosts[1]["role"] == "master" and hosts[1]["reachable"])

    await eventually(promoted)
    await Session.login(running.hosts[1].url)


async def test_act_that_fails_says_with_which_code(running: Simulation) -> None:
    error = await refusal(running, op="act", method="VM.pause", name="db1", args=[])
    assert error["code"] == "VM_BAD_POWER_STATE"
    assert "halted" in error["message"]


async def test_faults_start_are_listed_and_stop(running: Simulation) -> None:
    settings = {"for": "1m", "host": "xen1"}
    number = (await data(running, op="fault", do="start", name="api-hang", settings=settings))["id"]
    (fault,) = (await data(running, op="status"))["faults"]
    assert (fault["id"], fault["name"], fault["scope"]) == (number, "api-hang", {"host": "xen1"})
    assert 50 < fault["left_s"] <= 60
    assert not (await data(running, op="fault", do="stop", id=str(number)))["active"]
    assert (await data(running, op="status"))["faults"] == []


async def test_a_fence_device_is_asked_and_told(running: Simulation) -> None:
    asked = {"op": "bmc", "name": "xen1-bmc"}
    assert await data(running, **asked, do="status") == {"bmc": "xen1-bmc", "power": "on"}
    assert await data(running, **asked, do="off") == {"bmc": "xen1-bmc", "told": "off"}

    async def is_off() -> bool:
        return bool((await data(running, **asked, do="status"))["power"] == "off")

    await eventually(is_off)
    assert (await data(running, op="vm", name="web1"))["host"] is None


async def test_status_shows_which_fence_devices_answer(running: Simulation) -> None:
    settings = {"bmc": "xen2-bmc"}
    await data(running, op="fault", do="start", name="bmc-refuses", settings=settings)
    await data(running, op="fault", do="start", name="bmc-dead", settings={"host": "xen1"})
    first, second = (await data(running, op="status"))["bmcs"]
    assert first == {"name": "xen1-bmc", "host": "xen1", "kind": "bmc", "answers": False}
    assert second == {"name": "xen2-bmc", "host": "xen2", "kind": "bmc", "answers": True}
    for name, code in (("xen1-bmc", "no-answer"), ("xen2-bmc", "refused")):
        assert (await refusal(running, op="bmc", name=name, do="off"))["code"] == code


async def test_the_clock_jumps(running: Simulation) -> None:
    session = await Session.login(running.hosts[0].url)
    before = await data(running, op="clock", advance="+0s")
    after = await data(running, op="clock", advance="+1h")
    assert before["clock"] < after["clock"]
    (host, _) = await session.call("host.get_all")
    served_time = await session.call("host.get_servertime", host)
    assert served_time[:11] == after["clock"].replace("-", "")[:11]


async def test_corruption_is_counted(running: Simulation) -> None:
    assert await data(running, op="corruption") == {"count": 0, "cases": []}
    pool = running.world.pool
    web1 = next(vm for vm in pool.db.rows("VM") if vm.text("name_label") == "web1")
    pool.domains.create(pool.clock.now(), "xen2", web1.text("uuid"), ())
    found = await data(running, op="corruption")
    assert found["count"] == 1
    assert found["cases"][0]["kind"] == "double-run"
    assert found["cases"][0]["object"] == "web1"
    assert found["cases"][0]["hosts"] == ["xen1", "xen2"]


@pytest.mark.parametrize(
    ("request_", "code", "says"),
    [
        ({"op": "no-such"}, "bad-request", "status"),
        ({}, "bad-request", "op"),
        ({"op": "vm"}, "bad-request", "'name'"),
        ({"op": "vm", "name": "web11"}, "no-such-object", "web1"),
        ({"op": "power", "host": "xen9", "to": "off"}, "no-such-object", "xen"),
        ({"op": "power", "host": "xen1", "to": "half"}, "bad-request", "half"),
        ({"op": "bmc", "name": "xen1-bcm", "do": "status"}, "no-such-object", "xen1-bmc"),
        ({"op": "bmc", "name": "xen1-bmc", "do": "cycle"}, "bad-request", "cycle"),
        ({"op": "clock", "advance": "soon"}, "bad-request", "60s"),
        ({"op": "fault", "do": "stop", "id": "7"}, "bad-fault", "7"),
        (
            {"op": "fault", "do": "start", "name": "api-hung", "settings": {}},
            "bad-fault",
            "api-hang",
        ),
        (
            {"op": "fault", "do": "start", "name": "api-hang", "settings": {"for": "x"}},
            "bad-request",
            "60s",
        ),
        (
            {"op": "fault", "do": "start", "name": "api-hang", "settings": {"host": "xen3"}},
            "no-such-object",
            "xen",
        ),
        (
            {"op": "fault", "do": "start", "name": "bmc-dead", "settings": {"bmc": "xen3-bmc"}},
            "no-such-object",
            "xen",
        ),
        (
            {"op": "fault", "do": "start", "name": "bmc-crosswired", "settings": {"onto": "xen3"}},
            "no-such-object",
            "xen",
        ),
    ],
)
async def test_refusals_name_the_cause_and_the_fix(
    running: Simulation, request_: dict[str, Any], code: str, says: str
) -> None:
    error = await refusal(running, **request_)
    assert error["code"] == code
    assert says in error["message"] + error["hint"]


async def test_lines_that_are_no_requests_are_answered(running: Simulation) -> None:
    reader, writer = await asyncio.open_unix_connection(running.control)
    writer.write(b"{oops\n[1]\n" + json.dumps({"op": "corruption"}).encode() + b"\n")
    answers = [json.loads(await reader.readline()) for _ in range(3)]
    writer.close()
    assert [answer["ok"] for answer in answers] == [False, False, True]


async def test_a_path_too_long_for_a_socket_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "pool.yaml").write_text(POOL)
    with pytest.raises(CannotServe, match="--dir"):
        async with simulation(tmp_path / "pool.yaml", tmp_path / ("d" * 120), 0, 1.0):
            pass


# --- as a child process ---------------------------------------------------------------------------

CXM_SIM = [sys.executable, "-c", "from cli.main import main; main()", "sim"]


class Served:
    """``cxm sim`` as a process of its own, ready to be controlled."""

    def __init__(self, folder: Path) -> None:
        spec, self._ready = folder / "pool.yaml", folder / "ready.json"
        spec.write_text(POOL)
        options = ["--dir", str(folder / "d"), "--ready-file", str(self._ready), "--speed", "20"]
        self.process = subprocess.Popen(
            [*CXM_SIM, str(spec), *options], stdout=subprocess.PIPE, text=True
        )

    async def ready(self) -> Any:
        async def there() -> bool:
            assert self.process.poll() is None, "the simulator ended before it was ready"
            return self._ready.exists()

        await eventually(there)
        return json.loads(self._ready.read_text())

    def end(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        output, _ = self.process.communicate(timeout=10)
        return output


@pytest.fixture
async def child(tmp_path: Path) -> AsyncIterator[tuple[Served, Any]]:
    process = Served(tmp_path)
    try:
        yield process, await process.ready()
    finally:
        if process.process.poll() is None:
            process.end()


async def ctl(control: str, *words: str) -> subprocess.CompletedProcess[str]:
    """``cxm sim ctl WORDS`` as a process of its own."""
    return await asyncio.to_thread(
        subprocess.run,
        [*CXM_SIM, "ctl", *words],
        env={**os.environ, "CXM_SIM": control},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


async def test_a_simulator_process_is_served_controlled_and_ends(
    child: tuple[Served, Any], tmp_path: Path
) -> None:
    process, ready = child
    assert [host["name"] for host in ready["hosts"]] == ["xen1", "xen2"]
    assert ready["pool"] == "3d5e0f5a-6a1c-4f0f-9a57-1c1f6a3a9c00"
    assert ready["bmcs"] == []
    await Session.login(ready["hosts"][0]["url"])
    where = await ctl(ready["control"], "-o", "json", "vm", "web1")
    envelope = json.loads(where.stdout)
    assert where.returncode == 0
    assert (envelope["format"], envelope["verdict"]) == ("cxm.sim.vm/1.0", "converged")
    assert (envelope["exit"], envelope["cluster"], envelope["errors"]) == (0, "cases", [])
    assert (envelope["data"]["host"], envelope["data"]["power_state"]) == ("xen1", "Running")
    output = process.end()
    assert process.process.returncode == 0
    assert ready["control"] in output
    assert {path.name for path in await asyncio.to_thread(_all, tmp_path)} == {
        "pool.yaml",
        "xen1.pem",
        "xen2.pem",
    }


def _all(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() or path.is_socket()]


async def test_each_control_command_speaks_text(child: tuple[Served, Any]) -> None:
    control = child[1]["control"]
    for words, says in [
        (["status"], "xen2"),
        (["fault", "start", "slow", "for=60s", "ms=1"], "fault 1 started"),
        (["status"], "ms=1"),
        (["fault", "stop", "1"], "fault 1 stopped"),
        (["vm", "web1"], "web1 really runs on xen1"),
        (["act", "VM.hard_shutdown", "web1"], "done"),
        (["vm", "web1"], "nowhere"),
        (["log"], "VM.hard_shutdown"),
        (["clock", "+30s"], "clock 2"),
        (["bmc", "xen2-bmc", "status"], "xen2-bmc says on"),
        (["bmc", "xen2-bmc", "off"], "xen2-bmc was told off"),
        (["fault", "start", "bmc-dead", "bmc=xen1-bmc"], "fault 2 started"),
        (["status"], "silent"),
        (["power", "xen2", "off"], "xen2 is off"),
        (["corruption"], "corruption 0"),
    ]:
        done = await ctl(control, *words)
        assert done.returncode == 0, done.stderr
        assert says in done.stdout
        assert done.stderr == ""


async def test_errors_go_to_stderr_in_text_and_into_the_envelope_in_json(
    child: tuple[Served, Any],
) -> None:
    control = child[1]["control"]
    text = await ctl(control, "vm", "web11")
    assert (text.returncode, text.stdout) == (1, "")
    assert "error[no-such-object]" in text.stderr
    assert "did you mean 'web1'?" in text.stderr
    envelope = json.loads((await ctl(control, "vm", "web11", "-o", "json")).stdout)
    assert (envelope["verdict"], envelope["exit"], envelope["data"]) == ("error", 1, {})
    assert envelope["errors"][0]["code"] == "no-such-object"


@pytest.mark.parametrize("control", ["", "/nonexistent/sim.sock"])
async def test_no_simulator_is_an_error_that_says_what_to_do(control: str) -> None:
    done = await ctl(control, "status")
    assert done.returncode == 1
    assert "CXM_SIM" in done.stderr or "cxm sim" in done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "FILE"),
        (["/nonexistent/pool.yaml"], "/nonexistent/pool.yaml"),
        (["ctl"], "command"),
        (["ctl", "x"], "x"),
        (["ctl", "power", "xen1", "half"], "half"),
        (["ctl", "fault", "start", "slow", "60s"], "KEY=VALUE"),
    ],
)
async def test_wrong_usage_exits_64(words: list[str], says: str) -> None:
    done = await asyncio.to_thread(
        subprocess.run, [*CXM_SIM, *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (64, "")
    assert says in done.stderr


async def test_corruption_is_an_error_to_the_shell(running: Simulation) -> None:
    pool = running.world.pool
    web1 = next(vm for vm in pool.db.rows("VM") if vm.text("name_label") == "web1")
    pool.domains.create(pool.clock.now(), "xen2", web1.text("uuid"), ())
    done = await ctl(str(running.control), "corruption", "-o", "json")
    envelope = json.loads(done.stdout)
    assert (done.returncode, envelope["verdict"], envelope["exit"]) == (1, "error", 1)
    assert envelope["data"]["count"] == 1
    assert "double-run" in (await ctl(str(running.control), "corruption")).stdout


async def test_ctl_starts_without_the_simulator_and_its_libraries() -> None:
    script = "import cli.commands.sim, sys; print({'aiohttp', 'simulator'} & sys.modules.keys())"
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


async def test_a_pool_file_that_is_wrong_is_refused_with_its_place(tmp_path: Path) -> None:
    spec = tmp_path / "pool.yaml"
    spec.write_text(POOL.replace("memory: 32GiB", "memry: 32GiB", 1))
    done = await asyncio.to_thread(
        subprocess.run, [*CXM_SIM, str(spec)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert str(spec) in done.stderr
    assert "memory" in done.stderr
