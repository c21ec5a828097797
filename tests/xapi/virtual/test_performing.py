"""Calls against a simulated pool: what they bring about, what they answer, and what remains of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from reconciler.actions import (
    AddTag,
    Answer,
    Call,
    CleanShutdown,
    DisableNode,
    Done,
    EjectMedia,
    EnableNode,
    PoolMigrate,
    ResumeOn,
    Retry,
    SetMemory,
    SetNameLabel,
    SetVcpusAtStartup,
    SetVcpusMax,
    Stalled,
    StartOn,
    Suspend,
    Unpause,
    Unsure,
)
from reconciler.observed import ObservedVM, PowerState
from simulator.world import World
from tests.xapi.inprocess import (
    ASLEEP,
    DEAF,
    LAN,
    MUTE,
    WEB1,
    WEB2,
    XEN1,
    XEN2,
    XEN3,
    WorldTransport,
    make_world,
    sessions,
)
from tests.xapi.virtual.conftest import Watched, make_client
from xapi.transport import JsonValue

GIB = 1 << 30
LONG_S = 600.0


def vm_of(watched: Watched, uuid: str) -> ObservedVM:
    return watched.pictures()[-1].observed.vms[uuid]


async def test_start(watched: Watched) -> None:
    answer = await watched.client.perform("t1", StartOn(vm=WEB2, node=XEN2), LONG_S)
    await asyncio.sleep(0.5)
    assert answer == Done()
    web2 = vm_of(watched, WEB2)
    assert (web2.power, web2.node, web2.operations) == (PowerState.RUNNING, XEN2, ())


async def test_stop(watched: Watched) -> None:
    assert await watched.client.perform("t1", CleanShutdown(vm=WEB1), LONG_S) == Done()
    await asyncio.sleep(0.5)
    assert vm_of(watched, WEB1).power is PowerState.HALTED


async def test_suspend_and_resume_elsewhere(watched: Watched) -> None:
    assert await watched.client.perform("t1", Suspend(vm=WEB1), LONG_S) == Done()
    await asyncio.sleep(0.5)
    assert vm_of(watched, WEB1).power is PowerState.SUSPENDED
    answer = await watched.client.perform("t2", ResumeOn(vm=WEB1, node=XEN3), LONG_S)
    await asyncio.sleep(0.5)
    assert answer == Done()
    assert (vm_of(watched, WEB1).power, vm_of(watched, WEB1).node) == (PowerState.RUNNING, XEN3)


async def test_unpause(watched: Watched, world: World) -> None:
    await world.act("VM.pause", "web1")
    await asyncio.sleep(0.5)
    assert vm_of(watched, WEB1).power is PowerState.PAUSED
    assert await watched.client.perform("t1", Unpause(vm=WEB1), LONG_S) == Done()


@pytest.mark.parametrize("network", [None, LAN])
async def test_migrate(watched: Watched, world: World, network: str | None) -> None:
    call = PoolMigrate(vm=WEB1, node=XEN2, network=network)
    assert await watched.client.perform("t1", call, LONG_S) == Done()
    await asyncio.sleep(0.5)
    assert vm_of(watched, WEB1).node == XEN2
    assert world.running_on("web1").hosts == ("xen2",)
    assert world.corruption == []


async def test_the_task_bears_our_tag_while_it_runs(watched: Watched) -> None:
    call = PoolMigrate(vm=WEB1, node=XEN2)
    moving = asyncio.create_task(watched.client.perform("t-17", call, LONG_S))
    await asyncio.sleep(2)
    assert [(op.kind, op.txn) for op in vm_of(watched, WEB1).operations] == [
        ("pool_migrate", "t-17")
    ]
    assert [task.txn for task in watched.pictures()[-1].observed.tasks] == ["t-17"]
    assert await moving == Done()


async def test_cold_changes(watched: Watched) -> None:
    calls: list[Call] = [
        SetMemory(vm=WEB2, size=6 * GIB, static_min=GIB),
        SetVcpusMax(vm=WEB2, count=4),
        SetVcpusAtStartup(vm=WEB2, count=3),
        SetNameLabel(vm=WEB2, label="web two"),
        AddTag(vm=WEB2, label="blue"),
    ]
    for number, call in enumerate(calls):
        assert await watched.client.perform(f"t{number}", call, LONG_S) == Done()
    await asyncio.sleep(0.5)
    web2 = vm_of(watched, WEB2)
    limits = (web2.static_min, web2.dynamic_min, web2.dynamic_max, web2.static_max)
    assert limits == (GIB, 6 * GIB, 6 * GIB, 6 * GIB)
    assert (web2.vcpus_max, web2.vcpus_at_startup) == (4, 3)
    assert (web2.name, web2.tags) == ("web two", ("blue",))


async def test_cordon_and_uncordon(watched: Watched) -> None:
    assert await watched.client.perform("t1", DisableNode(node=XEN3), LONG_S) == Done()
    await asyncio.sleep(0.5)
    assert not watched.pictures()[-1].observed.nodes[XEN3].enabled
    assert await watched.client.perform("t2", EnableNode(node=XEN3), LONG_S) == Done()
    await asyncio.sleep(0.5)
    assert watched.pictures()[-1].observed.nodes[XEN3].enabled


async def test_eject(watched: Watched) -> None:
    drives = [disk for disk in vm_of(watched, WEB1).disks if disk.kind == "CD"]
    assert drives, "the simulated VM has a CD drive"
    answer = await watched.client.perform("t1", EjectMedia(vm=WEB1, vbd=drives[0].vbd), LONG_S)
    assert isinstance(answer, Retry)
    assert answer.reason == "StateChanged"


async def test_a_barrier_follows_each_return(watched: Watched) -> None:
    """The picture that decides what became of a call is newer than its return, and comes soon."""
    await watched.client.perform("t1", SetNameLabel(vm=WEB2, label="x"), LONG_S)
    returned_s = asyncio.get_running_loop().time()
    await asyncio.sleep(0.5)
    assert watched.pictures()[-1].observed.as_of_s > returned_s


REFUSALS = [
    (StartOn(vm=WEB1, node=XEN2), Retry, "StateChanged"),
    (StartOn(vm=WEB2, node=XEN3), Retry, "NoNetwork"),
    (CleanShutdown(vm=MUTE), Retry, "NoTools"),
    (CleanShutdown(vm=DEAF), Retry, "GuestSilent"),
    (PoolMigrate(vm=WEB2, node=XEN1), Retry, "StateChanged"),
    (SetMemory(vm=WEB1, size=GIB, static_min=GIB), Retry, "StateChanged"),
    (ResumeOn(vm=ASLEEP, node="0000"), Retry, "ObjectGone"),
    (Suspend(vm="0000"), Retry, "ObjectGone"),
    (EnableNode(node="0000"), Retry, "ObjectGone"),
    (EjectMedia(vm=WEB1, vbd="0000"), Retry, "ObjectGone"),
    (PoolMigrate(vm=WEB1, node=XEN2, network="0000"), Retry, "ObjectGone"),
]


@pytest.mark.parametrize(("call", "kind", "reason"), REFUSALS)
async def test_a_refusal_says_why(
    watched: Watched, call: Call, kind: type[Retry | Stalled], reason: str
) -> None:
    answer = await watched.client.perform("t1", call, LONG_S)
    assert isinstance(answer, kind)
    assert answer.reason == reason
    assert answer.message
    assert "OpaqueRef" not in answer.message


async def test_a_foreign_operation_is_not_waited_for(
    watched: Watched, world: World, transport: WorldTransport
) -> None:
    moving = asyncio.create_task(world.act("Async.VM.pool_migrate", "web1", "xen2"))
    await asyncio.sleep(1.5)
    answer = await watched.client.perform("t1", CleanShutdown(vm=WEB1), LONG_S)
    assert isinstance(answer, Retry)
    assert answer.reason == "ObjectBusy"
    assert transport.count("Async.VM.clean_shutdown") == 0
    await moving


async def test_a_lost_answer_leaves_it_open(watched: Watched, world: World) -> None:
    world.faults.start("answer-lost", 60.0, method="VM.pool_migrate", count="1")
    answer = await watched.client.perform("t1", PoolMigrate(vm=WEB1, node=XEN2), LONG_S)
    assert isinstance(answer, Unsure)
    assert answer.reason == "AnswerLost"
    await asyncio.sleep(60)
    assert vm_of(watched, WEB1).node == XEN2


async def test_an_unreachable_pool_is_certain_not_to_have_done_it(
    watched: Watched, world: World
) -> None:
    world.faults.start("api-restart", 60.0)
    answer = await watched.client.perform("t1", StartOn(vm=WEB2, node=XEN2), LONG_S)
    assert isinstance(answer, Retry)
    assert answer.reason == "Refused"


async def test_a_stale_picture_is_not_acted_on(
    watched: Watched, world: World, transport: WorldTransport
) -> None:
    world.faults.start("api-hang", 120.0)
    await asyncio.sleep(30)
    answer = await watched.client.perform("t1", StartOn(vm=WEB2, node=XEN2), LONG_S)
    assert isinstance(answer, Retry)
    assert answer.reason == "PoolNotObserved"
    assert transport.count("Async.VM.start_on") == 0


async def test_a_task_that_takes_too_long_is_cancelled(
    watched: Watched, transport: WorldTransport
) -> None:
    answer = await watched.client.perform("t1", CleanShutdown(vm=DEAF), 20.0)
    assert isinstance(answer, Unsure)
    assert answer.reason == "TimedOut"
    assert transport.count("task.cancel") == 1
    assert transport.count("task.destroy") == 0


async def test_a_task_that_vanishes_leaves_it_open(watched: Watched, world: World) -> None:
    moving = asyncio.create_task(
        watched.client.perform("t1", PoolMigrate(vm=WEB1, node=XEN2), LONG_S)
    )
    await asyncio.sleep(2)
    world.restart_toolstack("xen1")
    answer = await moving
    assert isinstance(answer, Unsure)
    assert answer.reason == "TaskVanished"
    assert watched.losses()


async def test_a_failed_migration_is_told(watched: Watched, world: World) -> None:
    world.faults.start("migrate-fail", 60.0)
    answer = await watched.client.perform("t1", PoolMigrate(vm=WEB1, node=XEN2), LONG_S)
    assert isinstance(answer, Retry)
    assert vm_of(watched, WEB1).power is PowerState.RUNNING


async def test_an_ended_session_costs_one_login_and_no_second_call(
    watched: Watched, world: World, transport: WorldTransport
) -> None:
    for ref in sessions(world):
        await world.call("xen1", "session.logout", [ref])
    logins = transport.count("session.login_with_password")
    answers = await asyncio.gather(
        watched.client.perform("t1", SetNameLabel(vm=WEB2, label="x"), LONG_S),
        watched.client.perform("t2", AddTag(vm=WEB1, label="y"), LONG_S),
        watched.client.perform("t3", StartOn(vm=WEB2, node=XEN2), LONG_S),
    )
    first, second, third = answers
    assert (first, second) == (Done(), Done())
    assert isinstance(third, Retry)
    assert third.reason == "SessionLost"
    # One round asks each of the three addresses.
    assert transport.count("session.login_with_password") - logins == 3
    assert len(sessions(world)) == 1


class Interrupting(WorldTransport):
    """Cancels a task when it makes its nth call, before or after the world has carried it out."""

    victim: asyncio.Task[Answer] | None = None
    at = 0
    after = False

    async def call(
        self, address: str, method: str, params: Sequence[JsonValue], deadline_s: float
    ) -> JsonValue:
        victim = asyncio.current_task()
        if victim is None or victim is not self.victim:
            return await super().call(address, method, params, deadline_s)
        self.at -= 1
        if self.at == 0 and not self.after:
            victim.cancel()
        result = await super().call(address, method, params, deadline_s)
        if self.at == 0 and self.after:
            victim.cancel()
            await asyncio.sleep(0)
        return result


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(1, 5))
async def test_cut_off_at_any_call_nothing_is_left_behind(at: int, after: bool) -> None:
    """Start, tag, destroy: cut off at each, before and after the pool has carried it out."""
    transport = Interrupting(make_world())
    watched = Watched(make_client(transport))
    await watched.seen()
    call = PoolMigrate(vm=WEB1, node=XEN2)
    victim = asyncio.create_task(watched.client.perform("t1", call, LONG_S))
    transport.victim, transport.at, transport.after = victim, at, after
    await asyncio.wait([victim])
    assert victim.cancelled() or victim.result() == Done()
    await asyncio.sleep(60)
    seen = watched.pictures()[-1].observed
    assert seen.vms[WEB1].operations == ()
    assert seen.tasks == ()
    # Also where the request was cut off in the air the world may have carried it out: once.
    done = [entry for entry in transport.world.log if entry.method.endswith("pool_migrate")]
    assert len(done) == 1
    await watched.end()
    assert sessions(transport.world) == []
    assert transport.world.corruption == []
