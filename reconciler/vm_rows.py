"""The rows about one VM: its power, its size, its names, its home."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from membership.clock import Now
from membership.proofs import Lost
from reconciler.actions import Blocked, Cause, Disruption, Told, Verb
from reconciler.adoption import Adoption
from reconciler.aspects import desired_power, memory_met, missing_tags, power_met, vcpus_met
from reconciler.drift import VmChange
from reconciler.journal import JournalState
from reconciler.observed import ObservedVM, PowerState
from reconciler.placement import allowed_here, has_domain
from reconciler.records import Aspect, Sighting
from reconciler.sightings import contended
from schema.forms import size_text
from schema.model import VM, OnDrain, RestartBudget, VmState

Row = VmChange | Blocked | Told


@dataclass(frozen=True, slots=True)
class Setting:
    """What the rows of every VM are read against."""

    adoption: Adoption
    draining: frozenset[str]
    journal: JournalState
    lost: Mapping[str, Lost]
    budget: RestartBudget
    now: Now


@dataclass(frozen=True, slots=True)
class VmCase:
    """One VM of the tree, what the pool shows of it, and what is remembered."""

    vm: VM
    real: ObservedVM
    sighting: Sighting | None
    setting: Setting

    @property
    def name(self) -> str:
        return f"vm/{self.vm.name}"

    def rows(self) -> Iterator[Row]:
        """Everything about this VM that differs or is worth telling."""
        power = self._power()
        if power is not None:
            yield power
        if self.vm.state is not VmState.RETIRED:
            change = power if isinstance(power, VmChange) else None
            yield from self._sizes(change)
            yield from self._names()
            home = self._home(change)
            if home is not None:
                yield home
        if self.vm.match.uuid is None:
            message = f"matched by name; its uuid is {self.real.uuid}"
            yield Told(object=self.name, reason="MatchedByName", message=message)

    # --- power --------------------------------------------------------------------------------

    def _power(self) -> Row | None:
        vm, real = self.vm, self.real
        wish = desired_power(vm)
        if real.uuid in self.setting.lost and wish in (None, PowerState.RUNNING):
            return self._lost()
        owed = self._owed(wish)
        if owed is not None:
            return owed
        if wish is None or power_met(wish, real):
            return None
        verb, reason = _POWER.get((wish, real.power), (None, "PowerUnknown"))
        if verb is None:
            return self._cannot(wish, reason)
        message = f"{real.power.value.lower()} -> {wish.value.lower()}"
        if vm.state is VmState.RETIRED:
            message, reason = f"{real.power.value.lower()} -> retired", "Retired"
        cold = verb in (Verb.STOP, Verb.SUSPEND)
        disruption = Disruption.COLD if cold else Disruption.NONE
        return self._change(verb, reason, message, ("power",), disruption)

    def _lost(self) -> Row | None:
        """It ran on a node that died, and is to run again, whatever else the tree says of its power."""
        if self.real.power is not PowerState.HALTED:
            return None
        lost = self.setting.lost[self.real.uuid]
        dark = not lost.certificate
        reason = "Blackout" if dark else "NodeDied"
        message = f"ran on {lost.node} when the power failed" if dark else f"died with {lost.node}"
        return VmChange(self.vm, self.real, Verb.START, Cause.RECOVERY, reason, message, ("power",))

    def _owed(self, wish: PowerState | None) -> Row | None:
        """The second half of a restart: we stopped the VM and owe it a start, wished for or not."""
        owed = self.setting.journal.own_stops.get(self.real.uuid)
        if owed is None or self.real.power is not PowerState.HALTED:
            return None
        if wish not in (PowerState.RUNNING, None):
            return None
        if owed.reason == "DrainShutdown" and owed.node in self.setting.draining:
            message = f"shut down while {owed.node} is drained"
            return Told(object=self.name, reason="StoppedForDrain", message=message)
        parts = (*_size_parts(self.vm, self.real).values(), "stopped by cxm, to be started again")
        return VmChange(
            self.vm,
            self.real,
            Verb.RESTART,
            owed.cause,
            owed.reason,
            ", ".join(parts),
            ("power",),
            Disruption.COLD,
        )

    def _cannot(self, wish: PowerState, reason: str) -> Blocked:
        message, remedy = _CANNOT[reason]
        return Blocked(
            object=self.name,
            verb=ATTEMPTS[wish],
            cause=Cause.INTENT,
            reason=reason,
            message=f"it is {self.real.power.value.lower()}: {message}",
            remedy=remedy,
        )

    # --- size and names -------------------------------------------------------------------------

    def _sizes(self, power: VmChange | None) -> Iterator[VmChange]:
        """Memory and vCPUs: set where the VM is halted, else by a cold restart.

        A VM that is to stop anyway is left to stop first; a restart under way sets them itself.
        """
        if power is not None and power.verb in (Verb.STOP, Verb.SUSPEND, Verb.RESTART):
            return
        parts = _size_parts(self.vm, self.real)
        if not parts:
            return
        halted = self.real.power is PowerState.HALTED
        verb = Verb.CHANGE if halted else Verb.RESTART
        disruption = Disruption.NONE if halted else Disruption.COLD
        reason = "MemoryChanged" if "memory" in parts else "VcpusChanged"
        yield self._change(verb, reason, ", ".join(parts.values()), tuple(parts), disruption)

    def _names(self) -> Iterator[VmChange]:
        label, ignore = self.vm.name_label, self.vm.ignore
        if label is not None and "nameLabel" not in ignore and label != self.real.name:
            message = f'name "{self.real.name}" -> "{label}"'
            yield self._change(Verb.CHANGE, "NameChanged", message, ("nameLabel",))
        tags = missing_tags(self.vm, self.real) if "tags" not in ignore else ()
        if tags:
            message = f"add tags {', '.join(tags)}"
            yield self._change(Verb.CHANGE, "TagsMissing", message, ("tags",))

    # --- home -----------------------------------------------------------------------------------

    def _home(self, power: VmChange | None) -> Row | None:
        """Where a VM that has a domain is, against where it may be and would rather be."""
        vm, real = self.vm, self.real
        if not has_domain(real) or real.node is None:
            return None
        if power is not None and power.verb in (Verb.STOP, Verb.SUSPEND):
            return None
        node = self.setting.adoption.node_name(real.node)
        if node in self.setting.draining:
            return self._drain(node)
        if "placement" in vm.ignore:
            return None
        if not allowed_here(vm, node):
            rule = "avoid" if node in vm.placement.avoid else "only"
            message = f"on {node}, which placement.{rule} excludes"
            return self._change(
                Verb.MIGRATE, "NotAllowedHere", message, ("placement",), Disruption.LIVE
            )
        if vm.placement.prefer and node not in vm.placement.prefer:
            return self._prefers(node)
        return None

    def _drain(self, node: str) -> Row:
        if self.vm.on_drain is OnDrain.BLOCK:
            return Blocked(
                object=self.name,
                verb=Verb.MIGRATE,
                cause=Cause.DRAIN,
                reason="OnDrainBlock",
                message=f"it is on {node}, and its onDrain is block",
                remedy="move or stop it yourself, or change onDrain",
            )
        shutdown = self.vm.on_drain is OnDrain.SHUTDOWN
        return VmChange(
            self.vm,
            self.real,
            Verb.RESTART if shutdown else Verb.MIGRATE,
            Cause.DRAIN,
            "DrainShutdown" if shutdown else "Draining",
            f"shut down, started again when {node} is open" if shutdown else f"off {node}",
            ("placement",),
            Disruption.COLD if shutdown else Disruption.LIVE,
        )

    def _prefers(self, node: str) -> Told:
        sighting, now = self.sighting, self.setting.now
        message = f"on {node}, prefers {', '.join(self.vm.placement.prefer)}"
        since = None
        if sighting is not None and sighting.moved_s is not None:
            by = f" (task {sighting.moved_by})" if sighting.moved_by else ""
            message += f"; moved there, not by cxm{by}"
            since = now.epoch_s - (now.mono_s - sighting.moved_s)
        return Told(object=self.name, reason="PrefersOther", message=message, since_epoch_s=since)

    # --- cause ----------------------------------------------------------------------------------

    def _change(
        self,
        verb: Verb,
        reason: str,
        message: str,
        aspects: tuple[Aspect, ...],
        disruption: Disruption = Disruption.NONE,
    ) -> VmChange:
        """A row whose cause is drift where every aspect of it was fulfilled before, else intent."""
        sighting, now_s = self.sighting, self.setting.now.mono_s
        unmet = sighting.unmet if sighting is not None else {}
        dates = [unmet[aspect] for aspect in aspects if aspect in unmet]
        drift = len(dates) == len(aspects)
        return VmChange(
            self.vm,
            self.real,
            verb,
            Cause.DRIFT if drift else Cause.INTENT,
            reason,
            message,
            aspects,
            disruption,
            since_s=max(dates) if drift else None,
            crashed=drift and sighting is not None and sighting.crashed,
            crashes=self._crashes(),
            foreign=len(sighting.foreign) if sighting and contended(sighting, now_s) else 0,
        )

    def _crashes(self) -> int:
        since_s = self.setting.now.mono_s - self.setting.budget.per_s
        crashes = self.sighting.crashes if self.sighting is not None else ()
        return sum(1 for at_s in crashes if at_s > since_s)


ATTEMPTS: Mapping[PowerState, Verb] = {
    PowerState.RUNNING: Verb.START,
    PowerState.HALTED: Verb.STOP,
    PowerState.SUSPENDED: Verb.SUSPEND,
}
"""What would have to be done for a state of power, where it cannot be done."""

_POWER: Mapping[tuple[PowerState, PowerState], tuple[Verb | None, str]] = {
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
"""(desired, observed) -> the verb between them; None where no verb leads there without a loss."""

_CANNOT: Mapping[str, tuple[str, str]] = {
    "HoldsSuspendImage": (
        "halting it would throw its memory image away",
        "resume it and let it shut down, or discard the image yourself",
    ),
    "NothingToSuspend": ("only a running VM can be suspended", "set state: running first"),
    "PowerUnknown": ("its power state is not known", "wait until the pool tells it"),
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
