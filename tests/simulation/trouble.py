"""What can happen to a site, drawn from a seed: faults, foreign hands, commits, deaths of the daemon."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial

from simulator.faults import FaultError
from simulator.values import ApiError, Unreachable
from tests.simulation.estate import HOSTS, VM_HOMES, VmWish, Wish, as_it_is, memory_of
from tests.simulation.site import Site

MOST_MEMORY_GIB = 20
"""Of all VMs together, so that three of the four hosts always have room for all of them."""

Act = Callable[[], Awaitable[None]]


CROWDED_GIB = 5
UNSEEN_S = 30.0
PAIRED = 0.4
APART_S = (0.0, 4.0)


class Trouble:
    """One source of chance for a whole run. `wish` is what the last good commit says."""

    def __init__(self, site: Site, chance: random.Random) -> None:
        self._site = site
        self._chance = chance
        self.wish = as_it_is()
        self._abroad: set[asyncio.Task[None]] = set()
        self._kinds: Mapping[Act, int] = {
            self.foreign_act: 6,
            self.good_commit: 6,
            self.answer_lost: 3,
            self.slow: 2,
            self.api_hang: 2,
            self.hang_after_commit: 3,
            self.api_restart: 2,
            self.migrate_fail: 2,
            self.guest_act: 2,
            self.killed_now: 2,
            self.killed_soon: 4,
            self.bad_commit: 1,
            self.greedy_commit: 1,
            self.crowded_commit: 2,
            self.repository_away: 1,
        }

    async def happen(self) -> None:
        """One thing, drawn by weight, or two of them close together."""
        await self._one()
        if self._chance.random() < PAIRED:
            await asyncio.sleep(self._chance.uniform(*APART_S))
            await self._one()

    async def _one(self) -> None:
        kinds = list(self._kinds)
        (act,) = self._chance.choices(kinds, [self._kinds[kind] for kind in kinds])
        await act()

    async def end(self) -> None:
        """Faults are mended, strangers let finish what they began, the network is whole."""
        faults = self._site.world.faults
        for fault in faults.listed():
            faults.stop(fault.id)
        self._site.repository.reachable = True
        self._site.process.kill_at = None
        if self._abroad:
            await asyncio.wait(self._abroad)
        # What a stranger began just before the toolstack was restarted goes on with no task to show.
        await asyncio.sleep(UNSEEN_S)

    # --- the pool -------------------------------------------------------------------------------

    def _fault(self, name: str, low_s: float, high_s: float, **scope: str) -> None:
        try:
            self._site.world.faults.start(name, self._chance.uniform(low_s, high_s), **scope)
        except FaultError as error:
            raise AssertionError(error) from error

    async def answer_lost(self) -> None:
        methods = ("VM.pool_migrate", "VM.start_on", "VM.clean_shutdown", "event.from")
        method = self._chance.choice((*methods, "VM.suspend", "host.disable", ""))
        narrowed = {"method": method} if method else {}
        self._fault("answer-lost", 20, 90, count=str(self._chance.randint(1, 3)), **narrowed)

    async def slow(self) -> None:
        self._fault("slow", 10, 60, ms=str(self._chance.choice((300, 1500, 4000))))

    async def api_hang(self) -> None:
        self._fault("api-hang", 2, 90, host=HOSTS[0])

    async def hang_after_commit(self) -> None:
        """The calls that a commit leads to are taken in by a toolstack that has just stopped to work:
        it carries them out when everybody has given them up."""
        await self.good_commit()
        await asyncio.sleep(self._chance.uniform(0.2, 3.0))
        self._fault("api-hang", 15, 90, host=HOSTS[0])

    async def api_restart(self) -> None:
        self._fault("api-restart", 2, 40, host=self._chance.choice((HOSTS[0], *HOSTS)))

    async def migrate_fail(self) -> None:
        self._fault("migrate-fail", 20, 120, count=str(self._chance.randint(1, 2)))

    # --- others ---------------------------------------------------------------------------------

    async def foreign_act(self) -> None:
        """Another client of the pool does something to a VM, and does not wait for us."""
        method, given = self._chance.choice(
            (
                ("VM.clean_shutdown", 0),
                ("VM.hard_shutdown", 0),
                ("VM.suspend", 0),
                ("VM.pause", 0),
                ("VM.start_on", 1),
                ("VM.resume_on", 1),
                ("VM.pool_migrate", 1),
                ("VM.pool_migrate", 1),
            )
        )
        name = self._chance.choice(list(VM_HOMES))
        hosts = [self._chance.choice(HOSTS)] * given
        task = asyncio.create_task(self._act(method, name, hosts))
        self._abroad.add(task)
        task.add_done_callback(self._abroad.discard)

    async def _act(self, method: str, name: str, hosts: list[str]) -> None:
        try:
            await self._site.world.act(method, self.wish.vms[name].uuid, *hosts)
        except (ApiError, Unreachable):
            # The VM was in no state for it, or the pool was down: a stranger's luck.
            return

    async def guest_act(self) -> None:
        vm = self.wish.vms[self._chance.choice(list(VM_HOMES))]
        crashes = self._chance.random() < 0.5
        world = self._site.world
        hosts = world.running_on(vm.uuid).hosts
        # The simulated pool never learns of a guest that went while its toolstacks were away.
        if not hosts or not all(world.reachable(host) for host in (HOSTS[0], *hosts)):
            return
        scene = self._site.scene
        scene.touched[vm.uuid].append(scene.now_s())
        if crashes:
            scene.crashed.add(vm.uuid)
            world.guest_crashes(vm.uuid)
        else:
            world.guest_powers_off(vm.uuid)

    # --- the daemon and its people --------------------------------------------------------------

    async def killed_now(self) -> None:
        self._site.process.die()

    async def killed_soon(self) -> None:
        process = self._site.process
        process.kill_at = len(process.labels) + self._chance.randint(1, 40)

    async def good_commit(self) -> None:
        for _ in range(self._chance.randint(1, 3)):
            self.wish = self._changed(self.wish)
        self._site.commit(self.wish)
        if self._chance.random() < 0.8:
            await self._site.ping()

    async def bad_commit(self) -> None:
        files = self.wish.files()
        files["vms/web1.yaml"] += b"memroy: 2GiB\n"
        self._site.repository.commit(files, "a slip")
        await self._site.ping()

    async def greedy_commit(self) -> None:
        """More files gone than one revision may take away without consent."""
        gone = self._chance.sample(list(VM_HOMES), 4)
        vms = {name: vm for name, vm in self.wish.vms.items() if name not in gone}
        self._site.commit(replace(self.wish, vms=vms), "spring cleaning")
        await self._site.ping()

    async def crowded_commit(self) -> None:
        """More than one host can hold: some of it cannot be, and must not be tried."""
        wish, host = self.wish, self._chance.choice(HOSTS)
        for name in self._chance.sample(list(VM_HOMES), 4):
            wish = wish.with_vm(name, state="running", memory_gib=CROWDED_GIB, only=(host,))
        self._site.commit(wish, "all on one")
        await self._site.ping()

    async def repository_away(self) -> None:
        self._site.repository.reachable = False
        back = asyncio.create_task(self._repository_back(self._chance.uniform(10, 90)))
        self._abroad.add(back)
        back.add_done_callback(self._abroad.discard)

    async def _repository_back(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self._site.repository.reachable = True

    # --- wishes ---------------------------------------------------------------------------------

    def _changed(self, wish: Wish) -> Wish:
        name = self._chance.choice(list(VM_HOMES))
        change = self._chance.choice(
            (
                self._moved,
                self._moved,
                self._resized,
                self._switched,
                partial(_relabelled, number=self._chance.randint(1, 9)),
                partial(_tagged, number=self._chance.randint(1, 9)),
                self._drained,
            )
        )
        return change(wish, name)

    def _moved(self, wish: Wish, name: str) -> Wish:
        """Three hosts are named, so that two are left whatever is drained."""
        only = tuple(self._chance.sample(HOSTS, 3)) if self._chance.random() < 0.8 else ()
        return wish.with_vm(name, only=only)

    def _resized(self, wish: Wish, name: str) -> Wish:
        after = wish.with_vm(name, memory_gib=self._chance.randint(1, 3))
        total = sum(vm.memory_gib for vm in after.vms.values())
        return after if total <= MOST_MEMORY_GIB else wish

    def _switched(self, wish: Wish, name: str) -> Wish:
        return wish.with_vm(name, state=self._chance.choice(("running", "halted", "suspended")))

    def _drained(self, wish: Wish, name: str) -> Wish:
        del name
        drained = frozenset({self._chance.choice(HOSTS)})
        return replace(wish, drained=frozenset() if wish.drained else drained)


def _relabelled(wish: Wish, name: str, number: int) -> Wish:
    return wish.with_vm(name, label=f"{name} {number}")


def _tagged(wish: Wish, name: str, number: int) -> Wish:
    return wish.with_vm(name, tags=(f"tag{number}",))


def within_reach(site: Site, wish: Wish) -> Wish:
    """What its owner would commit on seeing what is blocked: a halted VM cannot be suspended, a
    suspended one not be halted without a loss, and its size not be changed."""
    vms = {name: _reachable(site, vm) for name, vm in wish.vms.items()}
    return replace(wish, vms=vms)


def _reachable(site: Site, vm: VmWish) -> VmWish:
    real = site.world.running_on(vm.uuid).power_state.lower()
    blocked = (vm.state, real) in {("suspended", "halted"), ("halted", "suspended")}
    resized = vm.state == "suspended" and memory_of(site.world, vm) != vm.memory_gib << 30
    return replace(vm, state="running") if blocked or resized else vm
