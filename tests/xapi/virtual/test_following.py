"""The cache against a simulated pool: what is seen, from which moment, and after which trouble."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import pytest
from msgspec.structs import replace

from reconciler.messages import PoolObserved
from reconciler.observed import Observed, PowerState
from simulator.values import ApiError
from simulator.world import World
from tests.xapi.inprocess import (
    ADDRESSES,
    ASLEEP,
    DMZ,
    INNER,
    LAN,
    LOCAL2,
    MUTE,
    NFS,
    POOL_UUID,
    WEB1,
    WEB2,
    XEN1,
    XEN2,
    XEN3,
    WorldTransport,
    sessions,
)
from tests.xapi.virtual.conftest import Watched, make_client

GIB = 1 << 30


async def test_one_look_shows_the_whole_pool(transport: WorldTransport) -> None:
    async with make_client(transport) as client:
        seen = await client.snapshot()
    assert (seen.pool.uuid, seen.pool.master, seen.by) == (POOL_UUID, XEN1, "tests")
    assert seen.complete
    assert seen.missing == ()
    assert list(seen.nodes) == sorted([XEN1, XEN2, XEN3])
    assert list(seen.vms) == sorted(seen.vms)
    assert {vm.name for vm in seen.vms.values()} == {"web1", "web2", "mute", "deaf", "asleep"}
    assert {(copy.name, copy.kind) for copy in seen.copies} == {
        ("tmpl", "template"),
        ("snap", "snapshot"),
    }
    assert seen.storages[LOCAL2].shared is False
    assert seen.networks[INNER].internal
    assert not seen.networks[LAN].internal
    assert sessions(transport.world) == []
    assert transport.methods()[-2:] == ["session.logout", "close"]


async def test_nodes_show_what_placement_counts_with(transport: WorldTransport) -> None:
    async with make_client(transport) as client:
        seen = await client.snapshot()
    xen2 = seen.nodes[XEN2]
    assert (xen2.name, xen2.address, xen2.cpus) == ("xen2", ADDRESSES["xen2"], 16)
    assert xen2.memory_total == 64 * GIB
    assert xen2.control_memory >= 4 * GIB
    assert xen2.cpu_vendor == "GenuineIntel"
    assert xen2.srs >= {NFS, LOCAL2}
    assert xen2.networks == {LAN, DMZ, INNER}
    assert seen.nodes[XEN3].networks == {LAN, INNER}
    assert LOCAL2 not in seen.nodes[XEN1].srs
    assert xen2.boot_hint.isdecimal()


async def test_vms_show_what_placement_counts_with(transport: WorldTransport) -> None:
    async with make_client(transport) as client:
        seen = await client.snapshot()
    web1 = seen.vms[WEB1]
    assert (web1.power, web1.node, web1.tags) == (PowerState.RUNNING, XEN1, ("web",))
    assert web1.dynamic_min == web1.static_max == 4 * GIB
    assert web1.overhead > 0
    assert [(disk.kind, disk.sr) for disk in web1.disks if disk.vdi] == [("Disk", NFS)]
    assert web1.networks == (LAN,)
    assert web1.has_tools
    assert not seen.vms[MUTE].has_tools
    assert (seen.vms[WEB2].node, seen.vms[WEB2].power) == (None, PowerState.HALTED)
    assert seen.vms[ASLEEP].suspend_sr == NFS


async def test_the_arithmetic_of_the_pool_is_ours(transport: WorldTransport) -> None:
    """Free memory as the pool computes it follows from what is in the picture alone."""
    async with make_client(transport) as client:
        seen = await client.snapshot()
    world = transport.world
    session = await world.call("xen1", "session.login_with_password", ["root", "secret"])
    for node in seen.nodes.values():
        there = [vm for vm in seen.vms.values() if node.uuid in (vm.node, vm.reserved_on)]
        taken = sum(vm.dynamic_min + vm.overhead for vm in there)
        free = node.memory_total - node.memory_overhead - node.control_memory - taken
        ref = world.pool.hosts[node.name].row.ref
        assert free == await world.call("xen1", "host.compute_free_memory", [session, ref])


def _observed(told: object) -> Observed:
    assert isinstance(told, PoolObserved)
    return told.observed


async def test_a_quiet_pool_stays_fresh(watched: Watched, transport: WorldTransport) -> None:
    first = _observed(watched.latest)
    await asyncio.sleep(60)
    last = _observed(watched.latest)
    assert last.age_s(asyncio.get_running_loop().time()) <= 11.0
    passed_s = last.as_of_s - first.as_of_s
    assert last.epoch_s - first.epoch_s == pytest.approx(passed_s, abs=1e-3)
    assert last.vms is first.vms
    assert transport.count("event.from") <= 20
    assert transport.count("session.login_with_password") == len(ADDRESSES)


async def test_a_foreign_stop_is_seen_and_nothing_else_is_rebuilt(
    watched: Watched, world: World
) -> None:
    before = _observed(watched.latest)
    await world.act("VM.hard_shutdown", "web1")
    await asyncio.sleep(1)
    after = _observed(watched.latest)
    assert after.vms[WEB1].power is PowerState.HALTED
    assert after.vms[WEB1].node is None
    assert after.vms[MUTE] is before.vms[MUTE]
    assert after.storages is before.storages


async def test_a_crash_is_told_from_a_stop(watched: Watched, world: World) -> None:
    (row,) = (row for row in world.pool.db.rows("VM") if row.text("uuid") == WEB1)
    world.pool.db.update(row, actions_after_crash="destroy")
    await asyncio.sleep(5)
    world.guest_crashes("web1")
    await asyncio.sleep(30)
    web1 = _observed(watched.latest).vms[WEB1]
    assert (web1.power, web1.crashed) == (PowerState.HALTED, True)
    assert not _observed(watched.latest).vms[MUTE].crashed
    await world.act("VM.start", "web1")
    await world.act("VM.hard_shutdown", "web1")
    await asyncio.sleep(1)
    web1 = _observed(watched.latest).vms[WEB1]
    assert (web1.power, web1.crashed) == (PowerState.HALTED, False)


async def test_a_crash_that_the_pool_mended_itself_is_over(watched: Watched, world: World) -> None:
    await asyncio.sleep(5)
    world.guest_crashes("web1")
    await asyncio.sleep(30)
    web1 = _observed(watched.latest).vms[WEB1]
    assert (web1.power, web1.crashed) == (PowerState.RUNNING, False)


async def test_a_guest_that_stops_itself_did_not_crash(watched: Watched, world: World) -> None:
    world.guest_powers_off("web1")
    await asyncio.sleep(30)
    web1 = _observed(watched.latest).vms[WEB1]
    assert (web1.power, web1.crashed) == (PowerState.HALTED, False)


async def test_a_foreign_operation_shows_its_task(watched: Watched, world: World) -> None:
    moving = asyncio.create_task(world.act("Async.VM.pool_migrate", "web1", "xen2"))
    await asyncio.sleep(1.5)
    web1 = _observed(watched.latest).vms[WEB1]
    assert [(op.kind, op.task, op.txn) for op in web1.operations] == [
        ("pool_migrate", "Async.VM.pool_migrate", "")
    ]
    assert web1.reserved_on == XEN2
    assert [task.name for task in _observed(watched.latest).tasks] == ["Async.VM.pool_migrate"]
    await moving
    await asyncio.sleep(30)
    web1 = _observed(watched.latest).vms[WEB1]
    assert (web1.operations, web1.node, web1.reserved_on) == ((), XEN2, None)
    assert _observed(watched.latest).tasks == ()


async def test_a_hung_toolstack_is_told_and_its_session_kept(
    watched: Watched, world: World, transport: WorldTransport
) -> None:
    before = _observed(watched.latest)
    world.faults.start("api-hang", 60.0)
    await asyncio.sleep(45)
    assert watched.losses()
    assert watched.losses()[-1].reason == "Timeout"
    assert watched.pictures()[-1].observed.as_of_s - before.as_of_s < 15.0
    await asyncio.sleep(60)
    assert _observed(watched.latest).age_s(asyncio.get_running_loop().time()) < 11.0
    assert transport.count("session.login_with_password") == len(ADDRESSES)


async def test_a_dead_master_is_looked_for_elsewhere(
    watched: Watched, world: World, transport: WorldTransport
) -> None:
    world.power_off("xen1")
    await asyncio.sleep(60)
    assert watched.losses()[-1].reason == "NoHost"
    asked = {call.address for call in transport.asked[-20:]}
    assert asked == set(ADDRESSES.values())
    # Members keep naming the dead master; no more than a look every few seconds comes of it.
    assert transport.count("session.login_with_password") < 60


async def test_a_restarted_toolstack_is_followed_by_a_new_session(
    watched: Watched, world: World, transport: WorldTransport
) -> None:
    world.faults.start("api-restart", 20.0)
    await asyncio.sleep(10)
    assert watched.losses()[-1].reason == "Refused"
    await asyncio.sleep(120)
    assert _observed(watched.latest).vms[WEB1].power is PowerState.RUNNING
    assert len(sessions(world)) == 1
    bootstraps = [asked for asked in transport.asked if asked.params[2:3] == ("",)]
    assert len([asked for asked in bootstraps if asked.method == "event.from"]) >= 2


async def test_an_unknown_token_is_answered_by_reading_everything(
    watched: Watched, world: World
) -> None:
    watched.client._cache._token = "garbage"
    await asyncio.sleep(12)
    await world.act("VM.hard_shutdown", "web1")
    await asyncio.sleep(6)
    assert _observed(watched.latest).vms[WEB1].power is PowerState.HALTED
    assert watched.losses() == []


async def test_a_wrong_count_has_the_class_read_again(
    watched: Watched, transport: WorldTransport
) -> None:
    tables = watched.client._cache.tables
    tables.vbd.clear()
    await asyncio.sleep(12)
    assert len(_observed(watched.latest).vms[WEB1].disks) > 0
    assert _observed(watched.latest).complete
    asked = [call.params[1] for call in transport.asked if call.method == "event.from"]
    assert ["vbd"] in asked


async def test_a_silent_host_makes_the_picture_incomplete(watched: Watched, world: World) -> None:
    world.power_off("xen3")
    await asyncio.sleep(700)
    seen = _observed(watched.latest)
    assert not seen.complete
    assert seen.missing == ("node/xen3",)
    assert seen.nodes[XEN3].live is False
    assert XEN3 in seen.nodes


STEPS = (
    ("VM.hard_shutdown", "web1"),
    ("VM.start", "web1"),
    ("Async.VM.pool_migrate", "web1", "xen2"),
    ("VM.start", "web2"),
    ("VM.hard_reboot", "mute"),
    ("VM.pause", "deaf"),
    ("VM.unpause", "deaf"),
    ("VM.clone", "web2", "copy of web2"),
    ("VM.set_is_a_template", "asleep", "true"),
    ("VM.suspend", "web1"),
    ("VM.resume", "web1"),
    ("VM.add_tags", "web2", "green"),
)


@pytest.mark.parametrize("seed", range(6))
async def test_what_was_followed_is_what_is_read_afresh(
    watched: Watched, world: World, seed: int
) -> None:
    """Whatever happens to the pool, in whatever order, the cache ends with the truth."""
    chance = random.Random(seed)
    for _ in range(30):
        method, name, *rest = chance.choice(STEPS)
        with suppress(ApiError):
            async with asyncio.timeout(60):
                await world.act(method, name, *rest)
        await asyncio.sleep(chance.choice([0.0, 0.3, 8.0]))
    await asyncio.sleep(120)
    assert len(world.log) > 10
    followed = _observed(watched.latest)
    async with make_client(WorldTransport(world)) as other:
        fresh = await other.snapshot()
    moments = {name: getattr(fresh, name) for name in ("as_of_s", "epoch_s", "steady_since_s")}
    assert replace(followed, **moments) == fresh


async def test_the_pool_tells_all_its_members(transport: WorldTransport) -> None:
    client = make_client(transport)
    client._session._configured = (ADDRESSES["xen2"],)
    await client.snapshot()
    assert set(client.addresses) == set(ADDRESSES.values())
    await client.close()
    assert sessions(transport.world) == []


async def test_a_pool_that_was_silent_is_steady_only_from_its_next_answer(
    watched: Watched, world: World
) -> None:
    """What was asked of it before may be carried out only now, whatever else it says first."""
    await asyncio.sleep(12)
    healthy = watched.pictures()[-1].observed
    world.faults.start("api-hang", 30.0)
    hung_s = asyncio.get_running_loop().time()
    await asyncio.sleep(60)
    after = watched.pictures()[-1].observed
    assert healthy.steady_since_s < hung_s
    assert after.steady_since_s >= hung_s + 30.0
    assert after.as_of_s > after.steady_since_s
