"""The JavaScript client of a well-known pool manager: its cache, kept by events, is the world.

It comes from npm (`make npm`). Where it is not installed a warning says so that nobody overlooks.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from simulator.serve import Simulation
from simulator.values import ApiError
from tests.wire.served import SECRET, Session, served

HERE = Path(__file__).parent
FOLDER = HERE / "npm"
NODE = shutil.which("node")
INSTALLED = NODE is not None and (FOLDER / "node_modules" / "xen-api").is_dir()
POOL = (HERE / "cases" / "pool.yaml").read_text()
MARKER = "all-is-said"
CHANGES = 1000
_UNSEEN = frozenset({"session", "user"})
"""Classes of which no server makes events."""


def test_it_is_known_whether_the_client_is_there() -> None:
    if not INSTALLED:
        warnings.warn("npm's xen-api is not installed: no event cache is compared", stacklevel=1)
        return
    assert (FOLDER / "package-lock.json").is_file()


@asynccontextmanager
async def caching(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The client, when its cache is filled for the first time."""
    assert NODE is not None
    process = await asyncio.create_subprocess_exec(
        NODE, "cache.mjs", url, "root", SECRET, MARKER,
        cwd=FOLDER, stdout=asyncio.subprocess.PIPE, limit=1 << 26,
    )  # fmt: skip
    try:
        assert await asyncio.wait_for(line_of(process), 30) == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def line_of(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    return await process.stdout.readline()


class Within:
    """Another client, inside the simulator's own process: it costs no connections."""

    def __init__(self, running: Simulation, ref: str) -> None:
        self._running = running
        self._ref = ref

    async def call(self, method: str, *args: Any) -> Any:
        return await self._running.world.call("xen1", method, [self._ref, *args])


async def change(session: Within, chance: random.Random) -> None:
    """Some change or other; a refusal is none, and is as welcome."""
    vms = await session.call("VM.get_all")
    vm = chance.choice(vms)
    deeds: list[list[Any]] = [
        ["VM.set_name_description", vm, str(chance.random())],
        ["VM.add_to_other_config", vm, str(chance.randrange(5)), "x"],
        ["VM.remove_from_other_config", vm, str(chance.randrange(5))],
        ["VM.add_tags", vm, str(chance.randrange(5))],
        ["VM.clone", vm, f"copy {chance.random()}"],
        ["VM.destroy", vm],
        ["Async.VM.start", vm, False, False],
        ["Async.VM.hard_shutdown", vm],
        ["Async.VM.pause", vm],
        ["VM.power_state_reset", vm],
        ["message.create", "note", 5, "VM", await session.call("VM.get_uuid", vm), "text"],
    ]
    with suppress(ApiError):
        await session.call(*chance.choice(deeds))


async def world(session: Within, classes: set[str]) -> dict[str, Any]:
    """Reference -> class and record, read class by class."""
    return {
        ref: [cls, record]
        for cls in sorted(classes)
        for ref, record in (await session.call(f"{cls}.get_all_records")).items()
    }


async def compared(running: Simulation) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the client's cache holds in the end, and what there is."""
    chance = random.Random(1)
    session = Within(running, (await Session.login(running.hosts[0].url)).ref)
    async with caching(running.hosts[0].url) as process:
        for _ in range(CHANGES):
            await change(session, chance)
        (pool,) = await session.call("pool.get_all")
        while any(
            task["status"] == "pending"
            for task in (await session.call("task.get_all_records")).values()
        ):
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)  # guests that have just started say so
        await session.call("pool.add_to_other_config", pool, MARKER, "")
        cache = msgspec.json.decode(await asyncio.wait_for(line_of(process), 30))
        seen = {ref: entry for ref, entry in cache.items() if entry[0] not in _UNSEEN}
        return seen, await world(session, {cls for cls, _ in seen.values()})


if INSTALLED:

    async def test_after_many_changes_its_cache_is_the_world(tmp_path: Path) -> None:
        async with served(tmp_path, POOL) as running:
            seen, there = await compared(running)
        assert seen.keys() == there.keys()
        different = [ref for ref in seen if seen[ref] != there[ref]]
        assert different == [], [(seen[ref], there[ref]) for ref in different[:2]]
        assert sum(cls == "VM" for cls, _ in seen.values()) > 5
