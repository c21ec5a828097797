"""Caveats: what would weaken cxm, or be in its way, at the moment when it is needed. Told before that."""

from __future__ import annotations

from collections.abc import Iterator

from fencing.devices import levels, without_power
from membership.clock import Now
from membership.proofs import Tie
from reconciler.adoption import Adoption, service_vms, started_by_pool
from reconciler.facts import Facts
from reconciler.naming import listed
from reconciler.observed import Observed, ObservedVM
from reconciler.report_fencing import devices
from reconciler.status import Caveat, DeviceStatus
from schema.model import Desired, Manage

BOOT_S = 600.0
"""So long a server takes to boot at most, mostly."""

NEEDED = ("start", "start_on", "resume_on", "clean_shutdown", "pool_migrate", "suspend", "unpause")
"""Operations that cxm asks for, as `blocked_operations` of a VM names them."""

FREEZING = ("snapshot", "suspend", "checkpoint")
"""Operations that make a daemon stand still, or copy its memory of whom it voted for."""


def caveats(facts: Facts, now: Now) -> Iterator[Caveat]:
    """All of them, the pool's first."""
    desired, observed, drift = facts.desired, facts.observed, facts.drift
    if desired is None or observed is None or drift is None:
        return
    yield from _rivals(desired, observed)
    yield from _timing(desired)
    if not facts.view.alone:
        yield from _powerless(desired, [node.name for node, _ in drift.adoption.nodes])
    for device in devices(facts, now):
        yield from _unusable(device)
    yield from _blocked(drift.adoption)
    yield from _service_vms(desired, observed)


# --- the pool --------------------------------------------------------------------------------------


def _rivals(desired: Desired, observed: Observed) -> Iterator[Caveat]:
    """Who else starts, stops or fences here."""
    pool = observed.pool
    if pool.ha_enabled:
        yield Caveat(
            object="pool",
            reason="PoolHa",
            message="the pool's own HA is on: it fences and starts by itself, and cxm only observes",
            remedy="disable HA of the pool, or leave this to it",
        )
    if pool.fences_itself:
        yield Caveat(
            object="pool",
            reason="StorageCluster",
            message="its servers form a cluster for their storage, and switch themselves off where they"
            " lose it",
            remedy="expect that; cxm takes such a server for silent, and proves its death like every other",
        )
    started = started_by_pool(desired, observed)
    if started:
        yield Caveat(
            object="pool",
            reason="AutoPowerOn",
            message=f"its auto_poweron starts {listed(started)} at any host's boot, against this tree",
            remedy="take the flag auto_poweron from these VMs",
        )


def _timing(desired: Desired) -> Iterator[Caveat]:
    """Relations that are legal, and mostly not meant. What is never right the tree's check refuses."""
    grace_s = desired.cluster.recovery.foreign_grace_s
    if grace_s < BOOT_S:
        yield Caveat(
            object="cluster",
            reason="Timing",
            message=f"recovery.foreignGrace is {grace_s:.0f} s, and a server may take {BOOT_S:.0f} s to"
            " boot: people hear of each reboot as one that lasts too long",
            remedy=f"set it to {BOOT_S / 60.0:.0f}m or more",
        )
    beat = desired.cluster.heartbeat
    for name in desired.nodes:
        for use in (use for level in levels(desired, name) for use in level if not use.by_hand):
            if use.drill_s < beat.dead_after_s + use.longest_s:
                yield Caveat(
                    object=f"node/{name}",
                    reason="Timing",
                    message=f"{use.device} is tried every {use.drill_s:.0f} s, and one try may take"
                    f" {use.longest_s:.0f} s",
                    remedy=f"set drill of {use.device} to an hour or more",
                )


# --- fence devices -----------------------------------------------------------------------------------


def _powerless(desired: Desired, names: list[str]) -> Iterator[Caveat]:
    held = [name for name in names if not without_power(levels(desired, name))]
    if held:
        yield Caveat(
            object="cluster",
            reason="LossOfPower",
            message=f"of {listed(held)} a loss of power is not provable, unless the controller lives on a"
            " supply of its own: then the node is held",
            remedy="add a level with its outlets, or be ready to look and say cxm confirm-off",
        )


def _unusable(device: DeviceStatus) -> Iterator[Caveat]:
    """What was tried and proves nothing. One that has yet to be read may do."""
    if device.by_hand or device.usable or not device.trial:
        return
    crossed = device.tie is Tie.OTHER
    yield Caveat(
        object=f"node/{device.node}",
        reason="Crosswired" if crossed else "Unbound" if device.tie is Tie.NONE else "Unread",
        message=f"{device.device} proves nothing: {device.message}",
        remedy="mend its address, plug or cable" if crossed else f"cxm fence-drill {device.node}",
    )


# --- VMs ---------------------------------------------------------------------------------------------


def _blocked(adoption: Adoption) -> Iterator[Caveat]:
    """Backups block operations for a while, and where they break off for ever."""
    for vm, real in adoption.vms:
        found = _refused(real, NEEDED)
        if found and vm.manage is not Manage.OBSERVE:
            yield Caveat(
                object=f"vm/{vm.name}",
                reason="OperationBlocked",
                message=f"its blocked_operations forbid {', '.join(found)}"
                f" ({real.blocked_operations[found[0]] or 'no reason given'}): perhaps left by a backup"
                " that broke off",
                remedy="where nobody means it: xe vm-param-remove uuid=UUID param-name=blocked-operations"
                f" param-key={found[0]}",
            )


def _service_vms(desired: Desired, observed: Observed) -> Iterator[Caveat]:
    for uuid in sorted(service_vms(desired)):
        real = observed.vms.get(uuid)
        if real is None:
            continue
        missing = [name for name in FREEZING if name not in real.blocked_operations]
        if missing:
            yield Caveat(
                object=f'"{real.name}"',
                reason="ServiceVm",
                message=f"cxm's daemons run in it, and nothing forbids {', '.join(missing)}: a copy of it"
                " forgets whom it voted for",
                remedy="; ".join(_forbid(uuid, name) for name in missing),
            )


def _refused(real: ObservedVM, operations: tuple[str, ...]) -> list[str]:
    return [name for name in operations if name in real.blocked_operations]


def _forbid(uuid: str, operation: str) -> str:
    return f"xe vm-param-set uuid={uuid} blocked-operations:{operation}=cxm"
