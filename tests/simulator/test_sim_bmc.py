"""Fence devices: what they switch, what they say of it, and how they fail."""

import asyncio
from collections.abc import Awaitable

import pytest

from simulator.agent import POWER_TIMEOUT_S
from simulator.bmc import BmcError
from simulator.spec import SpecError, load_spec
from simulator.world import World
from tests.simulator.conftest import POOL, Client, make_world

DEVICES = """bmcs:
  - {name: c1, host: xen1, feed: host}
  - {name: c2, host: xen2}
  - {name: a3, host: xen3, kind: outlet, pdu: a, outlet: 3}
  - {name: b3, host: xen3, kind: outlet, pdu: b, outlet: 3}
"""
BMC1, BMC2 = "xen1-bmc", "xen2-bmc"


async def refusal(asked: Awaitable[object]) -> str:
    with pytest.raises(BmcError) as caught:
        await asked
    return caught.value.kind


def other_world() -> World:
    return make_world(POOL + DEVICES)


async def test_every_host_has_a_bmc_unless_the_pool_file_says_otherwise(world: World) -> None:
    assert world.bmcs.names() == ["xen1-bmc", "xen2-bmc", "xen3-bmc"]
    assert make_world(POOL + "bmcs: []\n").bmcs.names() == []
    with pytest.raises(LookupError, match="xen2-bmc"):
        world.bmcs.lives("xen4-bmc")


async def test_off_ends_what_ran_there_and_the_database_does_not_know(client: Client) -> None:
    world = client.world
    assert await world.agent.status(BMC2) == "on"
    await world.agent.off(BMC2)
    assert await world.agent.status(BMC2) == "off"
    assert world.running_on("mute").hosts == ()
    assert (await client.record("mute"))["power_state"] == "Running"
    assert not world.reachable("xen2")


async def test_on_boots_the_host(world: World) -> None:
    await world.agent.off(BMC2)
    await world.agent.on(BMC2)
    assert await world.agent.status(BMC2) == "on"
    assert not world.reachable("xen2")
    await world.pool.clock.sleep(1500)
    assert world.reachable("xen2")


async def test_switching_takes_seconds_and_asking_does_not(world: World) -> None:
    clock, took, asked = world.pool.clock, [], []
    for _ in range(200):
        began = clock.now()
        await world.agent.status(BMC2)
        asked.append(clock.now() - began)
        await world.agent.off(BMC2)
        took.append(clock.now() - began)
        await world.agent.on(BMC2)
    assert 2 < sorted(took)[100] < 4.5
    assert sorted(took)[190] < 12
    assert sorted(asked)[190] < 1


async def test_a_bmc_says_of_which_server_it_is_a_part(client: Client) -> None:
    world = client.world
    seen = [await world.agent.identity(name) for name in world.bmcs.names()]
    strings = [
        (await client.call("host.get_bios_strings", client.host(name)))["system-serial-number"]
        for name in world.pool.hosts
    ]
    assert [identity.serial for identity in seen] == strings
    assert len({identity.system_uuid for identity in seen} | set(strings)) == 6


async def test_loss_of_power_takes_the_bmc_that_hangs_on_it() -> None:
    world = other_world()
    for host in ("xen1", "xen2"):
        world.power_off(host)
    assert await refusal(world.agent.status("c1")) == "no-answer"
    assert await world.agent.status("c2") == "off"
    assert await refusal(world.agent.on("c2")) == "not-switched"
    world.power_on("xen1")
    assert await world.agent.status("c1") == "on"


async def test_a_host_on_two_outlets_falls_with_the_second_and_boots_with_the_first() -> None:
    world = other_world()
    await world.agent.off("a3")
    assert world.reachable("xen3")
    assert (await world.agent.status("a3"), await world.agent.status("b3")) == ("off", "on")
    await world.agent.off("b3")
    assert not world.reachable("xen3")
    world.power_on("xen3")
    await world.pool.clock.sleep(1500)
    assert not world.reachable("xen3")
    await world.agent.on("a3")
    await world.pool.clock.sleep(1500)
    assert world.reachable("xen3")
    with pytest.raises(LookupError, match="outlet"):
        await world.agent.identity("a3")


# --- faults ---------------------------------------------------------------------------------------


async def test_a_dead_device_is_silent_until_the_agent_gives_up(world: World) -> None:
    world.faults.start("bmc-dead", 600, bmc=BMC2)
    began = world.pool.clock.now()
    assert await refusal(world.agent.off(BMC2)) == "no-answer"
    assert world.pool.clock.now() - began == pytest.approx(POWER_TIMEOUT_S)
    assert world.reachable("xen2")
    assert await world.agent.status(BMC1) == "on"


async def test_a_hanging_device_does_late_what_it_was_told(world: World) -> None:
    world.faults.start("bmc-hang", 60, host="xen2")
    told = asyncio.create_task(world.bmcs.switch(BMC2, "off"))
    assert await refusal(world.agent.off(BMC2)) == "no-answer"
    assert world.reachable("xen2")
    await told
    await world.pool.clock.sleep(60)
    assert not world.reachable("xen2")


async def test_a_slow_device_answers_in_the_end(world: World) -> None:
    world.faults.start("bmc-slow", 600, bmc=BMC2, ms="5000")
    began = world.pool.clock.now()
    assert await world.agent.status(BMC2) == "on"
    assert world.pool.clock.now() - began >= 5
    world.faults.start("bmc-slow", 600, bmc=BMC1, ms="25000")
    assert await refusal(world.agent.status(BMC1)) == "no-answer"


async def test_refused_credentials_switch_nothing(world: World) -> None:
    world.faults.start("bmc-refuses", 600, bmc=BMC2)
    assert await refusal(world.agent.off(BMC2)) == "refused"
    await world.pool.clock.sleep(60)
    assert world.reachable("xen2")


async def test_a_device_that_knows_nothing_says_neither_on_nor_off(world: World) -> None:
    world.faults.start("bmc-unknown", 600, bmc=BMC2)
    assert await refusal(world.agent.status(BMC2)) == "unknown"
    assert await refusal(world.agent.off(BMC2)) == "unknown"


async def test_a_device_lies_that_it_did_it_or_even_that_it_is_off(world: World) -> None:
    world.faults.start("bmc-lies", 600, bmc=BMC1, says="done")
    world.faults.start("bmc-lies", 600, bmc=BMC2, says="off")
    assert await refusal(world.agent.off(BMC1)) == "not-switched"
    assert await world.agent.status(BMC1) == "on"
    await world.agent.off(BMC2)
    assert await world.agent.status(BMC2) == "off"
    await world.pool.clock.sleep(60)
    assert world.reachable("xen1")
    assert world.reachable("xen2")
    assert world.running_on("mute").hosts == ("xen2",)


async def test_a_crosswired_device_speaks_and_acts_for_another_host(world: World) -> None:
    other = await world.agent.identity(BMC1)
    world.faults.start("bmc-crosswired", 600, bmc=BMC2, onto="xen1")
    assert await world.agent.identity(BMC2) == other
    await world.agent.off(BMC2)
    assert await world.agent.status(BMC2) == "off"
    assert (world.reachable("xen1"), world.reachable("xen2")) == (False, True)


async def test_a_crosswired_outlet_says_off_and_another_host_falls() -> None:
    world = other_world()
    world.faults.start("bmc-crosswired", 600, bmc="a3", onto="xen2")
    await world.agent.off("a3")
    assert await world.agent.status("a3") == "off"
    assert (world.reachable("xen2"), world.reachable("xen3")) == (False, True)


async def test_a_soft_off_comes_long_after_the_agent_gave_up(world: World) -> None:
    world.faults.start("bmc-soft-off", 600, bmc=BMC2)
    assert await refusal(world.agent.off(BMC2)) == "not-switched"
    await world.pool.clock.sleep(60)
    assert await world.agent.status(BMC2) == "on"
    await world.pool.clock.sleep(15)
    assert await world.agent.status(BMC2) == "off"


async def test_a_lost_reply_leaves_the_effect(world: World) -> None:
    world.faults.start("bmc-reply-lost", 600, bmc=BMC2, count="1")
    assert await refusal(world.agent.off(BMC2)) == "no-answer"
    assert await world.agent.status(BMC2) == "off"
    assert not world.reachable("xen2")


async def test_a_host_that_was_switched_off_comes_back_by_itself(world: World) -> None:
    world.faults.start("bmc-auto-on", 600, bmc=BMC2, ms="30000")
    await world.agent.off(BMC2)
    assert await world.agent.status(BMC2) == "off"
    await world.pool.clock.sleep(30)
    assert await world.agent.status(BMC2) == "on"
    assert world.running_on("mute").hosts == ()


async def test_an_agent_that_is_killed_does_not_call_the_command_back(world: World) -> None:
    world.faults.start("bmc-slow", 600, bmc=BMC2, ms="3000")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(world.agent.off(BMC2), 5)
    await world.pool.clock.sleep(60)
    assert not world.reachable("xen2")


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ("{name: c, host: xen4}", r"bmcs\[0\]\.host: no such name 'xen4'"),
        ("{name: c, host: xen1, feed: hots}", r"bmcs\[0\]\.feed: expected one of own, host"),
        ("{name: c, host: xen1, kind: pdu}", r"bmcs\[0\]\.kind: expected one of bmc, outlet"),
        ("{name: c 1, host: xen1}", r"bmcs\[0\]\.name: expected letters, digits"),
        ("{name: c, host: xen1, outlet: 1}", r"bmcs\[0\]: unknown key 'outlet'"),
        ("{name: c, host: xen1, kind: outlet, pdu: a}", r"bmcs\[0\]: 'outlet' is missing"),
    ],
)
def test_a_bad_device_is_told_where_and_why(wrong: str, complaint: str) -> None:
    with pytest.raises(SpecError, match=complaint):
        load_spec(f"{POOL}bmcs: [{wrong}]\n")


def test_a_serial_number_fits_into_an_inventory() -> None:
    told = POOL.replace("cpus: 8}", 'cpus: 8, serial: ""}')
    assert [host.serial for host in load_spec(told).hosts] == ["CXM19E17C1A", "CXM3235B6A9", ""]
    for wrong in ("X", "numéro", "9" * 33):
        with pytest.raises(SpecError, match=r"hosts\[2\]\.serial: expected 2 to 32 ASCII"):
            load_spec(told.replace('""', f'"{wrong}"'))


def test_an_outlet_feeds_one_host() -> None:
    outlet = "kind: outlet, pdu: a, outlet: 1"
    with pytest.raises(SpecError, match="outlet 1 of a' stands twice"):
        load_spec(
            f"{POOL}bmcs: [{{name: a, host: xen1, {outlet}}}, {{name: b, host: xen2, {outlet}}}]\n"
        )
