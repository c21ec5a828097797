"""The same seed and calls give the same history, and a long random walk corrupts nothing."""

import asyncio
import random
from typing import Any

import pytest

from simulator import devices
from simulator.clock import run_virtual
from simulator.values import ApiError, Unreachable
from tests.simulator.conftest import POOL, Client, make_world

OPERATIONS = (
    "start", "start_on", "clean_shutdown", "hard_shutdown", "clean_reboot", "hard_reboot", "pause",
    "unpause", "suspend", "resume", "resume_on", "pool_migrate", "shutdown", "power_state_reset",
)  # fmt: skip


def arguments(client: Client, operation: str, chance: random.Random) -> list[Any]:
    host = client.host(chance.choice(("xen1", "xen2", "xen3")))
    given: dict[str, list[Any]] = {
        "start": [False, False],
        "start_on": [host, False, False],
        "resume": [False, False],
        "resume_on": [host, False, False],
        "pool_migrate": [host, {}],
    }
    return given.get(operation, [])


async def disturb(client: Client, chance: random.Random) -> None:
    """Something happens that is no call."""
    world, slave = client.world, chance.choice(("xen2", "xen3"))
    deed = chance.randrange(6)
    if deed == 0:
        world.restart_toolstack(slave)
    elif deed == 1:
        world.power_off(slave)
    elif deed == 2:
        world.power_on(slave)
    elif deed == 3:
        world.guest_powers_off(chance.choice(("web1", "web2", "tied")))
    elif deed == 4:
        world.faults.start("migrate-fail", 30)
    else:
        world.restart_toolstack("xen1")


async def step(client: Client, chance: random.Random) -> None:
    vm = client.world.pool.db.by_uuid("VM", chance.choice(VMS)).ref
    operation = chance.choice(OPERATIONS)
    try:
        await client.call(f"Async.VM.{operation}", vm, *arguments(client, operation, chance))
    except Unreachable:
        await client.world.pool.clock.sleep(120)
    except ApiError as error:
        if error.code != "SESSION_INVALID":
            raise
        await client.login()


VMS = (
    "0d8c32ac-37a0-54e1-72ff-0f5518d3f789", "71e4bad8-569f-558d-a8fa-a91e50d36457",
    "982cf8c6-f834-5415-1664-f5d93f1cb4b7", "065c63f0-434c-b661-1114-f6dfca4f9d2d",
    "24978475-e60b-cb41-397a-980181afd724",
)  # fmt: skip


async def walk(seed: int, steps: int) -> list[Any]:
    """A random history of calls, faults and accidents; answers the log at its end."""
    chance, crashes = random.Random(seed), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: crashes.append(context))
    client = await Client(make_world()).login()
    for _ in range(steps):
        await step(client, chance)
        if chance.random() < 0.1:
            await disturb(client, chance)
        await client.world.pool.clock.sleep(chance.expovariate(0.3))
        assert client.world.corruption == [], seed
    await settled(client)
    assert crashes == []
    return list(client.world.log)


async def settled(client: Client) -> None:
    """When all is over and every host is back, belief is reality again."""
    world = client.world
    for host in ("xen1", "xen2", "xen3"):
        world.power_on(host)
    await world.pool.clock.sleep(20_000)
    await client.login()
    for record in (await client.call("VM.get_all_records")).values():
        if record["is_control_domain"]:
            continue
        assert record["current_operations"] == {}, record["name_label"]
        assert record["scheduled_to_be_resident_on"] == "OpaqueRef:NULL"
        real = world.running_on(record["uuid"])
        believed = [h for h in world.pool.hosts if client.host(h) == record["resident_on"]]
        assert (list(real.hosts), real.power_state) == (believed, record["power_state"])


@pytest.mark.parametrize("seed", range(12))
def test_a_random_walk_corrupts_nothing_and_ends_in_truth(seed: int) -> None:
    log = run_virtual(walk(seed, steps=120))
    assert len(log) > 60
    assert {"success", "VM_BAD_POWER_STATE"} <= {entry.outcome for entry in log}


def test_the_walk_would_see_storage_that_does_not_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_refuse_foreign", lambda *_: None)

    def corrupts(seed: int) -> bool:
        try:
            run_virtual(walk(seed, steps=120))
        except AssertionError:
            return True
        return False

    assert any(corrupts(seed) for seed in range(12))


def test_the_same_seed_gives_the_same_history() -> None:
    first, again = (run_virtual(walk(3, steps=60)) for _ in range(2))
    assert first == again
    assert run_virtual(walk(4, steps=60)) != first


async def test_another_seed_of_the_pool_is_another_world() -> None:
    one, same, other = (
        make_world(text) for text in (POOL, POOL, POOL.replace("seed: 7", "seed: 8"))
    )
    refs = [[row.ref for row in world.pool.db.rows("VM")] for world in (one, same, other)]
    assert refs[0] == refs[1] != refs[2]
