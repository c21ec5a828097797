"""What can happen to live drills, drawn from a seed: to devices, to leaders, to other servers, by people."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Mapping
from typing import Any

from fencing.devices import levels
from reconciler.messages import READING, Ask, AskDrain, AskLiveDrill, AskUndrain, Reply
from tests.simulation.estate import HOSTS
from tests.simulation.fencing.fence_checkers import FenceBench
from tests.simulation.fencing.fence_site import FenceSite
from tests.simulation.fencing.fence_trouble import FAULTS as FENCE_FAULTS
from tests.simulation.fencing.fence_trouble import MORTAL, FenceTrouble
from tests.simulation.peers.peer_checkers import Bench
from tests.simulation.trouble import Act

EMPTY_WITHIN_S = 240.0


class DrillTrouble(FenceTrouble):
    """As for servers that die, most of which are drilled before or meanwhile."""

    faults = FENCE_FAULTS | {"broken-in-a-drill", "drill"}

    def __init__(
        self, site: FenceSite, bench: Bench, fences: FenceBench, chance: random.Random
    ) -> None:
        super().__init__(site, bench, fences, chance)
        drills: dict[Act, int] = {
            self.drill: 20,
            self.drill_by_a_broken_device: 10,
            self.drill_and_a_lost_leader: 10,
        }
        beside: dict[Act, int] = {
            self.power_cut: 2,
            self.hang: 1,
            self.isolated: 2,
            self.daemons_gone: 2,
            self.foreign_act: 1,
            self.good_commit: 1,
            self.api_restart: 1,
            self.partition: 1,
            self.channel_cut: 1,
            self.pause_both: 1,
            self.kill_cxmd: 2,
            self.hold: 1,
            self.hand_over: 1,
        }
        self._kinds = {**drills, **beside}

    def _tried(self) -> str:
        """A node that has daemons, so that its silence is heard."""
        return self._chance.choice([host for host in MORTAL if host in self._peers.nodes])

    async def drill(self) -> None:
        """Somebody empties a node, has it tried, and puts it to use again, soon or late."""
        self._begin(self._drilled(self._tried(), self._chance.uniform(5.0, 400.0)))

    async def drill_by_a_broken_device(self) -> None:
        host = self._tried()
        name, scope = self._chance.choice(
            (
                ("bmc-hang", {}),
                ("bmc-slow", {"ms": "4000"}),
                ("bmc-lies", {"says": self._chance.choice(("done", "off"))}),
                ("bmc-soft-off", {"ms": self._chance.choice(("5000", "90000"))}),
                ("bmc-auto-on", {"ms": self._chance.choice(("3000", "20000"))}),
                ("bmc-reply-lost", {"count": "2"}),
            )
        )
        self._begin(self._drilled(host, self._chance.uniform(60.0, 400.0)))
        self._begin(self._broken(host, name, scope))

    async def _broken(self, host: str, name: str, scope: Mapping[str, str]) -> None:
        await asyncio.sleep(self._chance.uniform(0.0, 90.0))
        self._fired("broken-in-a-drill")
        self._fault(name, 20.0, 200.0, host=host, **scope)

    async def drill_and_a_lost_leader(self) -> None:
        self._begin(self._drilled(self._tried(), self._chance.uniform(60.0, 400.0)))
        self._begin(self._lost())

    async def _lost(self) -> None:
        await asyncio.sleep(self._chance.uniform(0.0, 150.0))
        leader = self._peers.leader
        if leader is None:
            return
        if self._chance.random() < 0.5:
            leader.process.kill_at = len(leader.process.labels) + self._chance.randint(1, 60)
        else:
            self._fired("paused-cxmd")
            self._pause(leader, heart=False, cxmd=True, seconds=self._long_s())

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._abroad_with(asyncio.create_task(work))

    async def _drilled(self, host: str, undrained_s: float) -> None:
        drain = AskDrain(node=host, for_s=None, reason="cables", by="alice")
        if not (await self._answer(drain)).accepted:
            return
        self._begin(self._used_again(host, undrained_s))
        ask = AskLiveDrill(node=host, reason="cables", device=self._device(host), by="alice")
        self._fences.drills.wanted.add(host)
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + EMPTY_WITHIN_S
        while loop.time() < ends_s:
            reply = await self._answer(ask)
            if reply.accepted:
                self._fired("drill")
                return
            await asyncio.sleep(1.0 if reply.reason == READING else 10.0)

    def _device(self, host: str) -> str:
        """Its controller: that one names its server, and can be tried all the same."""
        desired = self._fence_site.repository.commits[-1].loaded.desired
        assert desired is not None
        return levels(desired, host)[0][0].device

    async def _used_again(self, host: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        for _ in range(60):
            reply = await self._answer(AskUndrain(node=host, by="alice"))
            if reply.accepted or reply.reason == "NotDrained":
                return
            await asyncio.sleep(5.0)

    async def _answer(self, ask: Ask) -> Reply:
        """Of whichever node a person sits at; he goes away after a while."""
        asking = asyncio.create_task(self._peers.request_at(self._someone(), ask))
        done, _ = await asyncio.wait([asking], timeout=20.0)
        if not done:
            asking.cancel()
        reply = asking.result() if done else None
        return reply or Reply(accepted=False, reason="Silent")


assert set(MORTAL) < set(HOSTS)
