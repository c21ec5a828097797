"""What can happen to servers and to what switches them, drawn from a seed; and to all else meanwhile."""

from __future__ import annotations

import asyncio
import random

from reconciler.messages import AskFreeze, AskThaw
from simulator.values import ApiError, Unreachable
from tests.simulation.estate import HOSTS
from tests.simulation.fencing.fence_checkers import FenceBench
from tests.simulation.fencing.fence_site import MASTER, FenceSite
from tests.simulation.peers.peer_checkers import Bench
from tests.simulation.peers.peer_trouble import FAULTS as PEER_FAULTS
from tests.simulation.peers.peer_trouble import PeerTrouble
from tests.simulation.trouble import Act

MORTAL = HOSTS[1:]
"""The death of the pool's master is another story."""

DOWN_S = (5.0, 400.0)
APART_S = (5.0, 150.0)
BOOTED_WITHIN_S = 2400.0
AWAKE_S = 60.0
LOOK_S = 1.0

FAULTS = PEER_FAULTS | {
    "auto-on",
    "bmc-dead",
    "bmc-hang",
    "bmc-lies",
    "bmc-refuses",
    "bmc-reply-lost",
    "bmc-slow",
    "bmc-soft-off",
    "bmc-unknown",
    "crosswired",
    "daemons-gone",
    "frozen-fencing",
    "hang",
    "isolated",
    "power-cut",
    "rebooted-by-somebody",
    "reset-at-once",
}
"""Every class of fault beside those of the pool itself."""


class FenceTrouble(PeerTrouble):
    """As for several nodes, whose servers die as well."""

    faults = FAULTS

    def __init__(
        self, site: FenceSite, bench: Bench, fences: FenceBench, chance: random.Random
    ) -> None:
        super().__init__(site, bench, chance)
        self._fence_site = site
        self._fences = fences
        self._cut_off: set[str] = set()
        self._disabled: set[str] = set()
        deaths: dict[Act, int] = {
            self.power_cut: 8,
            self.reset_at_once: 2,
            self.hang: 6,
            self.isolated: 8,
            self.daemons_gone: 4,
            self.rebooted_by_somebody: 2,
            self.death_in_a_migration: 4,
            self.death_under_a_broken_device: 8,
            self.death_and_a_killed_leader: 4,
            self.freeze_fencing: 1,
        }
        beside: dict[Act, int] = {
            self.foreign_act: 3,
            self.good_commit: 4,
            self.answer_lost: 1,
            self.slow: 1,
            self.api_hang: 1,
            self.api_restart: 2,
            self.migrate_fail: 1,
            self.partition: 2,
            self.one_way: 2,
            self.channel_cut: 1,
            self.pause_cxmd: 2,
            self.pause_both: 2,
            self.kill_cxmd: 2,
            self.kill_cxmd_at_seam: 2,
            self.kill_heart: 1,
            self.pool_cut: 2,
            self.hold: 2,
            self.hand_over: 1,
            self.drain: 1,
        }
        self._kinds = {**deaths, **beside}

    # --- servers --------------------------------------------------------------------------------

    def _victim(self) -> str:
        return self._chance.choice(MORTAL)

    def _down_s(self) -> float:
        return self._chance.uniform(*DOWN_S)

    async def power_cut(self) -> None:
        """Its rack goes dark, and gets light again."""
        self._cut_power(self._victim(), self._down_s())

    def _cut_power(self, host: str, for_s: float) -> None:
        world = self._fence_site.world
        self._fired("power-cut")
        world.power_off(host)
        self._later(for_s, lambda: world.power_on(host))

    async def reset_at_once(self) -> None:
        """It falls and boots sooner than anybody can have noticed."""
        world, host = self._fence_site.world, self._victim()
        self._fired("reset-at-once")
        world.power_off(host)
        self._later(self._chance.uniform(0.5, 4.0), lambda: world.power_on(host))

    async def hang(self) -> None:
        """Nothing on it makes a step; afterwards it goes on as if nothing had been."""
        self._fired("hang")
        self._fault("hang", *APART_S, host=self._victim())

    async def isolated(self) -> None:
        """No cable of its leads anywhere, but its controller's; its VMs run on."""
        host, long_s = self._victim(), self._chance.uniform(*APART_S)
        if host in self._cut_off:
            return
        self._fired("isolated")
        self._cut_off.add(host)
        links = {link for link in self._peers.links if host in link[:2]}
        self._peers.net.sever(links)
        fault = self._site.world.faults.start("net-cut", long_s, host=host)
        node = self._peers.nodes.get(host)
        if node is not None:
            node.reaches_pool = False

        def joined() -> None:
            self._cut_off.discard(host)
            self._peers.net.join(links)
            if any(fault == other.id for other in self._site.world.faults.listed()):
                self._site.world.faults.stop(fault)
            if node is not None:
                node.reaches_pool = True

        self._later(long_s, joined)

    async def daemons_gone(self) -> None:
        """The service VM dies, and the server is as well as ever; its toolstack may be restarted too."""
        node = self._someone()
        self._fired("daemons-gone")
        self._down(node, self._long_s() + 10.0)
        if self._chance.random() < 0.5 and node.name in HOSTS:
            await asyncio.sleep(self._chance.uniform(0.0, 20.0))
            self._fault("api-restart", 2, 40, host=node.name)

    async def rebooted_by_somebody(self) -> None:
        """Somebody disables and reboots a host without telling cxm, which has to see it."""
        host = self._victim()
        self._fired("rebooted-by-somebody")
        self._fences.shots.kept.add(host)
        self._abroad_with(asyncio.create_task(self._rebooted(host)))

    async def _rebooted(self, host: str) -> None:
        world = self._fence_site.world
        try:
            await world.act("host.disable", host)
            self._disabled.add(host)
            for vm in sorted(self._fences.truth.domains(host)):
                self._site.scene.touched[vm].append(self._site.scene.now_s())
                await world.act("VM.clean_shutdown", vm)
            await asyncio.sleep(5.0)
            await world.act("host.reboot", host)
        except (ApiError, Unreachable):
            # Something else befell it meanwhile.
            self._fences.shots.kept.discard(host)
            return
        await self._back(host)

    async def _back(self, host: str) -> None:
        await asyncio.sleep(30.0)
        while not self._fence_site.world.reachable(host):
            await asyncio.sleep(LOOK_S)
        await asyncio.sleep(AWAKE_S)
        self._fences.shots.kept.discard(host)

    async def death_in_a_migration(self) -> None:
        """Either end of a move dies while it is under way."""
        source, target = self._chance.sample(MORTAL, 2)
        there = sorted(self._fences.truth.domains(source))
        if not there:
            return
        vm = self._chance.choice(there)
        task = asyncio.create_task(self._moved_by_somebody(vm, target))
        self._abroad_with(task)
        await asyncio.sleep(self._chance.uniform(0.0, 7.0))
        self._cut_power(self._chance.choice((source, target)), self._down_s())

    async def _moved_by_somebody(self, vm: str, target: str) -> None:
        try:
            await self._site.world.act("VM.pool_migrate", vm, target)
        except (ApiError, Unreachable):
            return

    async def death_under_a_broken_device(self) -> None:
        """What switches it is broken in one way or other when it dies, or seems to."""
        host = self._victim()
        name, scope = self._chance.choice(
            (
                ("bmc-dead", {}),
                ("bmc-hang", {}),
                ("bmc-slow", {"ms": self._chance.choice(("900", "4000", "15000"))}),
                ("bmc-refuses", {}),
                ("bmc-unknown", {}),
                ("bmc-lies", {"says": "done"}),
                ("bmc-soft-off", {"ms": self._chance.choice(("5000", "40000", "90000"))}),
                ("bmc-auto-on", {"ms": self._chance.choice(("500", "3000", "20000"))}),
                ("bmc-reply-lost", {"count": "2"}),
                ("bmc-crosswired", {"onto": self._chance.choice(HOSTS)}),
            )
        )
        self._fired(name.removeprefix("bmc-") if name in _PLAIN else name)
        self._fault(name, 20.0, 200.0, host=host, **scope)
        if self._chance.random() < 0.5:
            await self.isolated()
        else:
            self._cut_power(host, self._down_s())

    async def death_and_a_killed_leader(self) -> None:
        """And whoever is to see to it is gone, or stands still, at some moment of it."""
        self._cut_power(self._victim(), self._down_s())
        await asyncio.sleep(self._chance.uniform(8.0, 40.0))
        leader = self._peers.leader
        if leader is None:
            return
        if self._chance.random() < 0.5:
            leader.process.kill_at = len(leader.process.labels) + self._chance.randint(1, 80)
        else:
            self._fired("paused-cxmd")
            self._pause(leader, heart=False, cxmd=True, seconds=self._long_s())

    # --- people ---------------------------------------------------------------------------------

    async def freeze_fencing(self) -> None:
        host = self._victim()
        self._fired("frozen-fencing")
        freeze = AskFreeze(
            objects=(f"node/{host}",), scopes=("fencing",), for_s=120.0, reason="a look", by="alice"
        )
        if await self._said(freeze):
            self._abroad_with(asyncio.create_task(self._thawed(host)))

    async def _thawed(self, host: str) -> None:
        await asyncio.sleep(self._chance.uniform(20.0, 60.0))
        await self._said(AskThaw(objects=(f"node/{host}",), by="alice"))

    async def _said(self, ask: AskFreeze | AskThaw) -> bool:
        asking = asyncio.create_task(self._peers.request_at(self._someone(), ask))
        done, _ = await asyncio.wait([asking], timeout=20.0)
        if not done:
            asking.cancel()
            return False
        reply = asking.result()
        return reply is not None and reply.accepted

    # --- the end --------------------------------------------------------------------------------

    async def guest_act(self) -> None:
        """A guest of a server that stands still does nothing."""
        if self._site.world.faults.active("hang") is None:
            await super().guest_act()

    async def end(self) -> None:
        """Power is back everywhere, and all have booted; then as for others."""
        for fault in self._site.world.faults.listed():
            if fault.name.startswith("bmc-") or fault.name == "hang":
                self._site.world.faults.stop(fault.id)
        await asyncio.sleep(100.0)
        world = self._fence_site.world
        for number in list(self._undo):
            self._undone(number)
        for host in HOSTS:
            world.power_on(host)
        await super().end()
        await self._booted()
        await asyncio.sleep(AWAKE_S)
        for host in sorted(self._disabled):
            await self._fence_site.world.act("host.enable", host)
        self._disabled.clear()
        await self._released()

    async def _booted(self) -> None:
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + BOOTED_WITHIN_S
        while not all(map(self._is_up, HOSTS)):
            if loop.time() > ends_s:
                down = [host for host in HOSTS if not self._is_up(host)]
                self._site.scene.blame(f"{down} did not boot")
                return
            for host in HOSTS:
                self._fence_site.world.power_on(host)
            await asyncio.sleep(LOOK_S)

    def _is_up(self, host: str) -> bool:
        machine = self._fence_site.world.site.machines[host]
        return machine.up and machine.stashed is None


_PLAIN = ("bmc-auto-on", "bmc-crosswired")

assert MASTER not in MORTAL
