"""Limits: how many calls of a kind may run at once. Counted over what runs, what others do included."""

from __future__ import annotations

from collections import Counter

from reconciler.actions import Call, Cause, PoolMigrate, ResumeOn, StartOn, Waits
from reconciler.journal import JournalState
from reconciler.observed import Observed
from schema.model import Limits


class Slots:
    """The slots of one plan: filled with what is under way, then with what the plan adds."""

    def __init__(self, limits: Limits, observed: Observed, journal: JournalState) -> None:
        self._limits = limits
        self._observed = observed
        self._migrations = 0
        self._moving: Counter[str] = Counter()
        self._starting: Counter[str] = Counter()
        flying: set[str] = set()
        for flight in journal.in_flight.values():
            self.take(flight.call)
            flying.add(flight.subject)
        self._take_foreign(flying)

    def _take_foreign(self, flying: set[str]) -> None:
        for vm in self._observed.vms.values():
            if not vm.operations or vm.uuid in flying:
                continue
            if any(op.kind == "pool_migrate" for op in vm.operations):
                self._migrations += 1
                self._moving.update(n for n in {vm.node, vm.reserved_on} if n is not None)
            elif vm.reserved_on is not None and any(op.kind in _STARTS for op in vm.operations):
                self._starting[vm.reserved_on] += 1

    def take(self, call: Call) -> None:
        """This call runs, or is about to."""
        match call:
            case PoolMigrate(vm=vm, node=node):
                self._migrations += 1
                self._moving.update(self._ends(vm, node))
            case StartOn(node=node) | ResumeOn(node=node):
                self._starting[node] += 1

    def _ends(self, vm: str, node: str) -> set[str]:
        real = self._observed.vms.get(vm)
        source = real.node if real is not None else None
        return {node} if source is None else {node, source}

    def full(self, call: Call, cause: Cause) -> Waits | None:
        """The limit that this call would exceed now, or None."""
        match call:
            case PoolMigrate(vm=vm, node=node):
                return self._migration(vm, node, drain=cause is Cause.DRAIN)
            case StartOn(node=node) | ResumeOn(node=node):
                limit = self._limits.starts_per_node
                if self._starting[node] >= limit:
                    return _waits("limits.startsPerNode", limit)
        return None

    def _migration(self, vm: str, node: str, *, drain: bool) -> Waits | None:
        """A drain has limits of its own; the plain ones hold for everything else."""
        limits = self._limits
        total = limits.drain.migrations if drain else limits.migrations
        per_node = limits.drain.per_node if drain else limits.migrations_per_node
        prefix = "limits.drain." if drain else "limits."
        if self._migrations >= total:
            return _waits(f"{prefix}migrations", total)
        if any(self._moving[end] >= per_node for end in self._ends(vm, node)):
            return _waits(f"{prefix}{'perNode' if drain else 'migrationsPerNode'}", per_node)
        return None


_STARTS = frozenset({"start", "start_on", "resume", "resume_on"})


def _waits(limit: str, value: int) -> Waits:
    return Waits(on=limit, message=f"{limit} is {value}, and so many are under way")
