"""Diff: what is desired against what is observed, as rows for people. No question of permission here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from membership.clock import Now
from membership.ledger import Drain, Ledger
from reconciler.actions import Blocked, Cause, Disruption, Told, Verb
from reconciler.adoption import Adoption, adopt, service_vms
from reconciler.aspects import (
    desired_power,
    memory_met,
    missing_tags,
    power_met,
    vcpus_met,
)
from reconciler.drift import Change, Drift, NodeChange, VmChange
from reconciler.journal import JournalState
from reconciler.observed import Observed, ObservedNode, ObservedVM, PowerState
from reconciler.placement import allowed_here, has_domain
from reconciler.records import Aspect, Sighting
from reconciler.sightings import contended
from schema.forms import size_text
from schema.model import VM, Desired, Node, OnDrain, RestartBudget, VmState


def diff(
    desired: Desired,
    observed: Observed,
    ledger: Ledger,
    journal: JournalState,
    now: Now,
) -> Drift:
    """Every difference between the tree and the pool, each with its cause.

    Equal inputs give equal rows in the order of names; a tree that the pool fulfils gives none.
    """
    adoption = adopt(desired, observed)
    draining = _draining(desired, ledger.drains())
    rows = _Rows(adoption, draining, journal, desired.cluster.recovery.max_restarts, now)
    for node, host in adoption.nodes:
        rows.node(node, host)
    for vm, real in adoption.vms:
        rows.vm(vm, real)
    rows.missing()
    rows.pool(desired, observed)
    return Drift(
        adoption=adoption,
        changes=tuple(rows.changes),
        blocked=tuple(rows.blocked),
        told=tuple(rows.told),
        closed=tuple(sorted(_closed(desired, draining).items())),
        draining=frozenset(draining),
    )


def _draining(desired: Desired, asked: Mapping[str, Drain]) -> dict[str, Cause]:
    """Nodes to be emptied: by maintenance in the tree, or by command."""
    draining: dict[str, Cause] = {}
    for node in desired.nodes.values():
        if node.name in asked or (node.maintenance is not None and node.maintenance.drain):
            draining[node.name] = Cause.DRAIN
    return draining


def _closed(desired: Desired, draining: Mapping[str, Cause]) -> dict[str, str]:
    closed = {node.name: "Cordoned" for node in desired.nodes.values() if _cordoned(node)}
    closed.update(dict.fromkeys(draining, "Draining"))
    return closed


def _cordoned(node: Node) -> bool:
    return not node.schedulable or node.maintenance is not None


class _Rows:
    """Collects rows. Short-lived: one per diff, never handed out."""

    def __init__(
        self,
        adoption: Adoption,
        draining: Mapping[str, Cause],
        journal: JournalState,
        budget: RestartBudget,
        now: Now,
    ) -> None:
        self.changes: list[Change] = []
        self.blocked: list[Blocked] = []
        self.told: list[Told] = []
        self._adoption = adoption
        self._draining = draining
        self._journal = journal
        self._budget = budget
        self._now = now

    # --- nodes --------------------------------------------------------------------------------

    def node(self, node: Node, host: ObservedNode) -> None:
        drained = node.name in self._draining
        wanted_closed = drained or _cordoned(node)
        ours = host.uuid in self._journal.own_cordons
        if wanted_closed and host.enabled:
            cause = Cause.DRAIN if drained else Cause.INTENT
            reason = "Draining" if drained else "Cordoned"
            message = "no VM is to start here or arrive"
            self.changes.append(NodeChange(node, host, Verb.CORDON, cause, reason, message))
        elif not wanted_closed and not host.enabled and ours:
            message = "VMs may start here and arrive again"
            self.changes.append(
                NodeChange(node, host, Verb.UNCORDON, Cause.INTENT, "Schedulable", message)
            )
        elif not wanted_closed and not host.enabled:
            self._tell(f"node/{node.name}", "DisabledByOther", "disabled in the pool, not by cxm")
        if not host.live:
            self._tell(f"node/{node.name}", "NotLive", "the pool does not hear this host")

    # --- VMs ----------------------------------------------------------------------------------

    def vm(self, vm: VM, real: ObservedVM) -> None:
        sighting = self._journal.sightings.get(real.uuid)
        retired = vm.state is VmState.RETIRED
        power = self._power(vm, real, sighting)
        if power is not None:
            self.changes.append(power)
        if not retired:
            self.changes.extend(self._sizes(vm, real, sighting, power))
            self.changes.extend(self._names(vm, real, sighting))
            self._home(vm, real, sighting, power)
        if vm.match.uuid is None:
            self._tell(
                f"vm/{vm.name}", "MatchedByName", f"matched by name; its uuid is {real.uuid}"
            )

    def _power(self, vm: VM, real: ObservedVM, sighting: Sighting | None) -> VmChange | None:
        owed = self._journal.own_stops.get(real.uuid)
        wish = desired_power(vm)
        if owed is not None and real.power is PowerState.HALTED and wish in _OWED:
            if self._stays_down(owed.node, vm, owed.reason):
                return None
            parts = (*_size_parts(vm, real).values(), "stopped by cxm, to be started again")
            message = ", ".join(parts)
            return VmChange(
                vm,
                real,
                Verb.RESTART,
                owed.cause,
                owed.reason,
                message,
                ("power",),
                Disruption.COLD,
            )
        if wish is None or power_met(wish, real):
            return None
        verb, reason = _POWER_ROWS.get((wish, real.power), (None, "PowerUnknown"))
        if verb is None:
            self._cannot(vm, real, wish, reason)
            return None
        message = f"{real.power.value.lower()} -> {_WORDS[wish]}"
        if vm.state is VmState.RETIRED:
            message, reason = f"{real.power.value.lower()} -> retired", "Retired"
        disruption = Disruption.COLD if verb in (Verb.STOP, Verb.SUSPEND) else Disruption.NONE
        return self._change(vm, real, verb, reason, message, ("power",), disruption, sighting)

    def _stays_down(self, node: str | None, vm: VM, reason: str) -> bool:
        """A VM that was shut down for a drain is started again when its node is open again."""
        if reason != "DrainShutdown" or node not in self._draining:
            return False
        self._tell(f"vm/{vm.name}", "StoppedForDrain", f"shut down while {node} is drained")
        return True

    def _cannot(self, vm: VM, real: ObservedVM, wish: PowerState, reason: str) -> None:
        verb = _ATTEMPTS[wish]
        message, remedy = _CANNOT[reason]
        self.blocked.append(
            Blocked(
                object=f"vm/{vm.name}",
                verb=verb,
                cause=Cause.INTENT,
                reason=reason,
                message=f"it is {real.power.value.lower()}: {message}",
                remedy=remedy,
            )
        )

    def _sizes(
        self, vm: VM, real: ObservedVM, sighting: Sighting | None, power: VmChange | None
    ) -> Iterator[VmChange]:
        """Memory and vCPUs: set where the VM is halted, else by a cold restart.

        A VM that is to stop anyway is left to stop first; a restart under way sets them itself.
        """
        if power is not None and power.verb in (Verb.STOP, Verb.SUSPEND, Verb.RESTART):
            return
        parts = _size_parts(vm, real)
        if not parts:
            return
        halted = real.power is PowerState.HALTED
        verb = Verb.CHANGE if halted else Verb.RESTART
        disruption = Disruption.NONE if halted else Disruption.COLD
        reason = "MemoryChanged" if "memory" in parts else "VcpusChanged"
        message = ", ".join(parts.values())
        yield self._change(vm, real, verb, reason, message, tuple(parts), disruption, sighting)

    def _names(self, vm: VM, real: ObservedVM, sighting: Sighting | None) -> Iterator[VmChange]:
        label = vm.name_label
        if label is not None and "nameLabel" not in vm.ignore and label != real.name:
            message = f'name "{real.name}" -> "{label}"'
            yield self._change(
                vm,
                real,
                Verb.CHANGE,
                "NameChanged",
                message,
                ("nameLabel",),
                Disruption.NONE,
                sighting,
            )
        tags = missing_tags(vm, real) if "tags" not in vm.ignore else ()
        if tags:
            yield self._change(
                vm,
                real,
                Verb.CHANGE,
                "TagsMissing",
                f"add tags {', '.join(tags)}",
                ("tags",),
                Disruption.NONE,
                sighting,
            )

    def _home(
        self, vm: VM, real: ObservedVM, sighting: Sighting | None, power: VmChange | None
    ) -> None:
        """Where a VM that has a domain is, against where it may be and would rather be."""
        if not has_domain(real) or real.node is None:
            return
        if power is not None and power.verb in (Verb.STOP, Verb.SUSPEND):
            return
        node = self._adoption.node_name(real.node)
        if node in self._draining:
            self._drain(vm, real, node)
        elif not allowed_here(vm, node):
            rule = "only" if vm.placement.only else "avoid"
            message = f"on {node}, which placement.{rule} excludes"
            self.changes.append(
                self._change(
                    vm,
                    real,
                    Verb.MIGRATE,
                    "NotAllowedHere",
                    message,
                    ("placement",),
                    Disruption.LIVE,
                    sighting,
                )
            )
        elif vm.placement.prefer and node not in vm.placement.prefer:
            self._prefers(vm, node, sighting)

    def _drain(self, vm: VM, real: ObservedVM, node: str) -> None:
        if vm.on_drain is OnDrain.BLOCK:
            self.blocked.append(
                Blocked(
                    object=f"vm/{vm.name}",
                    verb=Verb.MIGRATE,
                    cause=Cause.DRAIN,
                    reason="OnDrainBlock",
                    message=f"it is on {node}, and its onDrain is block",
                    remedy="move or stop it yourself, or change onDrain",
                )
            )
            return
        if vm.on_drain is OnDrain.SHUTDOWN:
            verb, reason = Verb.RESTART, "DrainShutdown"
            message = f"shut down, started again when {node} is open"
        else:
            verb, reason, message = Verb.MIGRATE, "Draining", f"off {node}"
        disruption = Disruption.LIVE if verb is Verb.MIGRATE else Disruption.COLD
        self.changes.append(
            VmChange(vm, real, verb, Cause.DRAIN, reason, message, ("placement",), disruption)
        )

    def _prefers(self, vm: VM, node: str, sighting: Sighting | None) -> None:
        message = f"on {node}, prefers {', '.join(vm.placement.prefer)}"
        since = None
        if sighting is not None and sighting.moved_s is not None:
            by = f" (task {sighting.moved_by})" if sighting.moved_by else ""
            message += f"; moved there, not by cxm{by}"
            since = self._now.epoch_s - (self._now.mono_s - sighting.moved_s)
        self.told.append(
            Told(
                object=f"vm/{vm.name}",
                reason="PrefersOther",
                message=message,
                since_epoch_s=since,
            )
        )

    def _change(
        self,
        vm: VM,
        real: ObservedVM,
        verb: Verb,
        reason: str,
        message: str,
        aspects: tuple[Aspect, ...],
        disruption: Disruption,
        sighting: Sighting | None,
    ) -> VmChange:
        """A row whose cause is drift where every aspect of it was fulfilled before, else intent."""
        since = [sighting.unmet.get(aspect) for aspect in aspects] if sighting is not None else []
        dates = [at_s for at_s in since if at_s is not None]
        drift = bool(aspects) and len(dates) == len(aspects)
        return VmChange(
            vm,
            real,
            verb,
            Cause.DRIFT if drift else Cause.INTENT,
            reason,
            message,
            aspects,
            disruption,
            since_s=max(dates) if drift else None,
            crashed=drift and sighting is not None and sighting.crashed,
            crashes=self._crashes(sighting),
            foreign=len(sighting.foreign)
            if sighting is not None and contended(sighting, self._now.mono_s)
            else 0,
        )

    def _crashes(self, sighting: Sighting | None) -> int:
        if sighting is None or not sighting.crashes:
            return 0
        since_s = self._now.mono_s - self._budget.per_s
        return sum(1 for at_s in sighting.crashes if at_s > since_s)

    # --- what is not there ----------------------------------------------------------------------

    def missing(self) -> None:
        for item in self._adoption.unmatched:
            wish = desired_power(item.vm)
            self.blocked.append(
                Blocked(
                    object=f"vm/{item.vm.name}",
                    verb=_ATTEMPTS.get(wish, Verb.CHANGE) if wish is not None else Verb.CHANGE,
                    cause=Cause.INTENT,
                    reason=item.reason,
                    message=item.message,
                    remedy=item.remedy,
                )
            )
        for node in self._adoption.absent_nodes:
            uuid = node.host.uuid if node.host is not None else "?"
            self._tell(f"node/{node.name}", "HostNotFound", f"no host of the pool has uuid {uuid}")

    def pool(self, desired: Desired, observed: Observed) -> None:
        if observed.pool.auto_poweron:
            self._tell(
                "pool",
                "AutoPowerOn",
                "the pool's auto_poweron starts VMs at any host's boot, against this tree",
            )
        self._strangers(desired, observed)

    def _strangers(self, desired: Desired, observed: Observed) -> None:
        """VMs on a node that is to be emptied, but that no tree gives into cxm's hands."""
        if not self._draining:
            return
        known = {real.uuid for _, real in self._adoption.vms} | service_vms(desired)
        ignored = {vm.match.uuid for vm in desired.vms.values() if vm.state is VmState.IGNORED}
        for uuid in sorted(observed.vms):
            real = observed.vms[uuid]
            node = self._adoption.node_name(real.node)
            if uuid in known or node not in self._draining or not has_domain(real):
                continue
            place = "is state: ignored" if uuid in ignored else "is in no file of the tree"
            self.blocked.append(
                Blocked(
                    object=f"node/{node}",
                    verb=Verb.MIGRATE,
                    cause=Cause.DRAIN,
                    reason="Unmanaged",
                    message=f'"{real.name}" is on {node} and {place}',
                    remedy="move it yourself, or give it to cxm with manage: enforce",
                )
            )

    def _tell(self, name: str, reason: str, message: str) -> None:
        self.told.append(Told(object=name, reason=reason, message=message))


_OWED = (PowerState.RUNNING, None)

_WORDS: Mapping[PowerState, str] = {
    PowerState.RUNNING: "running",
    PowerState.HALTED: "halted",
    PowerState.SUSPENDED: "suspended",
}

_ATTEMPTS: Mapping[PowerState, Verb] = {
    PowerState.RUNNING: Verb.START,
    PowerState.HALTED: Verb.STOP,
    PowerState.SUSPENDED: Verb.SUSPEND,
}

_POWER_ROWS: Mapping[tuple[PowerState, PowerState], tuple[Verb | None, str]] = {
    (PowerState.RUNNING, PowerState.HALTED): (Verb.START, "NotRunning"),
    (PowerState.RUNNING, PowerState.SUSPENDED): (Verb.RESUME, "Suspended"),
    (PowerState.RUNNING, PowerState.PAUSED): (Verb.RESUME, "Paused"),
    (PowerState.HALTED, PowerState.RUNNING): (Verb.STOP, "NotHalted"),
    (PowerState.HALTED, PowerState.PAUSED): (Verb.STOP, "NotHalted"),
    (PowerState.HALTED, PowerState.SUSPENDED): (None, "HoldsSuspendImage"),
    (PowerState.SUSPENDED, PowerState.RUNNING): (Verb.SUSPEND, "NotSuspended"),
    (PowerState.SUSPENDED, PowerState.PAUSED): (Verb.SUSPEND, "NotSuspended"),
    (PowerState.SUSPENDED, PowerState.HALTED): (None, "NothingToSuspend"),
}

_CANNOT: Mapping[str, tuple[str, str]] = {
    "HoldsSuspendImage": (
        "halting it would throw its memory image away",
        "resume it and let it shut down, or discard the image yourself",
    ),
    "NothingToSuspend": (
        "only a running VM can be suspended",
        "set state: running first",
    ),
    "PowerUnknown": (
        "its power state is not known",
        "wait until the pool tells it",
    ),
}


def _size_parts(vm: VM, real: ObservedVM) -> dict[Aspect, str]:
    parts: dict[Aspect, str] = {}
    if vm.memory is not None and "memory" not in vm.ignore and not memory_met(vm.memory, real):
        parts["memory"] = f"memory {_memory_text(real)} -> {size_text(vm.memory)}"
    if vm.vcpus is not None and "vcpus" not in vm.ignore and not vcpus_met(vm.vcpus, real):
        parts["vcpus"] = f"vcpus {_vcpus_text(real)} -> {vm.vcpus}"
    return parts


def _memory_text(real: ObservedVM) -> str:
    if real.dynamic_min == real.dynamic_max == real.static_max:
        return size_text(real.static_max)
    low, high = size_text(real.dynamic_min), size_text(real.dynamic_max)
    return f"{low}..{high} of {size_text(real.static_max)}"


def _vcpus_text(real: ObservedVM) -> str:
    if real.vcpus_max == real.vcpus_at_startup:
        return str(real.vcpus_max)
    return f"{real.vcpus_at_startup} of {real.vcpus_max}"
