"""Stories of servers that die: what is proven, what runs again and where, and what is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from simulator.clock import run_virtual
from tests.simulation.estate import VM_HOMES, as_it_is
from tests.simulation.fencing.fence_site import FenceSite, Layout

Story = Callable[[FenceSite], Awaitable[None]]


def told(tmp_path: Path, story: Story, count: int = 3, *, disk: bool = False) -> FenceSite:
    """The site after this story."""

    async def whole() -> FenceSite:
        site = FenceSite(1, tmp_path, Layout(count, disk=disk))
        site.commit(as_it_is(), "as it is")
        site.open()
        await asyncio.sleep(30.0)
        await story(site)
        await site.close()
        return site

    return run_virtual(whole())


def homes(site: FenceSite) -> dict[str, tuple[str, ...]]:
    return {name: site.world.running_on(name).hosts for name in VM_HOMES}


def test_what_ran_on_a_server_without_power_runs_again_elsewhere(tmp_path: Path) -> None:
    async def story(site: FenceSite) -> None:
        site.world.power_off("xen2")
        await asyncio.sleep(300.0)

    site = told(tmp_path, story)
    assert site.scene.violations == []
    assert site.world.corruption == []
    now = homes(site)
    assert all(len(now[vm]) == 1 for vm, home in VM_HOMES.items() if home), now
    assert all("xen2" not in hosts for hosts in now.values())
