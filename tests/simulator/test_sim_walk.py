"""Random histories in which masters die, too, and a careful hand recovers the pool: nothing is
corrupted, and in the end belief is reality. What a careless hand does: test_sim_succession."""

import asyncio
import random
from contextlib import suppress
from typing import Any

import pytest

from simulator.clock import run_virtual
from simulator.faults import FaultError
from simulator.values import ApiError, Unreachable
from tests.simulator.conftest import POOL, Client, make_world

HOSTS = ("xen1", "xen2", "xen3")
ROOT = ["root", "secret"]
LOCAL_LOGIN = "session.slave_local_login_with_password"
OPERATIONS = (
    "start", "start_on", "clean_shutdown", "hard_shutdown", "hard_reboot", "pause", "unpause",
    "suspend", "resume", "pool_migrate", "power_state_reset",
)  # fmt: skip
FAULTS: tuple[tuple[str, dict[str, str]], ...] = (
    ("net-cut", {"from": "hosts"}),
    ("net-cut", {"from": "master"}),
    ("net-cut", {"from": "client"}),
    ("hang", {}),
    ("api-restart", {}),
    ("pbd-fail", {}),
    ("boot-fail", {}),
)


class Walk:
    """One history of calls, faults and accidents."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.world = make_world(POOL.replace("seed: 7", f"seed: {seed + 1}"))
        self.client = Client(self.world)
        self.promotions = 0
        self._calls: set[asyncio.Task[Any]] = set()

    async def run(self, steps: int) -> None:
        await self.client.login()
        for _ in range(steps):
            self.call()
            if self.chance.random() < 0.08:
                self.disturb()
            if self.chance.random() < 0.02:
                await self.lose_the_master()
            await self.wait(self.chance.expovariate(0.1))
            assert self.world.corruption == []
        await self.heal()

    async def wait(self, seconds: float) -> None:
        await self.world.pool.clock.sleep(seconds)

    def call(self) -> None:
        """Begin something with some VM or host; what becomes of it is not asked."""
        vm = self.chance.choice([row.ref for row in self.world.pool.db.rows("VM")])
        host = self.client.host(self.chance.choice(list(self.world.pool.hosts)))
        operation = self.chance.choice(OPERATIONS)
        given: dict[str, list[Any]] = {
            "start": [False, False],
            "start_on": [host, False, False],
            "resume": [False, False],
            "pool_migrate": [host, {}],
        }
        calls = [(f"Async.VM.{operation}", [vm, *given.get(operation, [])])] * 8
        calls += [("pool.sync_database", []), ("host.disable", [host]), ("host.enable", [host])]
        calls += [("host.reboot", [host]), ("host.restart_agent", [host])]
        method, args = self.chance.choice(calls)
        self.begin(self.tried(method, *args))

    def begin(self, work: Any) -> None:
        job = asyncio.ensure_future(work)
        self._calls.add(job)
        job.add_done_callback(self._calls.discard)

    async def tried(self, method: str, *args: Any) -> None:
        try:
            await self.client.call(method, *args)
        except Unreachable:
            return
        except ApiError as error:
            if error.code == "SESSION_INVALID":
                await self.login()

    async def login(self) -> bool:
        try:
            await self.client.login()
        except (ApiError, Unreachable):
            return False
        return True

    async def login_at_last(self) -> None:
        """Some toolstack may just be in a restart of its own."""
        for _ in range(5):
            if await self.login():
                return
            await self.wait(120)
        await self.client.login()

    def disturb(self) -> None:
        name, scope = self.chance.choice(FAULTS)
        host, seconds = self.chance.choice(HOSTS), self.chance.uniform(5, 900)
        if self.chance.random() < 0.5:
            self.world.faults.start(name, seconds, host=host, **scope)
        elif self.chance.random() < 0.5:
            self.world.power_on(host)
        elif host != self.client.at:
            self.world.power_off(host)

    def calm(self) -> None:
        for fault in list(self.world.faults.listed()):
            try:
                self.world.faults.stop(fault.id)
            except FaultError:
                continue  # one fault's end ended another

    async def lose_the_master(self) -> None:
        """The master's power fails, some slave is promoted, and every other host follows it or is
        switched off before anything else is done."""
        dead, world = self.client.at, self.world
        self.calm()
        world.power_off(dead)
        heir = await self.promoted()
        if not heir:
            await self.restore(dead)
            return
        await self.wait(200)
        await self.login_at_last()
        listed = await self.client.call("pool.recover_slaves")
        for host in HOSTS:
            if host != heir and self.client.host(host) not in listed:
                world.power_off(host)
        await self.wait(200)
        await self.client.call("host.declare_dead", self.client.host(dead))
        # In the calm, so that it hears who is master now: alone it would carry on as a second one.
        world.power_on(dead)
        await self.wait(1500)

    async def promoted(self) -> str:
        """The slave that took the order to become master; empty if none is there to take it."""
        for _ in range(3):
            up = [host for host in HOSTS if self.world.reachable(host)]
            if up:
                heir = self.chance.choice(up)
                with suppress(Unreachable):
                    args = [await self.world.call(heir, LOCAL_LOGIN, ROOT)]
                    await self.world.call(heir, "pool.emergency_transition_to_master", args)
                    self.client.at = heir
                    self.promotions += 1
                    return heir
            await self.wait(120)  # it may be in a restart
        return ""

    async def restore(self, dead: str) -> None:
        """Nobody is left to be promoted: the master has to come back."""
        self.world.power_on(dead)
        await self.wait(2000)
        await self.login_at_last()

    async def heal(self) -> None:
        """When all is over and every host is back, belief is reality, in the one database."""
        self.calm()
        for _ in range(2):
            for machine in self.world.site.machines:
                if not machine.up:  # off, or in a boot that never ends
                    self.world.power_off(machine.name)
                    self.world.power_on(machine.name)
            await self.wait(2000)
        await self.login_at_last()
        await self.client.call("pool.recover_slaves")
        await self.wait(20_000)
        await self.login_at_last()
        assert [machine.name for machine in self.world.site.masters] == [self.client.at]
        await self.compare()

    async def compare(self) -> None:
        world = self.world
        for record in (await self.client.call("VM.get_all_records")).values():
            if record["is_control_domain"]:
                continue
            assert record["current_operations"] == {}, record["name_label"]
            assert record["scheduled_to_be_resident_on"] == "OpaqueRef:NULL"
            real = world.running_on(record["uuid"])
            believed = [host for host in HOSTS if self.client.host(host) == record["resident_on"]]
            assert (list(real.hosts), real.power_state) == (believed, record["power_state"])
        for host in (await self.client.call("host.get_all_records")).values():
            assert await self.client.call("host_metrics.get_live", host["metrics"])


async def walked(seed: int, steps: int) -> Walk:
    crashes: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: crashes.append(context))
    walk = Walk(seed)
    await walk.run(steps)
    assert crashes == []
    return walk


@pytest.mark.parametrize("seed", range(12))
def test_masters_die_and_nothing_is_corrupted(seed: int) -> None:
    assert run_virtual(walked(seed, steps=150)).promotions > 0


def test_the_same_seed_gives_the_same_history() -> None:
    first, again = (run_virtual(walked(5, steps=80)) for _ in range(2))
    assert list(first.world.log) == list(again.world.log)
    assert first.world.pool.db.copy(0) == again.world.pool.db.copy(0)
