"""Gates: the rules that refuse a row, strongest first. The first refusal wins and is told."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from fencing.evidence import absent
from membership.clock import Now
from membership.ledger import Freeze, Ledger
from reconciler.actions import Blocked, Cause, Disruption
from reconciler.drift import Change, VmChange
from reconciler.holding import held_by
from reconciler.observed import Observed
from schema.model import Desired, Manage, Mode, Restart

SCOPE_OF: Mapping[Cause, str] = {
    Cause.INTENT: "intent",
    Cause.DRIFT: "drift",
    Cause.DRAIN: "intent",
    Cause.RECOVERY: "recovery",
}


class Gates:
    """The standing refusals of one moment, looked up once per plan."""

    def __init__(self, desired: Desired, observed: Observed, ledger: Ledger, now: Now) -> None:
        self._now = now
        self._mode = desired.cluster.mode
        self._pool = observed.pool
        self._unread_parts = [part for part in observed.missing if not part.startswith("node/")]
        self._holds = ledger.holds
        self._freezes = ledger.freezes(now)
        self.absent = absent(ledger)

    def refuse(self, change: Change, nodes: tuple[str, ...]) -> Blocked | None:
        """Why this row may not be carried out, or None. `nodes`: names of the nodes it touches."""
        return (
            self._hold(change)
            or self._pool_state(change)
            or self._unread(change)
            or self._cluster_mode(change)
            or self._frozen(change, nodes)
            or _managed(change)
        )

    def frozen_nodes(self) -> tuple[str, ...]:
        """Names of nodes on which no intent may act, so that nothing is put there."""
        return tuple(
            freeze.object.removeprefix("node/")
            for freeze in self._freezes
            if freeze.object.startswith("node/") and "intent" in freeze.scopes
        )

    def _hold(self, change: Change) -> Blocked | None:
        if not self._holds:
            return None
        return blocked(change, "Held", *held_by(self._holds))

    def _pool_state(self, change: Change) -> Blocked | None:
        if self._pool.ha_enabled:
            return blocked(
                change,
                "PoolHa",
                "the pool's own HA is on, and a pool has one manager",
                "disable HA of the pool, or leave this to it",
            )
        if self._pool.rolling_upgrade:
            return blocked(
                change,
                "RollingUpgrade",
                "a rolling upgrade of the pool is in progress",
                "finish the upgrade",
            )
        return None

    def _unread(self, change: Change) -> Blocked | None:
        """A silent node hides only its own VMs; a record that cannot be read hides nobody knows what."""
        if not self._unread_parts:
            return None
        message = f"not to be read in the pool: {', '.join(self._unread_parts[:4])}"
        return blocked(change, "Incomplete", message, "wait, or look at what the pool says of it")

    def _cluster_mode(self, change: Change) -> Blocked | None:
        if self._mode in (Mode.GATED, Mode.AUTO):
            return None
        if self._mode is Mode.RECOVER and change.cause is Cause.RECOVERY:
            return None
        return blocked(
            change,
            "ClusterMode",
            f"the cluster's mode is {self._mode.value}",
            "commit a higher mode in cluster.yaml",
        )

    def _frozen(self, change: Change, nodes: tuple[str, ...]) -> Blocked | None:
        scope = SCOPE_OF[change.cause]
        names = {"all", change.object, *(f"node/{node}" for node in nodes)}
        hit = next((f for f in self._freezes if f.object in names and scope in f.scopes), None)
        return None if hit is None else self._frozen_row(change, hit)

    def _frozen_row(self, change: Change, freeze: Freeze) -> Blocked:
        message = f"{change.message}; {freeze.object} is frozen by {freeze.by}: {freeze.reason}"
        row = blocked(change, "Frozen", message, f"cxm thaw {freeze.object}")
        if freeze.until_epoch_s is None:
            return row
        left_s = freeze.until_epoch_s - self._now.epoch_s
        return replace(row, until_s=self._now.mono_s + left_s)


def _managed(change: Change) -> Blocked | None:
    if not isinstance(change, VmChange) or change.vm.manage is Manage.ENFORCE:
        return None
    if change.cause is Cause.RECOVERY and change.vm.manage is Manage.RECOVER:
        return None
    return blocked(
        change,
        "Manage",
        f"{change.message}; manage is {change.vm.manage.value}",
        "set manage: enforce",
    )


def restart_refused(change: VmChange) -> Blocked | None:
    """What the object's own `restart` says to a row that would stop the VM on the way."""
    if change.vm.restart is not Restart.NEVER or change.disruption is not Disruption.COLD:
        return None
    return blocked(
        change,
        "PendingRestart",
        f"{change.message}; restart is never",
        "restart the VM when it suits you, or set restart: now",
    )


def blocked(change: Change, reason: str, message: str, remedy: str = "") -> Blocked:
    """A refusal of this row."""
    return Blocked(
        object=change.object,
        verb=change.verb,
        cause=change.cause,
        reason=reason,
        message=message,
        remedy=remedy,
    )
