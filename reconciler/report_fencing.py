"""What a node tells of fencing: how devices stand, what they could prove, what bears the marks of whom."""

from __future__ import annotations

from collections.abc import Iterator

from fencing.devices import DeviceUse, levels, without_power
from membership.clock import Now
from membership.proofs import LIVE_DRILL, Drill, LiveDrill, Tie
from reconciler.accusing import SETTLE_INTERVALS
from reconciler.actions import UP
from reconciler.drilling import key
from reconciler.facts import Facts
from reconciler.report_nodes import held_by, verdict_on
from reconciler.status import BoundStatus, DeviceStatus, DrillStatus, LockStatus
from schema.model import Desired, Node

LOOK_S = 10.0
"""So long one look at the devices of a level takes at most."""

PROBES_S = 6.0
"""So long two questions to a toolstack take that answers none."""


def devices(facts: Facts, now: Now) -> Iterator[DeviceStatus]:
    """Each device of each node."""
    if facts.desired is None or facts.drift is None:
        return
    for node, host in facts.drift.adoption.nodes:
        for use in (use for level in levels(facts.desired, node.name) for use in level):
            fact = facts.ledger.facts.get(key(use.device, node.name))
            tried = fact.value if fact is not None and isinstance(fact.value, Drill) else None
            if fact is None or tried is None or tried.host != host.uuid:
                yield _unread(use)
                continue
            passed_s = now.epoch_s - tried.passed_epoch_s if tried.passed_epoch_s else None
            yield DeviceStatus(
                node=node.name,
                device=use.device,
                agent=use.agent,
                by_hand=use.by_hand,
                power=tried.power,
                tie=tried.tie,
                usable=tried.power != "unknown" and tried.tie in (Tie.IDENTITY, Tie.DRILL),
                trial=f"{fact.term}-{fact.seq}",
                passed_age_s=None if passed_s is None else round(max(0.0, passed_s), 1),
                message=tried.message,
            )


def _unread(use: DeviceUse) -> DeviceStatus:
    message = "a human looks, and says cxm confirm-off" if use.by_hand else "not read yet"
    return DeviceStatus(
        node=use.node, device=use.device, agent=use.agent, by_hand=use.by_hand, message=message
    )


def drill(facts: Facts) -> DrillStatus | None:
    """The last live drill, be it under way or over."""
    last = facts.ledger.get(LIVE_DRILL, LiveDrill)
    if last is None:
        return None
    return DrillStatus(
        id=last.id,
        node=last.node,
        devices=last.devices,
        stage=last.stage.value,
        by=last.by,
        reason=last.reason,
        found=last.found.value if last.found is not None else "",
        message=last.message,
    )


def locks(facts: Facts) -> Iterator[LockStatus]:
    """Marks on disks of hosts on which the VM does not run."""
    if facts.observed is None or facts.drift is None:
        return
    adoption = facts.drift.adoption
    names = {real.uuid: f"vm/{vm.name}" for vm, real in adoption.vms}
    for uuid in sorted(facts.observed.vms):
        real = facts.observed.vms[uuid]
        here = real.node if real.power in UP else None
        for disk in real.disks:
            for host in disk.locked_by:
                if host not in (here, real.reserved_on):
                    name = names.get(uuid, f'"{real.name}"')
                    yield _lock(name, disk.vdi or disk.vbd, host, facts)


def _lock(vm: str, disk: str, host: str, facts: Facts) -> LockStatus:
    assert facts.drift is not None
    node = facts.drift.adoption.node_name(host)
    if facts.deaths is not None and facts.deaths.certified(host) is not None:
        state, remedy = "dead", f"cxm has the pool write {node} off; cxm why node/{node}"
    elif facts.deaths is not None and host in facts.deaths.pool.reporting:
        state, remedy = "alive", f"see what holds the disk on {node}; it may be in use there"
    else:
        state = "held" if held_by(facts, node) else verdict_on(facts, node).belief.value
        remedy = f"the mark goes once {node} is proven dead; cxm why node/{node}"
    return LockStatus(vm=vm, disk=disk, node=node, state=state, remedy=remedy)


# --- bounds ----------------------------------------------------------------------------------------


def bounds(facts: Facts) -> Iterator[BoundStatus]:
    """What would prove each node's death, and when."""
    if facts.desired is None or facts.drift is None:
        return
    for node, _ in facts.drift.adoption.nodes:
        yield _bound(node, facts.desired, alone=facts.view.alone)


def _bound(node: Node, desired: Desired, *, alone: bool) -> BoundStatus:
    oath = f"hold, cxm confirm-off {node.name}"
    programs = [
        tuple(use for use in level if not use.by_hand) for level in levels(desired, node.name)
    ]
    ways = [level for level in programs if level]
    if alone:
        by = "oath: one daemon alone sees no node die"
        return BoundStatus(node=node.name, by=by, within_s=None, otherwise=oath)
    if not ways:
        by = "oath: it has no fence device"
        return BoundStatus(node=node.name, by=by, within_s=None, otherwise=oath)
    powerless = tuple(use.device for use in without_power(tuple(ways)))
    beat = desired.cluster.heartbeat
    before_s = beat.dead_after_s + SETTLE_INTERVALS * beat.interval_s + PROBES_S
    off_s = max(use.longest_s for use in ways[0])
    return BoundStatus(
        node=node.name,
        by="power-off read back from " + ", then ".join(_level(level) for level in ways),
        within_s=round(before_s + LOOK_S + off_s + LOOK_S, 1),
        otherwise=f"{_beyond(powerless)}: {oath}",
        without_power=powerless,
    )


def _level(level: tuple[DeviceUse, ...]) -> str:
    return " and ".join(use.device for use in level)


def _beyond(powerless: tuple[str, ...]) -> str:
    """What no device proves."""
    return "devices dead as well" if powerless else "loss of power takes its controller, too"
