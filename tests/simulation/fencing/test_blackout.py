"""Stories of a site that loses all its power: what is started, when, and that nothing runs twice."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from reconciler.records import Fenced
from simulator.clock import run_virtual
from tests.simulation.estate import HOSTS, VM_HOMES, as_it_is
from tests.simulation.fencing.fence_site import FenceSite, Layout

DARK_S = 120.0
WITHIN_S = 600.0


def homes(site: FenceSite) -> dict[str, tuple[str, ...]]:
    return {name: site.world.running_on(name).hosts for name in VM_HOMES}


def switched(site: FenceSite) -> set[str]:
    """The nodes whose servers cxm has switched off."""
    return {
        record.entry.node
        for node in site.nodes.values()
        for record in node.records
        if isinstance(record.entry, Fenced) and record.entry.stage == "begun"
    }


async def back(site: FenceSite, returns_s: Mapping[str, float]) -> None:
    """All power fails; each server gets it back after so long."""
    for name in HOSTS:
        site.world.power_off(name)
    await asyncio.sleep(DARK_S)
    began_s = asyncio.get_running_loop().time()
    for name, after_s in sorted(returns_s.items(), key=lambda item: item[1]):
        await asyncio.sleep(max(0.0, began_s + after_s - asyncio.get_running_loop().time()))
        site.world.power_on(name)


def told(tmp_path: Path, returns_s: Mapping[str, float], mode: str) -> FenceSite:
    async def whole() -> FenceSite:
        site = FenceSite(1, tmp_path, Layout(4, mode=mode))
        site.commit(as_it_is(), "as it is")
        site.open()
        await asyncio.sleep(60.0)
        await back(site, returns_s)
        await asyncio.sleep(WITHIN_S)
        await site.close()
        return site

    return run_virtual(whole())


@pytest.mark.parametrize("mode", ["auto", "recover"])
@pytest.mark.parametrize(
    "returns_s",
    [
        {"xen1": 0.0, "xen2": 0.0, "xen3": 0.0, "xen4": 0.0},
        {"xen1": 0.0, "xen2": 60.0, "xen3": 120.0, "xen4": 400.0},
        {"xen4": 0.0, "xen3": 60.0, "xen2": 120.0, "xen1": 180.0},
    ],
    ids=["together", "one after the other", "the master last"],
)
def test_all_that_ran_runs_again_once(
    tmp_path: Path, returns_s: Mapping[str, float], mode: str
) -> None:
    site = told(tmp_path, returns_s, mode)
    assert site.scene.violations == []
    assert site.world.corruption == []
    now = homes(site)
    assert {vm for vm, hosts in now.items() if len(hosts) == 1} == {
        vm for vm, home in VM_HOMES.items() if home
    }, now
    assert now["ci1"] == ()
    assert switched(site) == set()
