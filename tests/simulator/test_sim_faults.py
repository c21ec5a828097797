"""The table of faults: who is struck, how long, how often; and bad requests for faults."""

from typing import Any

import pytest

from simulator.faults import FaultError
from simulator.world import World


async def test_a_fault_ends_by_itself_or_by_hand(world: World) -> None:
    faults, clock = world.faults, world.pool.clock
    first = faults.start("slow", 60, ms="500")
    second = faults.start("api-hang", 60, host="xen2")
    assert [fault.id for fault in faults.listed()] == [first, second]
    faults.stop(second)
    assert faults.active("api-hang", host="xen2") is None
    await clock.sleep(61)
    assert faults.listed() == []


async def test_a_fault_lasts_real_seconds_at_any_speed(world: World) -> None:
    world.pool.clock.speed = 60
    world.faults.start("slow", 60, ms="1")
    await world.pool.clock.sleep(59)
    assert world.faults.active("slow")
    await world.pool.clock.sleep(2)
    assert not world.faults.active("slow")


async def test_scopes(world: World) -> None:
    world.faults.start("answer-lost", 60, method="VM.pool_migrate", host="xen1")
    assert world.faults.active("answer-lost", host="xen1", method="VM.pool_migrate")
    assert not world.faults.active("answer-lost", host="xen2", method="VM.pool_migrate")
    assert not world.faults.active("answer-lost", host="xen1", method="VM.start")
    assert not world.faults.active("api-hang", host="xen1", method="VM.pool_migrate")


async def test_a_counted_fault_is_over_after_its_last_strike(world: World) -> None:
    world.faults.start("answer-lost", 60, count="2")
    struck = [bool(world.faults.strike("answer-lost", method="VM.start")) for _ in range(3)]
    assert struck == [True, True, False]


@pytest.mark.parametrize(
    ("name", "seconds", "scope", "complaint"),
    [
        ("api-hagn", 60, {}, "did you mean 'api-hang'"),
        ("api-hang", 60, {"hots": "xen1"}, "did you mean 'host'"),
        ("api-hang", 0, {}, "more than 0 s"),
        ("slow", 60, {}, "ms=500"),
        ("slow", 60, {"ms": "fast"}, "whole number"),
        ("answer-lost", 60, {"count": "0"}, "whole number"),
        ("host-off", 60, {}, "say which host"),
        ("bmc-slow", 60, {}, "ms=500"),
        ("bmc-auto-on", 60, {"ms": "soon"}, "whole number"),
        ("bmc-crosswired", 60, {"bmc": "xen1-bmc"}, "onto=xen2"),
        ("bmc-lies", 60, {}, "says=off"),
        ("bmc-lies", 60, {"says": "on"}, "one of done, off"),
        ("bmc-dead", 60, {"bcm": "xen1-bmc"}, "did you mean 'bmc'"),
    ],
)
async def test_bad_requests(
    world: World, name: str, seconds: float, scope: dict[str, str], complaint: str
) -> None:
    with pytest.raises(FaultError, match=complaint):
        world.faults.start(name, seconds, **scope)
    assert world.faults.listed() == []


async def test_stopping_what_is_not_on(world: World) -> None:
    with pytest.raises(FaultError, match="no fault 7 is on"):
        world.faults.stop(7)


async def test_host_off_and_on_again(client: Any) -> None:
    world = client.world
    world.faults.start("host-off", 60, host="xen2")
    assert not world.reachable("xen2")
    assert world.running_on("mute").hosts == ()
    await world.pool.clock.sleep(1500)
    assert world.reachable("xen2")


async def test_api_restart_is_of_the_master_unless_told(client: Any) -> None:
    world = client.world
    fault = world.faults.start("api-restart", 60)
    assert [world.reachable(host) for host in ("xen1", "xen2")] == [False, True]
    world.faults.stop(fault)
    assert world.reachable("xen1")
    assert world.running_on("web1").hosts == ("xen1",)
