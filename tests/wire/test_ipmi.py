"""Management controllers over IPMI: the real agent and the real tool against them."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from simulator.serve import Simulation, simulation
from simulator.wire.children import CannotPlay, Child
from tests.wire.fence import FAILED, OFF, ON, Said, fence, run
from tests.wire.served import eventually

POOL = (Path(__file__).parent / "cases" / "pool.yaml").read_text()
NAME = "xen1-bmc"
SOON = {"power_timeout": "2"}


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Simulation]:
    spec = tmp_path / "pool.yaml"
    spec.write_text(
        POOL + "bmcs: [{name: xen1-bmc, host: xen1, feed: host}, {name: two, host: xen2}]\n"
    )
    async with simulation(spec, tmp_path / "a folder", 0, 20.0, bmcs=True) as running:
        yield running


async def status(running: Simulation, name: str = NAME, **other: str) -> int:
    return (await fence(running.bmcs[name], "status", **SOON, **other)).code


async def off(running: Simulation, name: str = NAME) -> int:
    return (await fence(running.bmcs[name], "off", **SOON)).code


async def ipmitool(running: Simulation, *words: str, name: str = NAME) -> Said:
    told = running.bmcs[name].options
    where = ("-I", "lanplus", "-C", told["cipher"], "-H", told["ip"], "-p", told["ipport"])
    return await run("ipmitool", *where, "-U", told["username"], "-P", told["password"], *words)


def runs_on(running: Simulation, vm: str = "web1") -> tuple[str, ...]:
    return running.world.running_on(vm).hosts


async def test_off_ends_what_runs_there_and_on_boots(running: Simulation) -> None:
    assert await status(running) == ON
    assert (await fence(running.bmcs[NAME], "off")).text == "Success: Powered OFF\n"
    assert await status(running) == OFF
    assert runs_on(running) == ()
    assert not running.world.reachable("xen1")
    assert await status(running, "two") == ON
    assert (await fence(running.bmcs[NAME], "on")).text == "Success: Powered ON\n"
    assert await status(running) == ON


async def test_each_controller_has_an_address_of_its_own(running: Simulation) -> None:
    addresses = [bmc["options"]["ip"] for bmc in running.ready()["bmcs"]]
    addresses += [host["url"].split("/")[2].split(":")[0] for host in running.ready()["hosts"]]
    assert len(set(addresses)) == 4
    assert [bmc["host"] for bmc in running.ready()["bmcs"]] == ["xen1", "xen2"]


async def test_it_says_of_which_server_it_is_a_part(running: Simulation) -> None:
    identity = running.world.bmcs.identity(NAME)
    assert identity.system_uuid in (await ipmitool(running, "mc", "guid")).text
    assert (
        f"Product Serial        : {identity.serial}"
        in (await ipmitool(running, "fru", "print", "0")).text
    )


async def test_a_wrong_password_opens_nothing(running: Simulation) -> None:
    assert await status(running, password="guessed") == FAILED
    running.world.faults.start("bmc-refuses", 60, bmc=NAME)
    await eventually(lambda: _gives(running, FAILED))
    assert await off(running) == FAILED
    assert runs_on(running) == ("xen1",)


async def _gives(running: Simulation, code: int, name: str = NAME) -> bool:
    return await status(running, name) == code


async def test_a_lie_is_not_an_off(running: Simulation) -> None:
    fault = running.world.faults.start("bmc-lies", 60, bmc=NAME, says="done")
    assert await off(running) == FAILED
    assert await status(running) == ON
    running.world.faults.stop(fault)
    running.world.faults.start("bmc-lies", 60, bmc=NAME, says="off")
    assert await off(running) == 0
    assert await status(running) == OFF
    assert runs_on(running) == ("xen1",)


@pytest.mark.parametrize("fault", ["bmc-hang", "bmc-dead"])
async def test_silence_is_no_answer_and_ends_with_the_fault(
    running: Simulation, fault: str
) -> None:
    number = running.world.faults.start(fault, 60, bmc=NAME)
    await eventually(lambda: _gives(running, FAILED))
    assert runs_on(running) == ("xen1",)
    assert await status(running, "two") == ON
    running.world.faults.stop(number)
    await eventually(lambda: _gives(running, ON))


async def test_a_controller_that_knows_nothing_says_neither(running: Simulation) -> None:
    running.world.faults.start("bmc-unknown", 60, bmc=NAME)
    assert await status(running) == FAILED


async def test_a_crosswired_controller_is_that_of_another_server(running: Simulation) -> None:
    other = running.world.bmcs.identity("two").serial
    running.world.faults.start("bmc-crosswired", 60, bmc=NAME, onto="xen2")

    async def speaks_for_another() -> bool:
        return other in (await ipmitool(running, "fru", "print", "0")).text

    await eventually(speaks_for_another)
    assert await off(running) == 0
    assert await status(running) == OFF
    assert runs_on(running) == ("xen1",)
    assert not running.world.reachable("xen2")


async def test_a_soft_off_comes_after_the_agent_gave_up(running: Simulation) -> None:
    running.world.faults.start("bmc-soft-off", 60, bmc=NAME, ms="5000")
    assert await off(running) == FAILED
    assert runs_on(running) == ("xen1",)
    await eventually(lambda: _gives(running, OFF))
    assert runs_on(running) == ()


async def test_a_lost_reply_leaves_the_effect(running: Simulation) -> None:
    running.world.faults.start("bmc-reply-lost", 60, bmc=NAME, count="1")
    assert (await ipmitool(running, "-N", "1", "-R", "1", "power", "off")).code != 0
    await eventually(lambda: _gives(running, OFF))
    assert runs_on(running) == ()


async def test_loss_of_power_takes_the_controller_that_hangs_on_it(running: Simulation) -> None:
    running.world.power_off("xen1")
    running.world.power_off("xen2")
    await eventually(lambda: _gives(running, FAILED))
    assert await status(running, "two") == OFF
    running.world.power_on("xen1")
    await eventually(lambda: _gives(running, ON))


async def test_a_program_that_is_not_there_is_named_with_its_package(tmp_path: Path) -> None:
    with pytest.raises(CannotPlay, match="apt install openipmi"):
        await Child(("ipmi_sim_of_another_name",), tmp_path, "openipmi").start()


# --- as a child process ---------------------------------------------------------------------------


def _controllers(folder: Path) -> list[int]:
    """The processes that work in that folder or below it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append(int(process.name))
        except OSError:  # ended meanwhile
            continue
    return found


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_no_controller_outlives_the_simulator(tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "pool.yaml").write_text(POOL)
    ready = tmp_path / "ready.json"
    command = [sys.executable, "-c", "from cli.main import main; main()", "sim", "--bmcs"]
    options = ["--dir", str(tmp_path / "d"), "--ready-file", str(ready)]
    process = await asyncio.create_subprocess_exec(*command, *options, str(tmp_path / "pool.yaml"))

    async def is_ready() -> bool:
        return ready.exists()

    async def all_gone() -> bool:
        return _controllers(tmp_path / "d") == []

    await eventually(is_ready)
    bmcs = json.loads(ready.read_bytes())["bmcs"]
    assert [(bmc["name"], bmc["agent"]) for bmc in bmcs] == [
        ("xen1-bmc", "fence_ipmilan"),
        ("xen2-bmc", "fence_ipmilan"),
    ]
    assert len(_controllers(tmp_path / "d")) == 2
    process.send_signal(how)
    await process.wait()
    await eventually(all_gone)
