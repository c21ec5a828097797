"""What can happen to several nodes, drawn from a seed: to their network, disk, clocks, daemons, people."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from membership.ledger import Hold
from reconciler.messages import AskDrain, AskHandOver, AskHold, AskRelease, AskUndrain
from tests.simulation.estate import HOSTS
from tests.simulation.peers.peer_checkers import Bench
from tests.simulation.peers.peer_net import Link, Weather
from tests.simulation.peers.peer_node import PeerNode
from tests.simulation.peers.peer_site import CHANNELS, PeerSite
from tests.simulation.trouble import Act, Trouble

LONGEST_PAUSE_S = 300.0
HELD_S = (10.0, 90.0)
SOON = 200
ELECTED_S = 20.0
PLAYED_BACK = 150
NOTHING_TO_END = ("NotDrained", "DeclaredInTree")
MOST_ASKED = 600
"""Servers that boot, and a cluster that has no quorum for so long, are waited for."""

HOUR_S = 3600.0

FAULTS = frozenset(
    {
        "altered",
        "api-cut",
        "asleep",
        "cut-one-way",
        "channel-cut",
        "disk-eio",
        "disk-old-copy",
        "disk-slow",
        "disk-stale",
        "disk-torn",
        "drained",
        "flapping",
        "frozen-in-call",
        "handed-over",
        "held",
        "killed-both",
        "killed-cxmd",
        "killed-cxmd-at-a-seam",
        "killed-heart",
        "killed-heart-at-a-seam",
        "partition",
        "paused-both",
        "paused-cxmd",
        "paused-heart",
        "replayed",
        "stepped-boot",
        "stepped-wall",
        "svn-cut",
        "weather",
    }
)
"""Every class of fault beside those of the pool itself. Each must have struck, over some seeds."""


class PeerTrouble(Trouble):
    """As for a single daemon, and all that comes with several."""

    faults = FAULTS

    def __init__(self, site: PeerSite, bench: Bench, chance: random.Random) -> None:
        super().__init__(site, chance)
        self._peers = site
        self._bench = bench
        self._undo: dict[int, tuple[asyncio.TimerHandle, Callable[[], None]]] = {}
        self._count = 0
        pool_kinds: dict[Act, int] = {
            self.foreign_act: 2,
            self.good_commit: 12,
            self.answer_lost: 1,
            self.slow: 1,
            self.api_hang: 2,
            self.hang_after_commit: 2,
            self.api_restart: 1,
            self.migrate_fail: 1,
            self.guest_act: 1,
            self.bad_commit: 1,
            self.repository_away: 1,
        }
        peer_kinds: dict[Act, int] = {
            self.partition: 5,
            self.one_way: 3,
            self.channel_cut: 2,
            self.flapping: 1,
            self.storm: 3,
            self.pause_cxmd: 3,
            self.pause_heart: 3,
            self.pause_both: 3,
            self.sleep: 2,
            self.kill_cxmd: 3,
            self.kill_cxmd_at_seam: 4,
            self.kill_heart: 3,
            self.kill_heart_at_seam: 3,
            self.kill_both: 3,
            self.freeze_in_call: 3,
            self.step_boot: 2,
            self.step_wall: 1,
            self.pool_cut: 2,
            self.svn_cut: 1,
            self.replay: 1,
            self.hold: 3,
            self.hand_over: 2,
            self.drain: 1,
        }
        if site.disk is not None:
            disk_kinds: dict[Act, int] = {self.disk_slow: 2, self.disk_failing: 2, self.disk_odd: 2}
            peer_kinds |= {**disk_kinds, self.disk_decides: 3}
        self._kinds = pool_kinds | peer_kinds

    # --- whom, and for how long -----------------------------------------------------------------

    def _fired(self, what: str) -> None:
        assert what in self.faults, what
        self._peers.fired[what] += 1

    def _someone(self) -> PeerNode:
        leader = self._peers.leader
        if leader is not None and self._chance.random() < 0.5:
            return leader
        return self._chance.choice(list(self._peers.nodes.values()))

    def _long_s(self) -> float:
        """A tenth of a second to five minutes, more often short than long."""
        long_s: float = 0.1 * 10.0 ** self._chance.uniform(0.0, 3.48)
        return min(LONGEST_PAUSE_S, long_s)

    def _later(self, after_s: float, undo: Callable[[], None]) -> None:
        self._count += 1
        number = self._count
        timer = asyncio.get_running_loop().call_later(after_s, self._undone, number)
        self._undo[number] = (timer, undo)

    def _undone(self, number: int) -> None:
        timer, undo = self._undo.pop(number)
        timer.cancel()
        undo()

    def _abroad_with(self, task: asyncio.Task[None]) -> None:
        self._abroad.add(task)
        task.add_done_callback(self._abroad.discard)

    async def end(self) -> None:
        """Everything is mended, whoever was stopped goes on, and what is held is released."""
        for number in list(self._undo):
            self._undone(number)
        site = self._peers
        site.net.join(site.links)
        site.net.change(Weather())
        if site.disk is not None:
            site.disk.healed()
        for node in site.nodes.values():
            node.down_until_s = node.freeze_s = 0.0
            node.process.kill_at = None
            node.clock.wall_s = 0.0
            if node.heart is not None:
                node.heart.seams_left = None
        await super().end()
        await self._released()

    async def _released(self) -> None:
        """Somebody looks at what is held, and ends it."""
        site = self._peers
        for _ in range(30):
            held = {
                hold.id for node in site.nodes.values() for hold in node.ledger.values(Hold)
            } | self._bench.holds.held.keys()
            if not held:
                return
            for hold in sorted(held):
                await self._release(hold)
            await asyncio.sleep(2.0)
        site.scene.blame("there is no end of being held")

    # --- the network ----------------------------------------------------------------------------

    def _cut(self, links: set[Link], what: str, least_s: float = 1.0) -> None:
        self._fired(what)
        self._peers.net.sever(links)
        self._later(self._long_s() + least_s, lambda: self._peers.net.join(links))

    async def partition(self) -> None:
        """Two sides, of one node at least; or nobody hears anybody."""
        names = list(self._peers.nodes)
        self._chance.shuffle(names)
        side = set(names[: self._chance.randint(1, len(names) - 1)])
        full = self._chance.random() < 0.1
        links = {k for k in self._peers.links if full or (k[0] in side) != (k[1] in side)}
        self._cut(links, "partition")

    async def one_way(self) -> None:
        """Somebody is not heard any more by some, or does not hear them."""
        one = self._someone().name
        others = [name for name in self._peers.nodes if name != one]
        some = set(self._chance.sample(others, self._chance.randint(1, len(others))))
        hears = self._chance.random() < 0.5
        links = {
            k
            for k in self._peers.links
            if (k[0] == one and k[1] in some and hears)
            or (k[1] == one and k[0] in some and not hears)
        }
        self._cut(links, "cut-one-way")

    async def channel_cut(self) -> None:
        """One cable of all nodes."""
        channel = self._chance.randrange(CHANNELS)
        self._cut({k for k in self._peers.links if k[2] == channel}, "channel-cut")

    async def flapping(self) -> None:
        one = self._someone().name
        links = {k for k in self._peers.links if one in k[:2]}
        self._fired("flapping")
        self._abroad_with(asyncio.create_task(self._flaps(links, self._chance.randint(3, 20))))

    async def _flaps(self, links: set[Link], times: int) -> None:
        for _ in range(times):
            self._peers.net.sever(links)
            await asyncio.sleep(self._chance.uniform(0.2, 6.0))
            self._peers.net.join(links)
            await asyncio.sleep(self._chance.uniform(0.2, 4.0))

    async def storm(self) -> None:
        """Loss, delay, disorder, doubles and altered bytes, all at once or some of them."""
        chance = self._chance
        self._fired("weather")
        weather = Weather(
            loss=chance.choice((0.0, 0.1, 0.3, 0.5)),
            late=chance.choice((0.0, 0.1, 0.5, 0.9)),
            late_s=chance.choice((0.1, 1.0, 2.0, 4.0)),
            doubled=chance.choice((0.0, 0.2)),
            altered=chance.choice((0.0, 0.05, 0.2)),
        )
        self._peers.fired["altered"] += weather.altered > 0.0
        self._peers.net.change(weather)
        self._later(self._long_s() + 1.0, lambda: self._peers.net.change(Weather()))

    async def replay(self) -> None:
        """Somebody is gone, and what he said before is sent once more to one who has just started."""
        gone, deceived = self._chance.sample(list(self._peers.nodes.values()), 2)
        self._fired("replayed")
        self._down(gone, self._chance.uniform(40.0, 90.0))
        if deceived.heart is not None:
            deceived.heart.die()
        self._abroad_with(asyncio.create_task(self._played_back(gone, deceived)))

    async def _played_back(self, gone: PeerNode, deceived: PeerNode) -> None:
        """As fast as it was said, so that it would pass for life."""
        await asyncio.sleep(5.0)
        for channel, data in self._peers.net.recording(gone.name, deceived.name)[-PLAYED_BACK:]:
            if gone.silent_since_s is None:
                return
            self._peers.net.play_back(deceived.name, channel, data)
            await asyncio.sleep(0.4)

    async def pool_cut(self) -> None:
        """The management network of one node alone."""
        node = self._someone()
        self._fired("api-cut")
        node.reaches_pool = False
        self._later(self._long_s(), lambda: setattr(node, "reaches_pool", True))

    async def svn_cut(self) -> None:
        node = self._someone()
        self._fired("svn-cut")
        node.reaches_svn = False
        self._later(self._long_s(), lambda: setattr(node, "reaches_svn", True))

    # --- the disk -------------------------------------------------------------------------------

    async def disk_slow(self) -> None:
        disk = self._peers.disk
        assert disk is not None
        disk.slow_s = self._chance.choice((0.5, 2.0, 8.0))
        self._later(self._long_s(), disk.healed)

    async def disk_failing(self) -> None:
        disk = self._peers.disk
        assert disk is not None
        disk.failing = self._chance.choice((0.2, 1.0))
        disk.torn = self._chance.choice((0.0, 0.3))
        self._later(self._long_s(), disk.healed)

    async def disk_odd(self) -> None:
        """Reads that are too old, or a copy that somebody puts back."""
        disk = self._peers.disk
        assert disk is not None
        if self._chance.random() < 0.5:
            disk.put_back()
            return
        disk.stale = self._chance.choice((0.1, 0.5))
        self._later(self._long_s(), disk.healed)

    async def disk_decides(self) -> None:
        """No cable is left, and all of them start at once: nothing but the disk tells them apart."""
        disk = self._peers.disk
        assert disk is not None
        self._cut(set(self._peers.links), "partition", ELECTED_S)
        disk.slow_s = self._chance.choice((0.3, 1.0, 2.0))
        self._later(self._long_s() + ELECTED_S, disk.healed)
        for node in self._peers.nodes.values():
            if node.heart is not None:
                node.heart.die()

    # --- daemons --------------------------------------------------------------------------------

    def _pause(self, node: PeerNode, *, heart: bool, cxmd: bool, seconds: float) -> None:
        if heart:
            node.stop_heart()
            self._later(seconds, node.go_on_heart)
        if cxmd:
            node.process.stop()
            self._later(seconds, node.go_on)

    async def pause_cxmd(self) -> None:
        self._fired("paused-cxmd")
        self._pause(self._someone(), heart=False, cxmd=True, seconds=self._long_s())

    async def pause_heart(self) -> None:
        self._fired("paused-heart")
        self._pause(self._someone(), heart=True, cxmd=False, seconds=self._long_s())

    async def pause_both(self) -> None:
        self._fired("paused-both")
        self._pause(self._someone(), heart=True, cxmd=True, seconds=self._long_s())

    async def sleep(self) -> None:
        """The machine is suspended."""
        self._fired("asleep")
        node = self._someone()
        node.fall_asleep()
        self._later(self._long_s(), node.wake)

    async def step_boot(self) -> None:
        self._fired("stepped-boot")
        node = self._someone()
        node.clock.step(self._chance.choice((0.4, 3.0, 30.0, HOUR_S)))
        node.beats_since_s = asyncio.get_running_loop().time()

    async def step_wall(self) -> None:
        self._fired("stepped-wall")
        self._someone().clock.wall_s = self._chance.choice((-HOUR_S, -2.0, 2.0, HOUR_S, 0.0))

    async def kill_cxmd(self) -> None:
        self._fired("killed-cxmd")
        self._someone().process.die()

    async def kill_cxmd_at_seam(self) -> None:
        self._fired("killed-cxmd-at-a-seam")
        process = self._someone().process
        process.kill_at = len(process.labels) + self._chance.randint(1, 60)

    async def kill_heart(self) -> None:
        self._fired("killed-heart")
        heart = self._someone().heart
        if heart is not None:
            heart.die()

    async def kill_heart_at_seam(self) -> None:
        self._fired("killed-heart-at-a-seam")
        heart = self._someone().heart
        if heart is not None:
            heart.seams_left = self._chance.randint(1, SOON)

    async def kill_both(self) -> None:
        """The whole machine, for a while."""
        self._fired("killed-both")
        self._down(self._someone(), self._long_s())

    def _down(self, node: PeerNode, seconds: float) -> None:
        node.down_until_s = asyncio.get_running_loop().time() + seconds
        node.process.die()
        if node.heart is not None:
            node.heart.die()

    async def freeze_in_call(self) -> None:
        """The next call of whoever leads comes when its successor may long be there."""
        leader = self._peers.leader
        if leader is None:
            return
        leader.freeze_s = self._chance.uniform(1.0, 60.0)
        await self.good_commit()
        await asyncio.sleep(self._chance.uniform(1.0, 6.0))
        leader.freeze_s = 0.0

    # --- people ---------------------------------------------------------------------------------

    async def hold(self) -> None:
        self._fired("held")
        self._abroad_with(asyncio.create_task(self._held(self._someone())))

    async def _held(self, node: PeerNode) -> None:
        leader = self._peers.leader
        term = leader.view.term if leader is not None and leader.view is not None else 0
        reply = await self._peers.request_at(node, AskHold(reason="a look", by="alice"))
        if reply is None or not reply.accepted:
            return
        self._bench.holds.accepted(reply.message, leader, term)
        await asyncio.sleep(self._chance.uniform(*HELD_S))
        await self._release(reply.message)

    async def _release(self, hold: str) -> None:
        self._bench.holds.released(hold)
        for node in self._peers.nodes.values():
            ask = AskRelease(id=hold, reason="looked", by="alice")
            reply = await self._peers.request_at(node, ask)
            if reply is not None and reply.accepted:
                return

    async def hand_over(self) -> None:
        self._fired("handed-over")
        to = self._chance.choice((None, self._someone().name))
        await self._asked(AskHandOver(to=to, by="alice"))

    async def drain(self) -> None:
        node = self._chance.choice(HOSTS)
        self._fired("drained")
        await self._asked(AskDrain(node=node, for_s=None, reason="dust", by="alice"))
        undrain = AskUndrain(node=node, by="alice")
        self._abroad_with(asyncio.create_task(self._undrained(undrain)))

    async def _undrained(self, undrain: AskUndrain) -> None:
        await asyncio.sleep(self._chance.uniform(*HELD_S))
        for _ in range(MOST_ASKED):
            if await self._asked(undrain):
                return
            await asyncio.sleep(5.0)
        self._site.scene.blame(f"nobody takes it that {undrain.node} is not to be empty any more")

    async def _asked(self, ask: AskDrain | AskUndrain | AskHandOver) -> bool:
        """Through whichever node a person sits at; he goes away after a while."""
        node = self._someone()
        asking = asyncio.create_task(self._peers.request_at(node, ask))
        done, _ = await asyncio.wait([asking], timeout=20.0)
        if not done:
            asking.cancel()
            return False
        reply = asking.result()
        return reply is not None and (reply.accepted or reply.reason in NOTHING_TO_END)
