"""What is foretold of a death is what then happens."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from reconciler.status import Verdict
from reconciler.whatif import WhatIf, verdict_of
from simulator.clock import run_virtual
from tests.simulation.estate import VM_HOMES, as_it_is
from tests.simulation.fencing.fence_site import FenceSite, Layout

SETTLED_S = 300.0

Changes = dict[str, dict[str, object]]


async def foretold(site: FenceSite, down: Sequence[str]) -> WhatIf:
    """As the leader tells it."""
    leader = site.leader
    assert leader is not None
    assert leader.parts is not None
    found = await leader.process.begin(leader.parts.steering.what_if(down))
    assert isinstance(found, WhatIf), found
    return found


def told_and_done(
    folder: Path, down: Sequence[str], changes: Changes
) -> tuple[WhatIf, dict[str, tuple[str, ...]], float | None]:
    """What is foretold of these servers; where each VM runs after they died; and when the first of
    them did."""

    async def whole() -> tuple[WhatIf, dict[str, tuple[str, ...]], float | None]:
        site = FenceSite(1, folder, Layout(4))
        wish = as_it_is()
        for name, wanted in changes.items():
            wish = wish.with_vm(name, **wanted)
        site.commit(wish, "as it is to be")
        site.open()
        await asyncio.sleep(120.0)
        found = await foretold(site, down)
        for name in down:
            site.world.power_off(name)
        first_s = await started(site, down)
        await asyncio.sleep(SETTLED_S)
        homes = {name: site.world.running_on(name).hosts for name in VM_HOMES}
        assert site.scene.violations == []
        assert site.world.corruption == []
        await site.close()
        return found, homes, first_s

    return run_virtual(whole())


async def started(site: FenceSite, down: Sequence[str]) -> float | None:
    """Seconds until something that died runs again; None if nothing does in time."""
    began_s = asyncio.get_running_loop().time()
    victims = [name for name, home in VM_HOMES.items() if home in down]
    for _ in range(3600):
        await asyncio.sleep(0.1)
        if any(site.world.running_on(name).hosts for name in victims):
            return asyncio.get_running_loop().time() - began_s
    return None


def homes_of(found: WhatIf) -> dict[str, str | None]:
    return {row.object.removeprefix("vm/"): row.to for row in found.vms}


@pytest.mark.parametrize(
    ("down", "changes", "reasons"),
    [
        ("xen2", {}, {}),
        (
            "xen3",
            {"app1": {"only": ("xen3",)}, "app2": {"only": ("xen1", "xen3")}},
            {"app1": "NoSuitableNode"},
        ),
        ("xen2", {"db1": {"memory_gib": 12}}, {"db1": "InsufficientMemory"}),
    ],
)
def test_it_comes_as_foretold(
    tmp_path: Path, down: str, changes: Changes, reasons: dict[str, str]
) -> None:
    found, homes, first_s = told_and_done(tmp_path, [down], changes)
    there = {vm for vm, home in VM_HOMES.items() if home == down}
    assert homes_of(found).keys() == there
    for name, home in homes_of(found).items():
        assert homes[name] == ((home,) if home is not None else ()), (name, found)
    down_for = {row.object.removeprefix("vm/"): row.reason for row in found.vms if row.to is None}
    assert down_for == reasons
    assert verdict_of(found) is (Verdict.DIFFERS if reasons else Verdict.CONVERGED)
    assert first_s is not None
    assert found.longest_s is not None
    assert first_s < found.longest_s


def test_what_nobody_could_prove_stays_as_foretold(tmp_path: Path) -> None:
    """Half of four voters lead nothing."""
    found, homes, first_s = told_and_done(tmp_path, ["xen2", "xen3"], {})
    assert verdict_of(found) is Verdict.REFUSED
    assert {loss.reason for loss in found.nodes} == {"NoLeader"}
    assert {homes[vm] for vm, home in VM_HOMES.items() if home in ("xen2", "xen3")} == {()}
    assert first_s is None
