"""What a call rests on is known to enough peers before the call is made, and in its order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from fencing.devices import DeviceUse
from membership.ledger import Fact
from reconciler.actions import Done, Retry
from reconciler.messages import (
    Announce,
    Announced,
    CallReturned,
    ClaimTerm,
)
from reconciler.power import PowerOff, PowerOn, PowerSwitched
from tests.edge.outreach_rig import (
    Rig,
    perform,
    share,
)

# --- calls and what was shared before -------------------------------------------------------------


async def test_a_call_waits_until_peers_have_what_was_shared_before_it() -> None:
    rig = Rig()
    rig.peers.holding.clear()
    async with asyncio.TaskGroup() as tasks:
        rig.hands(tasks.create_task).carry_out([share("intent/1"), share("intent/2"), perform("t")])
        await asyncio.sleep(0.05)
        assert rig.done == ["ledger 2"]
        rig.peers.holding.set()
    assert rig.done == ["ledger 2", "acknowledged intent/1,intent/2", "perform t"]
    assert rig.events == [CallReturned(txn="t", answer=Done())]


async def test_a_call_waits_for_what_an_earlier_step_shared_too() -> None:
    rig = Rig()
    rig.peers.holding.clear()
    async with asyncio.TaskGroup() as tasks:
        hands = rig.hands(tasks.create_task)
        hands.carry_out([share("hold/1")])
        await asyncio.sleep(0.02)
        hands.carry_out([perform("t")])
        await asyncio.sleep(0.05)
        assert rig.done == ["ledger 1"]
        rig.peers.holding.set()
    assert rig.done[1:] == ["acknowledged hold/1", "perform t"]


async def test_who_knows_is_told_by_the_last_share_begun_and_not_by_the_last_to_end() -> None:
    """Three are under way. Xen2 misses the second, and acknowledges the third: by then it has all. Xen3
    has the first two, and not the third."""
    rig = Rig()
    gates = {key: asyncio.Event() for key in "abc"}
    known = {"a": ("xen2", "xen3"), "b": ("xen3",), "c": ("xen2",)}

    async def slow(facts: Sequence[Fact]) -> tuple[str, ...]:
        await gates[facts[0].key].wait()
        return known[facts[0].key]

    rig.peers.share = slow  # type: ignore[method-assign]
    async with asyncio.TaskGroup() as tasks:
        hands = rig.hands(tasks.create_task)
        for key in "abc":
            hands.carry_out([share(key)])
        hands.carry_out([Announce(term=4)])
        for key in "bca":
            assert rig.events == []
            gates[key].set()
            await asyncio.sleep(0.01)
        assert rig.events == [Announced(term=4, names=("xen2",))]
        hands.carry_out([Announce(term=5)])
    assert rig.events[1:] == [Announced(term=5, names=("xen2",))]


async def test_what_is_shared_later_holds_up_no_call_that_is_under_way() -> None:
    rig = Rig()
    async with asyncio.TaskGroup() as tasks:
        hands = rig.hands(tasks.create_task)
        hands.carry_out([perform("t")])
        await asyncio.sleep(0.02)
        rig.peers.holding.clear()
        hands.carry_out([share("late")])
        await asyncio.sleep(0.02)
        assert rig.done == ["perform t", "ledger 1"]
        rig.peers.holding.set()


async def test_other_effects_do_not_wait_for_peers() -> None:
    rig = Rig()
    rig.peers.holding.clear()
    async with asyncio.TaskGroup() as tasks:
        rig.hands(tasks.create_task).carry_out(
            [share("term"), ClaimTerm(term=4, mark="m", within_s=1.0)]
        )
        await asyncio.sleep(0.02)
        assert rig.events == [rig.pool.claimed]
        rig.peers.holding.set()


async def test_a_share_that_breaks_ends_the_daemon_and_no_call_rests_on_it() -> None:
    rig = Rig()
    rig.peers.broken = True
    with pytest.RaisesGroup(AssertionError):
        await rig.carried_out(share("intent/1"), perform("t"))
    assert "perform t" not in rig.done
    with pytest.RaisesGroup(AssertionError):
        await rig.carried_out(share("drain/1"))


async def test_no_call_goes_ahead_of_a_share_that_broke_though_nothing_stops_it() -> None:
    rig = Rig()
    rig.peers.broken = True
    tasks: list[asyncio.Task[None]] = []
    hands = rig.hands(lambda work: tasks.append(asyncio.create_task(work)))
    hands.carry_out([share("intent/1"), perform("t")])
    await asyncio.wait(tasks)
    hands.carry_out([perform("u")])
    await asyncio.wait(tasks)
    assert rig.done == ["ledger 1"]
    assert [str(task.exception()) for task in tasks] == ["a broken invariant"] * 3


async def test_whether_it_is_permitted_is_asked_after_the_wait_for_peers() -> None:
    """The lease may end while a peer takes its two seconds not to answer."""
    rig = Rig()
    rig.peers.holding.clear()
    async with asyncio.TaskGroup() as tasks:
        rig.hands(tasks.create_task).carry_out([share("intent/1"), perform("t")])
        await asyncio.sleep(0.02)
        rig.permitted = False
        rig.peers.holding.set()
    assert rig.events == [CallReturned(txn="t", answer=Retry(reason="LeaseOver"))]
    assert "perform t" not in rig.done


# --- fence devices and what was shared before -------------------------------------------------------


BMC = DeviceUse(device="bmc/xen2", node="xen2", agent="fence_ipmilan")


@pytest.mark.parametrize("effect", [PowerOff, PowerOn])
async def test_nothing_is_switched_before_peers_have_what_it_rests_on(
    effect: type[PowerOff | PowerOn],
) -> None:
    rig = Rig()
    rig.peers.holding.clear()
    async with asyncio.TaskGroup() as tasks:
        switch = effect(node="xen2", round=7, devices=(BMC,))
        rig.hands(tasks.create_task).carry_out([share("live-drill"), switch])
        await asyncio.sleep(0.05)
        assert rig.events == []
        rig.peers.holding.set()
    assert [type(event) for event in rig.events] == [PowerSwitched]


@pytest.mark.parametrize("effect", [PowerOff, PowerOn])
async def test_nothing_is_switched_of_which_too_few_know(
    effect: type[PowerOff | PowerOn],
) -> None:
    rig = Rig()
    rig.least = 9
    await rig.carried_out(share("live-drill"), effect(node="xen2", round=7, devices=(BMC,)))
    (event,) = rig.events
    assert isinstance(event, PowerSwitched)
    assert event.messages == {"bmc/xen2": "facts are shared with too few"}
