"""What people say of a server, and what they want done about one, among whole daemons."""

from __future__ import annotations

import asyncio
from pathlib import Path

from membership.proofs import Certificate
from reconciler.messages import READING, AskConfirmOff, AskFence, Reply
from reconciler.status import Status, Verdict
from tests.simulation.estate import VM_HOMES
from tests.simulation.fencing.fence_site import FenceSite
from tests.simulation.fencing.test_fence_stories import homes, told


async def asked(site: FenceSite, ask: AskConfirmOff | AskFence) -> Reply:
    """The leader's answer, once the devices are read that it rests on."""
    for _ in range(30):
        leader = site.leader
        assert leader is not None
        reply = await site.request_at(leader, ask)
        assert reply is not None
        if reply.reason != READING:
            return reply
        await asyncio.sleep(1.0)
    raise AssertionError("the devices are never read")


def swear(node: str) -> AskConfirmOff:
    return AskConfirmOff(node=node, reason="I stand before it", by="root")


async def seen(site: FenceSite) -> Status:
    status = await site.status()
    assert status is not None
    return status


def certificates(site: FenceSite) -> list[tuple[str, str, str]]:
    leader = site.leader
    assert leader is not None
    return [(c.node, c.kind, c.void) for c in leader.ledger.values(Certificate)]


def victim(site: FenceSite) -> str:
    """A node that has VMs and does not lead."""
    assert site.leader is not None
    homes_of_vms = {home for home in VM_HOMES.values() if home}
    return sorted(homes_of_vms - {site.leader.name})[0]


def test_an_oath_about_a_node_that_is_heard_is_refused(tmp_path: Path) -> None:
    replies: list[Reply] = []

    async def story(site: FenceSite) -> None:
        ask = AskConfirmOff(
            node=victim(site), reason="so they say", against_evidence=True, by="root"
        )
        replies.append(await asked(site, ask))
        replies.append(Reply(accepted=not certificates(site)))

    told(tmp_path, story)
    assert [reply.accepted for reply in replies] == [False, True]
    assert replies[0].reason == "Contradicted"


def test_what_no_device_proves_is_held_until_somebody_swears(tmp_path: Path) -> None:
    found: list[tuple[Verdict, str]] = []
    sworn: list[tuple[str, str, str]] = []

    async def story(site: FenceSite) -> None:
        name = victim(site)
        site.world.faults.start("bmc-dead", 600.0, bmc=f"{name}-bmc")
        site.world.power_off(name)
        await asyncio.sleep(60.0)
        status = await seen(site)
        state = next(node.state for node in status.nodes if node.name == name)
        found.append((status.verdict, state))
        assert (await asked(site, swear(name))).accepted
        await asyncio.sleep(300.0)
        sworn.extend(certificates(site))
        assert all(len(there) == 1 for vm, there in homes(site).items() if VM_HOMES[vm])

    site = told(tmp_path, story)
    assert found == [(Verdict.HELD, "held")]
    assert [(kind, void) for _, kind, void in sworn] == [("sworn", "")]
    assert site.world.corruption == []


def test_a_node_that_is_ordered_off_is_proven_dead_and_its_vms_run_elsewhere(
    tmp_path: Path,
) -> None:
    proven: list[tuple[str, str]] = []

    async def story(site: FenceSite) -> None:
        name = victim(site)
        reply = await asked(site, AskFence(node=name, reason="it drops packets", by="root"))
        assert reply.accepted, reply
        await asyncio.sleep(300.0)
        proven.extend((kind, void) for _, kind, void in certificates(site))
        now = homes(site)
        assert all(len(now[vm]) == 1 for vm, home in VM_HOMES.items() if home), now
        assert all(name not in hosts for hosts in now.values())

    site = told(tmp_path, story)
    assert proven == [("power-off", "")]
    assert site.world.corruption == []


def test_nobody_has_the_leader_fence_itself(tmp_path: Path) -> None:
    replies: list[Reply] = []

    async def story(site: FenceSite) -> None:
        assert site.leader is not None
        ask = AskFence(node=site.leader.name, reason="try", by="root")
        replies.append(await asked(site, ask))

    told(tmp_path, story)
    assert [reply.reason for reply in replies] == ["Oneself"]
