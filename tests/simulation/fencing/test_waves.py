"""After a server died, what others need is ready before those others are started."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from simulator.clock import run_virtual
from tests.simulation.estate import as_it_is
from tests.simulation.fencing.fence_site import FenceSite, Layout
from tests.simulation.world_guests import SERVES_AFTER_S

BOOT_S = 40.0
"""A database takes its time."""

LOOK_S = 0.5


@dataclass
class Seen:
    """When a VM began to run again, and when its guest's agent spoke."""

    up_s: dict[str, float] = field(default_factory=dict)
    spoke_s: dict[str, float] = field(default_factory=dict)


async def watched(site: FenceSite, names: tuple[str, ...], seconds: float) -> Seen:
    seen, clock = Seen(), asyncio.get_running_loop()
    until_s = clock.time() + seconds
    while clock.time() < until_s:
        for name in names:
            if site.world.running_on(name).hosts and name not in seen.up_s:
                seen.up_s[name] = clock.time()
            if _spoke(site, name) and name not in seen.spoke_s:
                seen.spoke_s[name] = clock.time()
        await asyncio.sleep(LOOK_S)
    return seen


def _spoke(site: FenceSite, name: str) -> bool:
    rows = site.world.pool.db.rows("VM")
    vm = next(row for row in rows if row.text("name_label") == name)
    guest = site.world.pool.db.find("VM_guest_metrics", vm.text("guest_metrics"))
    running = bool(site.world.running_on(name).hosts)
    return running and guest is not None and bool(guest.map("networks"))


def died(folder: Path, database: str, web: str) -> Seen:
    """What was seen after xen2 died with db1 and web2 on it."""

    async def whole() -> Seen:
        site = FenceSite(1, folder, Layout())
        wish = as_it_is().with_vm("db1", start=database).with_vm("web2", start=web)
        vm = next(row for row in site.world.pool.db.rows("VM") if row.text("name_label") == "db1")
        guest = site.world.pool.guest_of(vm)
        slow = replace(guest, behaviour=replace(guest.behaviour, boot=BOOT_S))
        site.world.pool.guests[vm.text("uuid")] = slow
        site.commit(wish, "as it is")
        site.open()
        await asyncio.sleep(30.0)
        site.world.power_off("xen2")
        await asyncio.sleep(LOOK_S)
        seen = await watched(site, ("db1", "web2"), 300.0)
        assert site.scene.violations == []
        assert site.world.corruption == []
        await site.close()
        return seen

    return run_virtual(whole())


@pytest.mark.parametrize(
    ("database", "web"),
    [
        ("{wave: 10}", "{wave: 20}"),
        ("{wave: 20}", "{wave: 10, after: [vm/db1]}"),
    ],
    ids=["wave", "after"],
)
def test_the_web_comes_once_the_tools_of_its_database_report(
    tmp_path: Path, database: str, web: str
) -> None:
    seen = died(tmp_path, database, web)
    assert seen.spoke_s["db1"] >= seen.up_s["db1"] + BOOT_S
    assert 0.0 <= seen.up_s["web2"] - seen.spoke_s["db1"] <= 10.0


def test_the_web_comes_once_its_database_answers_at_its_port(tmp_path: Path) -> None:
    seen = died(tmp_path, "{wave: 10, ready: {by: 'tcp:5432'}}", "{wave: 20}")
    serves_s = seen.spoke_s["db1"] + SERVES_AFTER_S
    assert -LOOK_S <= seen.up_s["web2"] - serves_s <= 10.0


def test_a_database_that_never_answers_holds_the_web_up_for_its_time_only(tmp_path: Path) -> None:
    seen = died(tmp_path, "{wave: 10, ready: {by: 'tcp:5432', timeout: 50s}}", "{wave: 20}")
    assert 45.0 <= seen.up_s["web2"] - seen.up_s["db1"] <= 65.0
