"""Switching: what is begun, what is ended with its lease, and what is let come to its end."""

from __future__ import annotations

import asyncio

import pytest

from fencing.devices import DeviceUse
from reconciler.edge.switching import CUT_OFF, NOT_BEGUN, Switching
from reconciler.power import DeviceFound, LookAtPower, PowerOff, PowerOn, PowerSwitched

BMC = DeviceUse(device="bmc/xen2", node="xen2", agent="fence_ipmilan")
PDU = DeviceUse(device="pdu", node="xen2", agent="fence_apc_snmp", plug="3")


class Slow:
    """A device that takes its time, and remembers how each of its power-offs ended."""

    def __init__(self, takes_s: float = 0.0) -> None:
        self.takes_s = takes_s
        self.ends: list[str] = []

    async def look(self, use: DeviceUse, within_s: float) -> DeviceFound:
        del within_s
        return DeviceFound(device=use.device, power="on")

    async def off(self, use: DeviceUse, within_s: float) -> str:
        return await self._switched(use, within_s, "off")

    async def on(self, use: DeviceUse, within_s: float) -> str:
        return await self._switched(use, within_s, "on")

    async def _switched(self, use: DeviceUse, within_s: float, to: str) -> str:
        assert within_s == use.longest_s
        try:
            await asyncio.sleep(self.takes_s)
        except asyncio.CancelledError:
            self.ends.append("ended")
            raise
        self.ends.append(to)
        return f"Success: Powered {to.upper()}"


class Lease:
    def __init__(self) -> None:
        self.begins = True
        self.goes_on = True


def off(*uses: DeviceUse) -> PowerOff:
    return PowerOff(node="xen2", round=7, devices=uses)


async def switched(device: Slow, lease: Lease, *uses: DeviceUse) -> PowerSwitched:
    hands = Switching(device, lambda: lease.begins, lambda: lease.goes_on)
    return await hands.off(off(*uses))


async def test_all_devices_of_a_look_answer() -> None:
    hands = Switching(Slow(), lambda: True, lambda: True)
    looked = await hands.look(LookAtPower(node="xen2", round=3, devices=(BMC, PDU)))
    assert (looked.node, looked.round) == ("xen2", 3)
    assert [found.device for found in looked.found] == ["bmc/xen2", "pdu"]


async def test_what_each_device_answered_is_told() -> None:
    answer = await switched(Slow(), Lease(), BMC, PDU)
    assert (answer.node, answer.round) == ("xen2", 7)
    assert answer.messages == dict.fromkeys(("bmc/xen2", "pdu"), "Success: Powered OFF")


async def test_nothing_is_begun_where_nothing_may_be() -> None:
    device, lease = Slow(), Lease()
    lease.begins = False
    assert (await switched(device, lease, BMC)).messages == {"bmc/xen2": NOT_BEGUN}
    assert device.ends == []


async def test_an_agent_ends_with_the_lease_of_its_leader() -> None:
    device, lease = Slow(takes_s=30.0), Lease()
    begun = asyncio.create_task(switched(device, lease, BMC))
    await asyncio.sleep(0.05)
    lease.begins = lease.goes_on = False
    assert (await begun).messages == {"bmc/xen2": CUT_OFF}
    assert device.ends == ["ended"]


async def test_a_hold_lets_what_is_under_way_come_to_its_end() -> None:
    device, lease = Slow(takes_s=0.5), Lease()
    begun = asyncio.create_task(switched(device, lease, BMC))
    await asyncio.sleep(0.05)
    lease.begins = False
    await begun
    assert device.ends == ["off"]


async def test_power_is_given_back_in_a_hold_and_never_by_one_that_leads_no_more() -> None:
    device, lease = Slow(), Lease()
    lease.begins = False
    hands = Switching(device, lambda: lease.begins, lambda: lease.goes_on)
    effect = PowerOn(node="xen2", round=8, devices=(BMC,))
    assert (await hands.on(effect)).messages == {"bmc/xen2": "Success: Powered ON"}
    lease.goes_on = False
    assert (await hands.on(effect)).messages == {"bmc/xen2": NOT_BEGUN}
    assert device.ends == ["on"]


async def test_a_daemon_that_ends_ends_its_agents() -> None:
    device = Slow(takes_s=30.0)
    begun = asyncio.create_task(switched(device, Lease(), BMC))
    await asyncio.sleep(0.05)
    begun.cancel()
    with pytest.raises(asyncio.CancelledError):
        await begun
    assert device.ends == ["ended"]
