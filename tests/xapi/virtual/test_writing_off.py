"""A server that died, written off by our calls and by others', in the records and in the picture."""

from __future__ import annotations

import asyncio

import pytest

from reconciler.actions import Call, DeclareDead, Done, ResetPower, Retry, Stalled
from reconciler.inflight import achieved
from reconciler.observed import Observed, ObservedVM, PowerState
from simulator.world import World
from tests.xapi.inprocess import (
    DEAF,
    MUTE,
    WEB1,
    XEN1,
    XEN2,
    XEN3,
)
from tests.xapi.virtual.conftest import Watched

LONG_S = 600.0


def seen(watched: Watched) -> Observed:
    return watched.pictures()[-1].observed


def vm_of(watched: Watched, uuid: str) -> ObservedVM:
    return seen(watched).vms[uuid]


async def died(world: World) -> None:
    """xen2 loses power, with two VMs on it."""
    world.power_off("xen2")
    await asyncio.sleep(5)


async def test_a_lock_outlives_its_server(watched: Watched, world: World) -> None:
    await died(world)
    locks = [disk.locked_by for disk in vm_of(watched, MUTE).disks if disk.vdi]
    assert locks == [(XEN2,)]
    assert vm_of(watched, MUTE).power is PowerState.RUNNING


async def test_a_reset_leaves_the_locks(watched: Watched, world: World) -> None:
    await died(world)
    call = ResetPower(vm=MUTE)
    assert await watched.client.perform("t1", call, LONG_S) == Done()
    await asyncio.sleep(0.5)
    assert achieved(call, seen(watched))
    assert [disk.locked_by for disk in vm_of(watched, MUTE).disks if disk.vdi] == [(XEN2,)]
    assert vm_of(watched, DEAF).node == XEN2


async def test_a_node_is_written_off_with_all_that_it_had(watched: Watched, world: World) -> None:
    await died(world)
    call = DeclareDead(node=XEN2)
    assert achieved(call, seen(watched)) is False
    assert await watched.client.perform("t1", call, LONG_S) == Done()
    await asyncio.sleep(0.5)
    assert achieved(call, seen(watched))
    assert not seen(watched).nodes[XEN2].enabled
    assert vm_of(watched, DEAF).power is PowerState.HALTED


REFUSALS = [
    (ResetPower(vm=MUTE), Stalled, "HostIsLive"),
    (ResetPower(vm=WEB1), Stalled, "DomainExists"),
    (DeclareDead(node=XEN3), Stalled, "HostIsLive"),
    (DeclareDead(node=XEN1), Stalled, "HostIsLive"),
    (ResetPower(vm="0000"), Retry, "ObjectGone"),
    (DeclareDead(node="0000"), Retry, "ObjectGone"),
]


UNREACHABLE_S = 150.0
"""The master asks the host first, and a server without power may take TCP's whole patience."""


@pytest.mark.parametrize(("call", "kind", "reason"), REFUSALS)
async def test_a_refusal_says_why(
    watched: Watched, call: Call, kind: type[Retry | Stalled], reason: str
) -> None:
    answer = await watched.client.perform("t1", call, LONG_S)
    assert isinstance(answer, kind)
    assert answer.reason == reason
    assert "OpaqueRef" not in answer.message


@pytest.mark.parametrize("method", ["Async.VM.power_state_reset", "VM.power_state_reset"])
async def test_somebody_elses_reset_is_told(watched: Watched, world: World, method: str) -> None:
    """A synchronous one is over before its task is seen: the locks betray it."""
    await died(world)
    await world.act(method, "mute")
    await asyncio.sleep(UNREACHABLE_S)
    assert vm_of(watched, MUTE).power is PowerState.HALTED
    assert seen(watched).resets == (MUTE,)


async def test_a_guest_that_switches_itself_off_was_not_reset(
    watched: Watched, world: World
) -> None:
    world.guest_powers_off("mute")
    await asyncio.sleep(1)
    assert vm_of(watched, MUTE).power is PowerState.HALTED
    assert seen(watched).resets == ()


async def test_our_own_resets_that_are_over_at_once_are_not_somebody_elses(
    watched: Watched, world: World
) -> None:
    """Of a host that has long been dead: tag and end of a task may come to us in one batch."""
    await died(world)
    await asyncio.sleep(LONG_S + 60.0)
    calls = [ResetPower(vm=MUTE), ResetPower(vm=DEAF)]
    world.faults.start("api-hang", 0.3, method="task.add_to_other_config")
    answers = [watched.client.perform(f"t{n}", call, LONG_S) for n, call in enumerate(calls)]
    assert await asyncio.gather(*answers) == [Done(), Done()]
    await asyncio.sleep(1)
    assert seen(watched).resets == ()


async def test_our_own_resets_are_not_somebody_elses(watched: Watched, world: World) -> None:
    await died(world)
    calls: list[Call] = [ResetPower(vm=MUTE), ResetPower(vm=DEAF), DeclareDead(node=XEN2)]
    for number, call in enumerate(calls):
        assert await watched.client.perform(f"t{number}", call, LONG_S) == Done()
    await asyncio.sleep(1)
    assert vm_of(watched, DEAF).power is PowerState.HALTED
    assert seen(watched).resets == ()


async def test_a_toolstack_that_starts_anew_hints_at_no_boot(
    watched: Watched, world: World
) -> None:
    before = seen(watched).nodes[XEN2].boot_hint
    world.restart_toolstack("xen2")
    await asyncio.sleep(120)
    assert seen(watched).nodes[XEN2].boot_hint == before
    world.power_off("xen2")
    await asyncio.sleep(60)
    world.power_on("xen2")
    await asyncio.sleep(900)
    assert seen(watched).nodes[XEN2].boot_hint != before
