"""Stories that people wrote: what befalls a site, and the log that has to come of it.

`python -m tests.simulation.fencing.fence_story --write NAME ...` writes the log anew; every line that
changes by that is to be explained.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import yaml

from reconciler.messages import (
    READING,
    Ask,
    AskBootstrap,
    AskDrain,
    AskFreeze,
    AskHold,
    AskLiveDrill,
    AskRelease,
    AskUndrain,
    Reply,
)
from simulator.clock import run_virtual
from simulator.values import ApiError, Unreachable
from tests.simulation.crashes import memory_disk
from tests.simulation.estate import Wish, as_it_is
from tests.simulation.fencing.fence_checkers import Drills, FenceBench
from tests.simulation.fencing.fence_log import FenceLog
from tests.simulation.fencing.fence_site import FenceSite, Layout
from tests.simulation.peers.peer_checkers import Bench
from tests.simulation.peers.peer_node import PeerNode

STORIES = Path(__file__).with_name("stories")
SETTLED_S = 60.0
"""The story begins when all are up and have been for a while."""


class Step(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is done `at` a second of the story; `of` whom, `lasts` how long, `given` what else."""

    at: float
    do: str
    of: str = ""
    lasts: float = 0.0
    given: dict[str, str] = {}
    to: list[str] = []


class Story(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """`wish` changes VMs of the tree, `layout` the site. What is done before 0 is done after the
    commit, and what comes of it is not in the log."""

    why: str
    lasts: float
    steps: list[Step]
    layout: dict[str, Any] = {}
    wish: dict[str, dict[str, Any]] = {}


@dataclass
class Told:
    lines: list[str]
    violations: list[str]


@dataclass
class Teller:
    """Plays the steps of one story."""

    site: FenceSite
    bench: Bench
    log: FenceLog
    drills: Drills
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def play(self, story: Story) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time() + SETTLED_S
        for step in sorted(story.steps, key=lambda step: step.at):
            await asyncio.sleep(max(0.0, began_s + step.at - loop.time()))
            self.log.say(_words(step))
            await self._deeds()[step.do](step)
        await asyncio.sleep(began_s + story.lasts - loop.time())
        for task in self.tasks:
            task.cancel()
        self.log.end()

    def _deeds(self) -> Mapping[str, Callable[[Step], Awaitable[None]]]:
        return {
            "power-off": self._power_off,
            "power-on": self._power_on,
            "isolate": self._isolate,
            "stop-daemons": self._stop_daemons,
            "kill-cxmd": self._kill_cxmd,
            "kill-at-seam": self._kill_at_seam,
            "pause": self._pause,
            "pause-at-seam": self._pause_at_seam,
            "cut": self._cut,
            "hold": self._hold,
            "release": self._release,
            "freeze-fencing": self._freeze,
            "drain": self._drain,
            "undrain": self._undrain,
            "live-drill": self._live_drill,
            "bootstrap": self._bootstrap,
            "act": self._act,
        } | dict.fromkeys(_FAULTS, self._fault)

    # --- servers --------------------------------------------------------------------------------

    async def _power_off(self, step: Step) -> None:
        self.site.world.power_off(step.of)

    async def _power_on(self, step: Step) -> None:
        self.site.world.power_on(step.of)

    async def _fault(self, step: Step) -> None:
        host = {"host": step.of} if step.of else {}
        self.site.world.faults.start(step.do, step.lasts, **host, **step.given)

    async def _isolate(self, step: Step) -> None:
        """Neither its daemons nor its toolstack are heard, nor hear."""
        self._sever({link for link in self.site.links if step.of in link[:2]}, step.lasts)
        self.site.world.faults.start("net-cut", step.lasts, host=step.of)
        node = self.site.nodes.get(step.of)
        if node is not None:
            node.reaches_pool = False
            self._later(step.lasts, lambda: setattr(node, "reaches_pool", True))

    async def _cut(self, step: Step) -> None:
        """The heartbeats between `of` and those that are named, or all."""
        others = set(step.to) or set(self.site.nodes)
        links = {
            link
            for link in self.site.links
            if step.of in link[:2] and others & {*link[:2]} - {step.of}
        }
        self._sever(links, step.lasts)

    def _sever(self, links: set[tuple[str, str, int]], lasts_s: float) -> None:
        self.site.net.sever(links)
        self._later(lasts_s, lambda: self.site.net.join(links))

    def _later(self, after_s: float, undo: Callable[[], object]) -> None:
        asyncio.get_running_loop().call_later(after_s, undo)

    # --- daemons --------------------------------------------------------------------------------

    def _node(self, step: Step) -> PeerNode:
        found = self.site.leader if step.of == "leader" else self.site.nodes[step.of]
        assert found is not None, "nobody leads"
        return found

    async def _stop_daemons(self, step: Step) -> None:
        """The service VM is gone, the server is as well as ever."""
        node = self._node(step)
        node.down_until_s = asyncio.get_running_loop().time() + step.lasts
        node.process.die()
        if node.heart is not None:
            node.heart.die()

    async def _kill_cxmd(self, step: Step) -> None:
        self._node(step).process.die()

    async def _kill_at_seam(self, step: Step) -> None:
        """The next time that it comes to a seam whose label begins so."""
        process, begins = self._node(step).process, step.given["seam"]
        seam = process.seam

        def watched(label: str) -> None:
            if label.startswith(begins):
                process.die()
            seam(label)

        process.seam = watched  # type: ignore[method-assign]

    async def _pause_at_seam(self, step: Step) -> None:
        """It stands still, once, the next time that it comes to such a seam."""
        node, begins = self._node(step), step.given["seam"]
        seam = node.process.seam

        def watched(label: str) -> None:
            seam(label)
            if label.startswith(begins):
                node.process.seam = seam  # type: ignore[method-assign]
                node.process.stop()
                self._later(step.lasts, node.go_on)

        node.process.seam = watched  # type: ignore[method-assign]

    async def _pause(self, step: Step) -> None:
        node = self._node(step)
        node.process.stop()
        self._later(step.lasts, node.go_on)
        if step.given.get("heart") == "too":
            node.stop_heart()
            self._later(step.lasts, node.go_on_heart)

    # --- people ---------------------------------------------------------------------------------

    async def _hold(self, step: Step) -> None:
        reply = await self.site.request_at(self._node(step), AskHold(reason="a look", by="alice"))
        if reply is not None and reply.accepted:
            self.bench.holds.accepted(reply.message, None, 0)

    async def _release(self, step: Step) -> None:
        node = self._node(step)
        for hold in sorted(hold.id for hold in node.ledger.holds):
            self.bench.holds.released(hold)
            ask = AskRelease(id=hold, reason="looked", by="alice")
            await self.site.request_at(node, ask)

    async def _freeze(self, step: Step) -> None:
        ask = AskFreeze(
            objects=(f"node/{step.of}",),
            scopes=("fencing",),
            for_s=step.lasts,
            reason="a look",
            by="alice",
        )
        await self.site.ask(ask)

    async def _drain(self, step: Step) -> None:
        await self.site.ask(AskDrain(node=step.of, for_s=None, reason="a drill", by="alice"))

    async def _undrain(self, step: Step) -> None:
        await self.site.ask(AskUndrain(node=step.of, by="alice"))

    async def _live_drill(self, step: Step) -> None:
        device = step.given.get("device", "")
        ask = AskLiveDrill(node=step.of, device=device, reason="new cables", by="alice")
        self.drills.wanted.add(step.of)
        self._answered(await self._asked(ask))

    async def _bootstrap(self, step: Step) -> None:
        ask = AskBootstrap(absent=tuple(step.to), reason="they burnt", by="alice")
        self._answered(await self._asked(ask))

    async def _asked(self, ask: Ask) -> Reply:
        """The leader's answer, once the devices are read that it rests on."""
        for _ in range(30):
            leader = self.site.leader
            reply = await self.site.request_at(leader, ask) if leader is not None else None
            if reply is not None and reply.reason != READING:
                return reply
            await asyncio.sleep(1.0)
        return Reply(accepted=False, reason="Silent", message="nobody answers")

    def _answered(self, reply: Reply) -> None:
        word = "yes" if reply.accepted else f"no, {reply.reason}"
        self.log.say(f"the answer is {word}: {reply.message}")

    async def _act(self, step: Step) -> None:
        self.tasks.append(asyncio.create_task(self._acted(step)))

    async def _acted(self, step: Step) -> None:
        try:
            await self.site.world.act(step.given["method"], step.of, *step.to)
        except (ApiError, Unreachable) as error:
            self.log.say(f"somebody's {step.given['method']} of {step.of}: {_reason(error)}")


_FAULTS = (
    "hang",
    "api-hang",
    "api-restart",
    "migrate-fail",
    "bmc-dead",
    "bmc-hang",
    "bmc-slow",
    "bmc-refuses",
    "bmc-unknown",
    "bmc-lies",
    "bmc-crosswired",
    "bmc-soft-off",
    "bmc-auto-on",
    "bmc-reply-lost",
)


def _reason(error: Exception) -> str:
    return error.code if isinstance(error, ApiError) else "nobody answers"


def _words(step: Step) -> str:
    given = " ".join(f"{key}={value}" for key, value in step.given.items())
    lasts = f"for {step.lasts:.0f} s" if step.lasts else ""
    return " ".join(("##", *filter(None, (step.do, step.of, *step.to, given, lasts))))


def tell(name: str) -> Told:
    """The story of this name, as it comes out."""
    text = (STORIES / name / "story.yaml").read_text("utf-8")
    story = msgspec.convert(yaml.safe_load(text), Story, strict=False)
    with tempfile.TemporaryDirectory(dir=memory_disk()) as folder:
        return run_virtual(_told(story, Path(folder)))


async def _told(story: Story, folder: Path) -> Told:
    site = FenceSite(1, folder, Layout(**story.layout))
    bench = Bench(site)
    fences = FenceBench(site, bench)
    log = FenceLog(site, asyncio.get_running_loop().time() + SETTLED_S)
    site.fence_checkers = (*site.fence_checkers, log)
    site.watching = (*site.watching, log)
    site.commit(_wish(story), "as it is")
    site.open()
    await Teller(site, bench, log, fences.drills).play(story)
    await site.close()
    corruption = [f"{case.kind} on {case.hosts}" for case in site.world.corruption]
    lines = [_NUMBER.sub(r"\1", line) for line in log.lines]
    return Told(lines, [*site.scene.violations, *corruption])


_NUMBER = re.compile(r"\b([CDF]-\d+)-\d+")
"""Of a certificate, a drill or an attempt: how many facts came before it is no part of the story."""


def _wish(story: Story) -> Wish:
    wish = as_it_is()
    for name, changes in story.wish.items():
        wish = wish.with_vm(name, **changes)
    return wish


def expected(name: str) -> list[str]:
    return (STORIES / name / "expect.log").read_text("utf-8").splitlines()


def names() -> list[str]:
    return sorted(path.parent.name for path in STORIES.glob("*/story.yaml"))


def main() -> int:
    parser = argparse.ArgumentParser(description="Stories of servers that die.")
    parser.add_argument("--write", action="store_true", help="write the log anew")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    for name in options.names or names():
        told = tell(name)
        sys.stdout.write("\n".join((f"--- {name}", *told.lines, *told.violations)) + "\n")
        if options.write:
            (STORIES / name / "expect.log").write_text("\n".join(told.lines) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
