"""Short stories of several nodes, each told to show one way to be wrong, where chance hardly ever does.

Each begins with one that leads and acts, and ends when what was to be seen would have been seen.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from reconciler.messages import AskHold, AskRelease
from simulator.clock import run_virtual
from tests.simulation.crashes import memory_disk
from tests.simulation.estate import as_it_is, unfulfilled
from tests.simulation.peers.peer_checkers import Bench
from tests.simulation.peers.peer_net import Link
from tests.simulation.peers.peer_node import PeerNode
from tests.simulation.peers.peer_site import CHANNELS, PeerSite

SEED = 1
ACTS_WITHIN_S = 60.0
LATE_S = 3.0
"""Of an acknowledgement, from when it is sent: less than a lease, so that who waits for it leads on."""

Story = Callable[[PeerSite, Bench, PeerNode], Awaitable[None]]


async def cxmd_stops(site: PeerSite, bench: Bench, leader: PeerNode) -> None:
    """Its heartbeats go on, and nothing behind them does."""
    del site, bench
    leader.process.stop()
    await asyncio.sleep(20.0)


async def acknowledgements_are_late(site: PeerSite, bench: Bench, leader: PeerNode) -> None:
    """What the leader sends is there at once, and what it is answered takes its time. Then nothing it sends
    is there any more, while answers yet come: whoever gave them is bound no longer than he has said."""
    del bench
    others = [name for name in site.nodes if name != leader.name]
    site.net.late_s |= {link: LATE_S for name in others for link in _links(name, leader.name)}
    await asyncio.sleep(20.0)
    site.net.sever({link for name in others for link in _links(leader.name, name)})
    await asyncio.sleep(20.0)


async def a_call_comes_late(site: PeerSite, bench: Bench, leader: PeerNode) -> None:
    """It was stopped after its last look at the lease, and goes on when its successor acts."""
    del bench
    leader.freeze_s = 40.0
    site.commit(as_it_is().with_vm("web1", state="halted"), "a call for it to make")
    await site.ping()
    await asyncio.sleep(60.0)
    assert site.fired["frozen-in-call"], "it made no call"


async def the_disk_alone_is_left(site: PeerSite, bench: Bench, leader: PeerNode) -> None:
    """No cable is left between the two, and the leader's to the pool is gone as well: it hears of no claim.
    The other one starts anew, and nothing but the leader's slot tells it that it has one."""
    del bench
    site.net.sever(set(site.links))
    leader.reaches_pool = False
    for node in site.nodes.values():
        if node is not leader and node.heart is not None:
            node.heart.die()
    await asyncio.sleep(25.0)


async def one_holds_the_other(site: PeerSite, bench: Bench, leader: PeerNode) -> None:
    """No cable is left between the two, and both reach pool and disk: the leader goes on alone, until
    somebody at the other one holds."""
    site.net.sever(set(site.links))
    await asyncio.sleep(15.0)
    wish = as_it_is().with_vm("web1", state="halted")
    site.commit(wish, "while it leads alone")
    await asyncio.sleep(60.0)
    assert unfulfilled(site.world, wish) == []
    (other,) = (node for node in site.nodes.values() if node is not leader)
    await _held(site, bench, other, "alice")
    assert site.leader is leader
    site.commit(as_it_is(), "while it is held")
    await asyncio.sleep(60.0)
    assert unfulfilled(site.world, wish) == []


async def one_of_two_holds_ends(site: PeerSite, bench: Bench, leader: PeerNode) -> None:
    """Whoever else holds still does."""
    await _held(site, bench, leader, "alice")
    last = await _held(site, bench, leader, "bob")
    bench.holds.released(last)
    reply = await site.request_at(leader, AskRelease(id=last, by="bob"))
    assert reply is not None
    assert reply.accepted, reply.message
    site.commit(as_it_is().with_vm("web1", state="halted"), "while it is held")
    await site.ping()
    await asyncio.sleep(30.0)


async def _held(site: PeerSite, bench: Bench, node: PeerNode, by: str) -> str:
    """The id of a hold of which somebody at this node is told that it stands."""
    reply = await site.request_at(node, AskHold(reason="a look", by=by))
    assert reply is not None
    assert reply.accepted, reply.message
    leader = site.leader
    term = leader.view.term if leader is not None and leader.view is not None else 0
    bench.holds.accepted(reply.message, leader, term)
    return reply.message


def _links(one: str, other: str) -> list[Link]:
    return [(one, other, channel) for channel in range(CHANNELS)]


class Plot(NamedTuple):
    """A story, of how many nodes, with a shared disk or without."""

    story: Story
    nodes: int
    disk: bool = False


STORIES: Mapping[str, Plot] = {
    "cxmd stops": Plot(cxmd_stops, nodes=3),
    "acknowledgements are late": Plot(acknowledgements_are_late, nodes=3),
    "a call comes late": Plot(a_call_comes_late, nodes=3),
    "the disk alone is left": Plot(the_disk_alone_is_left, nodes=2, disk=True),
    "one of two holds ends": Plot(one_of_two_holds_ends, nodes=3),
    "one holds the other": Plot(one_holds_the_other, nodes=2, disk=True),
}


def tell(name: str) -> tuple[str, ...]:
    """What the checkers say of it."""
    with tempfile.TemporaryDirectory(dir=memory_disk()) as folder:
        return run_virtual(_told(STORIES[name], Path(folder)))


async def _told(plot: Plot, folder: Path) -> tuple[str, ...]:
    site = PeerSite(SEED, folder, plot.nodes, disk=plot.disk)
    bench = Bench(site)
    site.commit(as_it_is(), "as it is")
    site.open()
    await plot.story(site, bench, await _acting(site))
    await site.close()
    return tuple(site.scene.violations)


async def _acting(site: PeerSite) -> PeerNode:
    """Whoever leads, once it acts."""
    async with asyncio.timeout(ACTS_WITHIN_S):
        while True:
            await asyncio.sleep(1.0)
            status = await site.status()
            leader = site.leader
            if leader is not None and status is not None and status.leadership.stage == "acting":
                return leader
