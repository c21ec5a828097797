"""Power distribution units over SNMP: the real agent against them, and what it falls for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from simulator.serve import Simulation, simulation
from tests.wire.fence import FAILED, OFF, ON, fence
from tests.wire.served import eventually

POOL = (Path(__file__).parent / "cases" / "pool.yaml").read_text()
DEVICES = """bmcs:
  - {name: a-1, host: xen1, kind: outlet, pdu: a, outlet: 1}
  - {name: a-2, host: xen2, kind: outlet, pdu: a, outlet: 2}
  - {name: b-1, host: xen1, kind: outlet, pdu: b, outlet: 1}
"""
SOON = {"power_timeout": "2", "shell_timeout": "1", "login_timeout": "1"}


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Simulation]:
    spec = tmp_path / "pool.yaml"
    spec.write_text(POOL + DEVICES)
    async with simulation(spec, tmp_path / "a folder", 0, 20.0, bmcs=True) as running:
        yield running


async def ask(running: Simulation, name: str, action: str = "status", **other: str) -> int:
    return (await fence(running.bmcs[name], action, **{**SOON, **other})).code


async def test_a_host_on_two_units_falls_with_the_second(running: Simulation) -> None:
    assert [await ask(running, name) for name in running.bmcs] == [ON, ON, ON]
    assert await ask(running, "a-1", "off") == 0
    assert running.world.running_on("web1").hosts == ("xen1",)
    assert await ask(running, "b-1", "off") == 0
    assert [await ask(running, name) for name in running.bmcs] == [OFF, ON, OFF]
    assert running.world.running_on("web1").hosts == ()
    assert running.world.reachable("xen2")
    assert await ask(running, "b-1", "on") == 0
    assert await ask(running, "b-1") == ON


async def test_the_units_list_their_outlets(running: Simulation) -> None:
    listed = (await fence(running.bmcs["a-1"], "list", **SOON)).text
    assert [row.split(",")[:2] for row in listed.split()] == [["1", "a-1"], ["2", "a-2"]]
    addresses = {name: agent.options["ip"] for name, agent in running.bmcs.items()}
    assert addresses["a-1"] == addresses["a-2"] != addresses["b-1"]


async def test_the_agent_takes_an_outlet_that_is_not_there_for_one_that_is_off(
    running: Simulation,
) -> None:
    assert await ask(running, "a-1", plug="7") == OFF
    assert await ask(running, "a-1", "off", plug="7") == 0


async def test_the_agent_takes_an_outlet_without_a_state_for_one_that_is_off(
    running: Simulation,
) -> None:
    running.world.faults.start("bmc-unknown", 60, bmc="a-1")
    assert await ask(running, "a-1") == OFF
    assert await ask(running, "a-1", "off") == 0
    running.world.faults.stop(1)
    assert await ask(running, "a-1") == ON


async def test_a_unit_is_silent_as_a_whole_until_the_fault_ends(running: Simulation) -> None:
    for name in ("bmc-dead", "bmc-hang"):
        fault = running.world.faults.start(name, 60, bmc="a-2")
        await eventually(lambda: _gives(running, "a-1", FAILED))
        assert await ask(running, "b-1") == ON
        running.world.faults.stop(fault)
        await eventually(lambda: _gives(running, "a-1", ON))


async def test_a_changed_community_opens_nothing(running: Simulation) -> None:
    running.world.faults.start("bmc-refuses", 60, bmc="a-2")
    await eventually(lambda: _gives(running, "a-2", FAILED))
    assert await ask(running, "a-2", community="public") == FAILED


async def test_a_lie_and_a_wrong_cable(running: Simulation) -> None:
    fault = running.world.faults.start("bmc-lies", 60, bmc="a-2", says="done")
    assert await ask(running, "a-2", "off") == FAILED
    running.world.faults.stop(fault)
    running.world.faults.start("bmc-crosswired", 60, bmc="a-2", onto="xen1")
    assert await ask(running, "a-2", "off") == 0
    assert running.world.running_on("web1").hosts == ()
    assert running.world.reachable("xen2")


async def _gives(running: Simulation, name: str, code: int) -> bool:
    return await ask(running, name) == code
