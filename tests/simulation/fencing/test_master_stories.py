"""Stories of the pool's master that dies: who takes its place, and that what died with it runs again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from reconciler.messages import AskConfirmOff, AskFence
from reconciler.status import Verdict
from simulator.clock import run_virtual
from tests.simulation.estate import VM_HOMES, as_it_is
from tests.simulation.fencing.master_site import COPY, GATHER, LOST, MASTER, TRANSITION, MasterSite
from tests.simulation.peers.peer_node import PeerNode

Story = Callable[[MasterSite], Awaitable[None]]

BOUND_S = 400.0
"""Certificate, two restarts of toolstacks, and twice for each VM the time in which TCP gives up."""


def told(
    tmp_path: Path, story: Story, count: int = 4, seed: int = 1, *, disk: bool = False
) -> MasterSite:
    """The site after this story. Nothing ran twice, and one server at most is master."""

    async def whole() -> MasterSite:
        site = MasterSite(seed, tmp_path, count, disk=disk)
        site.commit(as_it_is(), "as it is")
        site.open()
        await asyncio.sleep(40.0)
        assert site.masters == [MASTER]
        await story(site)
        await site.close()
        return site

    site = run_virtual(whole())
    assert site.scene.violations == []
    assert site.world.corruption == []
    assert len(site.masters) <= 1
    return site


def untouched(site: MasterSite) -> None:
    """Nobody was fenced, nobody was promoted, and everything is where it was."""
    assert (site.certificate(MASTER), site.promotion(), site.watch.ordered) == (None, None, [])
    assert all(site.home(vm) == (home,) for vm, home in VM_HOMES.items() if home)


def test_the_leader_dies_with_the_master(tmp_path: Path) -> None:
    async def story(site: MasterSite) -> None:
        await site.lead_by(MASTER)
        site.world.power_off(MASTER)
        await site.all_back(BOUND_S)

    site = told(tmp_path, story)
    assert site.masters != [MASTER]
    assert len(site.watch.ordered) == 1
    promotion = site.promotion()
    assert promotion is not None
    assert (promotion.stage, len(promotion.joined)) == ("over", 3)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_leader_lives_elsewhere(tmp_path: Path, seed: int) -> None:
    async def story(site: MasterSite) -> None:
        await site.lead_by("xen3")
        site.world.power_off(MASTER)
        await site.all_back(BOUND_S)
        assert site.leader is site.nodes["xen3"]
        await asyncio.sleep(60.0)
        assert not site.holds

    site = told(tmp_path, story, seed=seed)
    assert len(site.watch.ordered) == 1


def test_a_member_without_a_daemon_is_gathered_like_the_others(tmp_path: Path) -> None:
    """Three nodes with daemons, and xen4, which has none."""

    async def story(site: MasterSite) -> None:
        await site.lead_by("xen2")
        site.world.power_off(MASTER)
        await site.all_back(BOUND_S)

    site = told(tmp_path, story, count=3)
    assert len(site.watch.ordered) == 1


def test_a_master_that_stands_still_is_switched_off_first(tmp_path: Path) -> None:
    async def story(site: MasterSite) -> None:
        await site.lead_by("xen2")
        site.hang(MASTER, 3600.0)
        assert all(site.home(vm) == (MASTER,) for vm in LOST)
        await site.until(lambda: not any(site.home(vm) == (MASTER,) for vm in LOST), 120.0)
        await site.all_back(BOUND_S)

    site = told(tmp_path, story)
    assert not site.world.site.machines[MASTER].powered
    assert site.masters != [MASTER]


def test_a_master_that_only_the_pool_cannot_reach_lives(tmp_path: Path) -> None:
    """Its daemon is heard: nobody is fenced, whatever the pool does not show."""

    async def story(site: MasterSite) -> None:
        await site.lead_by("xen2")
        site.world.faults.start("net-cut", 200.0, host=MASTER)
        await asyncio.sleep(400.0)

    untouched(told(tmp_path, story))


def test_a_master_that_is_cut_off_is_replaced_only_once_it_is_off(tmp_path: Path) -> None:
    async def story(site: MasterSite) -> None:
        await site.lead_by("xen2")
        site.isolate(MASTER, 1800.0)
        assert all(site.home(vm) == (MASTER,) for vm in LOST)
        await site.until(lambda: bool(site.watch.ordered), 120.0)
        assert not site.world.site.machines[MASTER].powered
        await site.all_back(BOUND_S)

    told(tmp_path, story)


@pytest.mark.parametrize("away_s", [5.0, 90.0])
def test_a_restart_of_the_masters_toolstack_is_no_death(tmp_path: Path, away_s: float) -> None:
    async def story(site: MasterSite) -> None:
        await site.lead_by("xen2")
        site.world.faults.start("api-restart", away_s, host=MASTER)
        await asyncio.sleep(away_s + 120.0)

    untouched(told(tmp_path, story))


@pytest.mark.parametrize("after_s", [3.0, 20.0, 100.0])
def test_the_old_master_comes_back_as_a_slave(tmp_path: Path, after_s: float) -> None:
    async def story(site: MasterSite) -> None:
        await site.lead_by("xen2")
        site.world.power_off(MASTER)
        await asyncio.sleep(after_s)
        site.world.power_on(MASTER)
        await site.all_back(1200.0)
        await asyncio.sleep(900.0)

    site = told(tmp_path, story)
    assert len(site.masters) == 1
    assert len(site.watch.ordered) <= 1
    assert not site.holds


def test_without_a_fresh_copy_a_human_is_asked(tmp_path: Path) -> None:
    async def story(site: MasterSite) -> None:
        site.world.faults.start("api-hang", 3600.0, method=COPY)
        await site.lead_by("xen2")
        await site.world.act("VM.pool_migrate", "web2", "xen3")
        await asyncio.sleep(20.0)
        site.world.power_off(MASTER)
        await site.until(lambda: bool(site.holds), 120.0)
        (hold,) = site.holds.values()
        assert "web2" in hold.reason
        assert "dns1" not in hold.reason
        await asyncio.sleep(60.0)
        assert site.watch.ordered == []
        await site.release(hold.id)
        await site.all_back(BOUND_S)

    told(tmp_path, story)


def test_a_slave_in_emergency_mode_is_gathered(tmp_path: Path) -> None:
    async def story(site: MasterSite) -> None:
        await site.lead_by("xen2")
        site.world.power_off(MASTER)
        site.world.restart_toolstack("xen3")
        await site.all_back(BOUND_S)

    told(tmp_path, story)


@pytest.mark.parametrize("leader", [MASTER, "xen2"])
def test_of_two_nodes_and_a_disk_one_is_enough(tmp_path: Path, leader: str) -> None:
    """The ledger of the dead one cannot be read: every place is doubted, and proven anew."""

    async def story(site: MasterSite) -> None:
        await site.lead_by(leader)
        site.world.power_off(MASTER)
        await site.all_back(BOUND_S)

    told(tmp_path, story, count=2, disk=True)


def test_copies_follow_each_move_at_once(tmp_path: Path) -> None:
    async def story(site: MasterSite) -> None:
        await site.lead_by("xen2")
        for target in ("xen3", "xen4", "xen2"):
            await site.world.act("VM.pool_migrate", "web2", target)
            moved_s = asyncio.get_running_loop().time()
            await asyncio.sleep(10.0)
            assert moved_s < site.watch.copied_s[-1]
        quiet = len(site.watch.copied_s)
        await asyncio.sleep(300.0)
        assert len(site.watch.copied_s) == quiet

    told(tmp_path, story)


@pytest.mark.parametrize("asleep_s", [15.0, 40.0, 100.0])
def test_a_leader_that_wakes_up_in_mid_call_makes_no_second_master(
    tmp_path: Path, asleep_s: float
) -> None:
    """It looked at its lease, and the order leaves much later, when another one has gone on."""

    async def story(site: MasterSite) -> None:
        await site.lead_by("xen2")
        site.nodes["xen2"].freeze_s = asleep_s
        site.world.power_off(MASTER)
        await site.until(lambda: site.fired["frozen-in-call"] == 1, BOUND_S)
        await asyncio.sleep(asleep_s)
        await site.all_back(2 * BOUND_S)

    site = told(tmp_path, story)
    assert len({*site.watch.ordered}) == 1


# --- in the middle of it ------------------------------------------------------------------------------


def killed(site: MasterSite) -> Callable[[PeerNode], None]:
    del site
    return lambda node: node.process.die()


def asleep(site: MasterSite) -> Callable[[PeerNode], None]:
    """The whole machine of the daemons, for longer than any lease."""
    del site

    def blow(node: PeerNode) -> None:
        node.fall_asleep()
        asyncio.get_running_loop().call_later(45.0, node.wake)

    return blow


def without_power(site: MasterSite) -> Callable[[PeerNode], None]:
    """The server on which they live."""

    def blow(node: PeerNode) -> None:
        asyncio.get_running_loop().call_soon(site.world.power_off, node.name)

    return blow


STEPS = ("proven", "begun", TRANSITION, "took-over", GATHER, "over", "reset", "write-off", "start")


@pytest.mark.parametrize("blow", [killed, asleep, without_power])
@pytest.mark.parametrize("step", STEPS)
def test_the_leader_is_struck_in_the_middle(
    tmp_path: Path, step: str, blow: Callable[[MasterSite], Callable[[PeerNode], None]]
) -> None:
    async def story(site: MasterSite) -> None:
        await site.lead_by("xen2")
        site.watch.at, site.watch.blow = step, blow(site)
        site.world.power_off(MASTER)
        await site.until(lambda: bool(site.watch.struck), BOUND_S)
        await site.all_back(2 * BOUND_S)

    told(tmp_path, story, count=5)


@pytest.mark.parametrize("step", [TRANSITION, "took-over", GATHER])
def test_the_one_that_was_named_dies(tmp_path: Path, step: str) -> None:
    """Another one is named, in another term, and only with the first one proven dead."""

    async def story(site: MasterSite) -> None:
        await site.lead_by("yard")

        def blow(_: PeerNode) -> None:
            asyncio.get_running_loop().call_soon(site.world.power_off, site.watch.ordered[-1])

        site.watch.at, site.watch.blow = step, blow
        site.world.power_off(MASTER)
        await site.until(lambda: bool(site.watch.struck), BOUND_S)
        await site.all_back(3 * BOUND_S)

    site = told(tmp_path, story, count=5)
    assert len({*site.watch.ordered}) == 2


# --- a master on which nothing is to be recovered -------------------------------------------------------


def deserted(tmp_path: Path, story: Story) -> MasterSite:
    """Nothing that runs on the master is to run again."""

    async def moved(site: MasterSite) -> None:
        wish = as_it_is()
        for vm in LOST:
            wish = wish.with_vm(vm, state="halted")
        site.commit(wish, "nothing on the master")
        await site.until(lambda: not any(site.home(vm) for vm in LOST), 200.0)
        await site.lead_by("xen2")
        await story(site)

    return told(tmp_path, moved)


def test_a_master_with_nothing_on_it_that_reads_off_is_replaced(tmp_path: Path) -> None:
    """It is not shot for that: its device says that it is off."""

    async def story(site: MasterSite) -> None:
        site.world.power_off(MASTER)
        await site.until(lambda: site.masters not in ([], [MASTER]), BOUND_S)

    site = deserted(tmp_path, story)
    assert len(site.watch.ordered) == 1


def test_a_master_with_nothing_on_it_that_hangs_is_told_and_an_order_ends_it(
    tmp_path: Path,
) -> None:
    async def story(site: MasterSite) -> None:
        site.hang(MASTER, 3600.0)
        await site.until(lambda: "held/xen1" in {page.key for page in site.watch.pages}, 120.0)
        (page,) = [page for page in site.watch.pages if page.key == "held/xen1"]
        assert "cxm fence xen1" in page.text
        status = await site.status()
        assert status is not None
        assert status.verdict is Verdict.HELD
        await asyncio.sleep(300.0)
        assert site.world.site.machines[MASTER].powered, "nobody shoots what has nothing on it"
        await site.ask(AskFence(node=MASTER, reason="it hangs", by="anna"))
        await site.until(lambda: site.masters not in ([], [MASTER]), BOUND_S)

    site = deserted(tmp_path, story)
    assert len(site.watch.ordered) == 1


def test_an_oath_ends_it_where_no_device_can(tmp_path: Path) -> None:
    async def story(site: MasterSite) -> None:
        site.world.faults.start("bmc-dead", 3600.0, host=MASTER)
        site.world.power_off(MASTER)
        await site.until(lambda: "held/xen1" in {page.key for page in site.watch.pages}, 120.0)
        await site.ask(AskConfirmOff(node=MASTER, reason="looked", against_evidence=True, by="a"))
        await site.until(lambda: site.masters not in ([], [MASTER]), BOUND_S)

    deserted(tmp_path, story)
