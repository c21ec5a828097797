"""fence_ipmilan and ipmitool against controllers that work, lie, hang, die and sit in another server."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from msgspec.structs import replace

from fencing.binding import Bound, Mismatch, bound
from fencing.edge.agent import Agents
from fencing.ladder import Power
from tests.fencing.edge.bmcs import (
    PASSWORD,
    SecondMakersBmc,
    SimulatedBmc,
    processes,
    use_of,
)
from tests.fencing.edge.conftest import NewBmc, soon


async def test_off_is_read_back_and_true(agents: Agents, bmc: SimulatedBmc) -> None:
    use = use_of(bmc)
    assert (await agents.read_power(use, soon())).power is Power.ON
    assert (await agents.power_off(use, soon())).ok
    assert (await agents.read_power(use, soon())).power is Power.OFF
    assert not bmc.on
    assert (await agents.power_on(use, soon())).ok
    assert (await agents.read_power(use, soon())).power is Power.ON
    assert bmc.on


async def test_what_is_off_already_counts(agents: Agents, bmc: SimulatedBmc) -> None:
    use = use_of(bmc)
    await agents.power_off(use, soon())
    again = await agents.power_off(use, soon())
    assert again.ok
    assert "Already OFF" in again.message
    assert bmc.asked.count("chassis set power 0") == 1


async def test_another_makers_controller(
    agents: Agents, second_makers_bmc: SecondMakersBmc
) -> None:
    use = use_of(second_makers_bmc)
    assert (await agents.read_power(use, soon())).power is Power.ON
    assert (await agents.power_off(use, soon())).ok
    assert not second_makers_bmc.on
    assert (await agents.read_power(use, soon())).power is Power.OFF
    assert await agents.identity(use, soon()) is None


async def test_a_liar_is_not_believed(agents: Agents, bmc: SimulatedBmc) -> None:
    bmc.lie()
    use = use_of(bmc, power_s=2.0)
    attempt = await agents.power_off(use, soon())
    assert "chassis set power 0" in bmc.asked
    assert not attempt.ok
    assert (await agents.read_power(use, soon())).power is Power.ON


async def test_a_controller_that_hangs_says_nothing(agents: Agents, bmc: SimulatedBmc) -> None:
    use = use_of(bmc, power_s=2.0)
    bmc.freeze()
    assert (await agents.read_power(use, soon())).power is Power.UNKNOWN
    assert not (await agents.power_off(use, soon())).ok
    bmc.thaw()
    assert (await agents.read_power(use, soon())).power is Power.ON


async def test_an_agent_that_waits_for_it_longer_is_killed(
    agents: Agents, bmc: SimulatedBmc
) -> None:
    bmc.freeze()
    reading = await agents.read_power(use_of(bmc, power_s=60.0), soon(1.0))
    assert reading.power is Power.UNKNOWN
    assert "killed at its deadline" in reading.message


async def test_a_loss_of_power_takes_the_controller_too(agents: Agents, bmc: SimulatedBmc) -> None:
    bmc.lose_power()
    reading = await agents.read_power(use_of(bmc, power_s=2.0), soon())
    assert reading.power is Power.UNKNOWN


async def test_a_wrong_password_is_told_without_it(agents: Agents, bmc: SimulatedBmc) -> None:
    use = replace(use_of(bmc), credentials_ref="wrong")
    reading = await agents.read_power(use, soon())
    attempt = await agents.power_off(use, soon())
    assert reading.power is Power.UNKNOWN
    assert not attempt.ok
    assert "swordfish" not in reading.message + attempt.message
    assert bmc.on


async def test_a_secret_that_is_not_there(agents: Agents, bmc: SimulatedBmc) -> None:
    use = replace(use_of(bmc), credentials_ref="nowhere")
    attempt = await agents.power_off(use, soon())
    assert attempt.message == "secrets.d/nowhere: there is no such file"
    assert await agents.identity(use, soon()) is None


async def test_a_misspelt_option_runs_nothing(agents: Agents, bmc: SimulatedBmc) -> None:
    """The agent itself would ignore it, and talk to the wrong port with the default."""
    use = use_of(bmc)
    misspelt = replace(use, options={**use.options, "lanpuls": "1"})
    assert await agents.faults(use) == ()
    assert await agents.faults(misspelt) == (
        'fence_ipmilan has no option "lanpuls"; did you mean "lanplus"?',
    )
    attempt = await agents.power_off(misspelt, soon())
    assert 'did you mean "lanplus"' in attempt.message
    assert bmc.asked == []


async def test_a_controller_says_whose_it_is(agents: Agents, new_bmc: NewBmc) -> None:
    first = new_bmc("xen1", serial="SN0001", guid="a123456789abcdefa123456789abcdef")
    second = new_bmc("xen2", serial="SN0002")
    servers = [{"system-serial-number": f"SN000{i}"} for i in (1, 2)]
    reading, straight = await agents.look(use_of(first), soon())
    assert reading.power is Power.ON
    crossed = await agents.identity(use_of(second), soon())
    assert straight is not None
    assert straight.guid == bytes.fromhex("a123456789abcdefa123456789abcdef")
    assert bound(straight, servers[0], servers[1:]) == Bound(by="serial number SN0001")
    assert bound(crossed, servers[0], servers[1:]) == Mismatch(
        controller="serial number SN0002", server="serial number SN0001"
    )


async def test_a_controller_without_identity_or_life_needs_a_drill(
    agents: Agents, new_bmc: NewBmc
) -> None:
    bmc = new_bmc("silent")
    bmc.stop()
    assert await agents.identity(use_of(bmc), soon(2.0)) is None


@pytest.mark.parametrize("what", ["read_power", "identity"])
async def test_no_argument_and_no_environment_holds_the_secret(
    agents: Agents, bmc: SimulatedBmc, what: str
) -> None:
    """Of our own processes and the agent's. fence_ipmilan gives it to ipmitool as an argument, which
    ipmitool overwrites at once: that moment is the agent's, not ours to mend."""
    bmc.freeze()
    asking = asyncio.create_task(getattr(agents, what)(use_of(bmc, power_s=30.0), soon(30.0)))
    seen: set[str] = set()
    while not any("ipmitool" in arguments for arguments in seen):
        await asyncio.sleep(0.05)
        for arguments, environment in processes().values():
            if str(bmc.port) in arguments or "fence_ipmilan" in arguments:
                seen.add(arguments)
                assert PASSWORD not in environment
                assert "ipmitool -I" in arguments or PASSWORD not in arguments
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking
    assert any("warden.py" in arguments for arguments in seen)
