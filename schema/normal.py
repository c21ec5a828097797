"""From validated, merged plain values to the model: one table a structure.

A table gives, for each key of the file, the field of the structure and what turns the one's value
into the other's. A key that is not in a table (`apiVersion`, `kind`) is not kept; a field whose key
is absent keeps the model's default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from schema import model
from schema.forms import duration_s, epoch_s, rate, share, size_bytes
from schema.merging import Plain, inherited

Turn = Callable[[Any], Any]
Table = Mapping[str, tuple[str, Turn]]
S = TypeVar("S", bound=model.Frozen)


def _made(structure: type[S], table: Table, plain: Plain) -> S:
    given = {}
    for key, value in plain.items():
        if key in table:
            name, turn = table[key]
            given[name] = turn(value)
    return structure(**given)


def _part(structure: type[S], table: Table) -> Turn:
    return lambda plain: _made(structure, table, plain)


def _as_is(value: Any) -> Any:
    return value


def _map(value: Plain) -> Mapping[str, str]:
    return MappingProxyType(dict(sorted(value.items())))


def _rate_of_restarts(text: str) -> model.RestartBudget:
    count, per_s = rate(text)
    return model.RestartBudget(count=count, per_s=per_s)


def _budget(plain: Plain) -> model.FenceBudget:
    given: dict[str, Any] = {"floor": share(plain["floor"])} if "floor" in plain else {}
    for key, count in plain.items():
        if key.startswith("per "):
            given |= {"count": int(count), "per_s": duration_s(key[4:])}
    return model.FenceBudget(**given)


_IDENTIFIED: Table = {
    "name": ("name", _as_is),
    "labels": ("labels", _map),
    "description": ("description", _as_is),
    "previousNames": ("previous_names", tuple),
}

_SOURCE: Table = {
    "poll": ("poll_s", duration_s),
    "jitter": ("jitter", share),
    "timeout": ("timeout_s", duration_s),
    "staleAfter": ("stale_after_s", duration_s),
}
_RETRY: Table = {
    "base": ("base_s", duration_s),
    "factor": ("factor", float),
    "max": ("max_s", duration_s),
    "stalledAfter": ("stalled_after", int),
}
_RECONCILE: Table = {
    "interval": ("interval_s", duration_s),
    "driftGrace": ("drift_grace_s", duration_s),
    "retry": ("retry", _part(model.Retry, _RETRY)),
}
_DRAIN: Table = {"migrations": ("migrations", int), "perNode": ("per_node", int)}
_LIMITS: Table = {
    "migrations": ("migrations", int),
    "migrationsPerNode": ("migrations_per_node", int),
    "startsPerNode": ("starts_per_node", int),
    "drain": ("drain", _part(model.DrainLimits, _DRAIN)),
    "removalsPerRevision": ("removals_per_revision", int),
    "restartsPerRevision": ("restarts_per_revision", int),
}
_CLUSTER_RECOVERY: Table = {
    "tolerate": ("tolerate", int),
    "failback": ("failback", _as_is),
    "maxRestarts": ("max_restarts", _rate_of_restarts),
    "foreignGrace": ("foreign_grace_s", duration_s),
}
_HEARTBEAT: Table = {
    "interval": ("interval_s", duration_s),
    "suspectAfter": ("suspect_after_s", duration_s),
    "deadAfter": ("dead_after_s", duration_s),
}
_BALANCE: Table = {
    "auto": ("auto", _as_is),
    "minGain": ("min_gain", share),
    "cooldown": ("cooldown_s", duration_s),
    "maxMoves": ("max_moves", int),
    "stickiness": ("stickiness", share),
}
_CLUSTER_FENCING: Table = {
    "agent": ("agent", _as_is),
    "credentialsRef": ("credentials_ref", _as_is),
    "options": ("options", _map),
}
_CLUSTER: Table = {
    **_IDENTIFIED,
    "id": ("id", _as_is),
    "mode": ("mode", model.Mode),
    "requires": ("requires", _as_is),
    "source": ("source", _part(model.Source, _SOURCE)),
    "reconcile": ("reconcile", _part(model.Reconcile, _RECONCILE)),
    "limits": ("limits", _part(model.Limits, _LIMITS)),
    "recovery": ("recovery", _part(model.ClusterRecovery, _CLUSTER_RECOVERY)),
    "heartbeat": ("heartbeat", _part(model.Heartbeat, _HEARTBEAT)),
    "balance": ("balance", _part(model.Balance, _BALANCE)),
    "fencing": ("fencing", _part(model.ClusterFencing, _CLUSTER_FENCING)),
    "migrationNetwork": ("migration_network", _as_is),
    "unmanaged": ("unmanaged", model.Unmanaged),
}

_HOST: Table = {"uuid": ("uuid", _as_is), "address": ("address", _as_is)}
_DAEMON: Table = {"runsIn": ("runs_in", _as_is), "vm": ("vm", _as_is)}
_NODE_HEARTBEAT: Table = {"addresses": ("addresses", tuple), "disk": ("disk", _as_is)}
_MAINTENANCE: Table = {
    "drain": ("drain", _as_is),
    "until": ("until_epoch_s", epoch_s),
    "reason": ("reason", _as_is),
}
_RESERVE: Table = {"memory": ("memory", size_bytes)}
_CAPACITY: Table = {"maxVMs": ("max_vms", int), "cpuOvercommit": ("cpu_overcommit", float)}
_NODE: Table = {
    **_IDENTIFIED,
    "host": ("host", _part(model.HostIdentity, _HOST)),
    "roles": ("roles", lambda roles: tuple(model.Role(role) for role in roles)),
    "daemon": ("daemon", _part(model.Daemon, _DAEMON)),
    "heartbeat": ("heartbeat", _part(model.NodeHeartbeat, _NODE_HEARTBEAT)),
    "schedulable": ("schedulable", _as_is),
    "maintenance": ("maintenance", _part(model.Maintenance, _MAINTENANCE)),
    "reserve": ("reserve", _part(model.Reserve, _RESERVE)),
    "capacity": ("capacity", _part(model.Capacity, _CAPACITY)),
    "bmc": ("bmc", _as_is),
    "fencing": ("fencing", _as_is),
    "unfenced": ("unfenced", _as_is),
}

_MATCH: Table = {"uuid": ("uuid", _as_is), "name": ("name", _as_is)}
_PLACEMENT: Table = {key: (key, tuple) for key in ("prefer", "only", "avoid")}
_READY: Table = {"by": ("by", _as_is), "timeout": ("timeout_s", duration_s)}
_START: Table = {
    "wave": ("wave", int),
    # The model names VMs, as the keys of Desired.vms do; the file says vm/NAME.
    "after": ("after", lambda after: tuple(item.removeprefix("vm/") for item in after)),
    "ready": ("ready", _part(model.Ready, _READY)),
}
_MIGRATION: Table = {"live": ("live", model.Live), "timeout": ("timeout_s", duration_s)}
_VM_RECOVERY: Table = {"enabled": ("enabled", _as_is), "proof": ("proof", tuple)}
_VM: Table = {
    **_IDENTIFIED,
    "manage": ("manage", model.Manage),
    "match": ("match", _part(model.Match, _MATCH)),
    "extends": ("extends", lambda text: text.removeprefix("profile/")),
    "state": ("state", model.VmState),
    "placement": ("placement", _part(model.Placement, _PLACEMENT)),
    "priority": ("priority", model.Priority),
    "memory": ("memory", size_bytes),
    "vcpus": ("vcpus", int),
    "nameLabel": ("name_label", _as_is),
    "tags": ("tags_add", lambda tags: tuple(tags.get("add", ()))),
    "restart": ("restart", model.Restart),
    "start": ("start", _part(model.Start, _START)),
    "migration": ("migration", _part(model.Migration, _MIGRATION)),
    "onDrain": ("on_drain", model.OnDrain),
    "ejectMedia": ("eject_media", _as_is),
    "recovery": ("recovery", _part(model.VmRecovery, _VM_RECOVERY)),
    "ignore": ("ignore", tuple),
    "source": ("source", _part(model.VmSource, {"template": ("template", _as_is)})),
}

_RULE: Table = {
    **_IDENTIFIED,
    "select": ("select", _map),
    **{key: (key, _as_is) for key in ("rule", "scope", "strength")},
}
_TIMEOUTS: Table = {"login": ("login_s", duration_s), "power": ("power_s", duration_s)}
_DEVICE: Table = {
    **_IDENTIFIED,
    "agent": ("agent", _as_is),
    "options": ("options", _map),
    "credentialsRef": ("credentials_ref", _as_is),
    "plugs": ("plugs", _map),
    "timeouts": ("timeouts", _part(model.DeviceTimeouts, _TIMEOUTS)),
    "drill": ("drill_s", duration_s),
}
_POLICY: Table = {
    **_IDENTIFIED,
    "levels": ("levels", lambda levels: tuple(tuple(level) for level in levels)),
    "delay": ("delay_s", duration_s),
    "budget": ("budget", _budget),
    "unproven": ("unproven", _as_is),
}
_WINDOW: Table = {
    **_IDENTIFIED,
    "type": ("type", _as_is),
    "cron": ("cron", _as_is),
    "duration": ("duration_s", duration_s),
    "timezone": ("timezone", _as_is),
    "select": ("select", _map),
    "covers": ("covers", tuple),
}


def _profile(plain: Plain) -> model.Profile:
    bare = _made(model.Profile, _IDENTIFIED, plain)
    return model.Profile(
        name=bare.name,
        labels=bare.labels,
        description=bare.description,
        previous_names=bare.previous_names,
        spec=MappingProxyType(dict(inherited(plain))),
    )


_KINDS: Mapping[str, Callable[[Plain], model.Identified]] = {
    "Cluster": _part(model.Cluster, _CLUSTER),
    "FenceDevice": _part(model.FenceDevice, _DEVICE),
    "FencingPolicy": _part(model.FencingPolicy, _POLICY),
    "MaintenanceWindow": _part(model.MaintenanceWindow, _WINDOW),
    "Node": _part(model.Node, _NODE),
    "PlacementRule": _part(model.PlacementRule, _RULE),
    "Profile": _profile,
    "VM": _part(model.VM, _VM),
}


def normal(kind: str, plain: Plain) -> model.Identified:
    """The object of `kind` that the validated (and, for a VM, merged) document means."""
    return _KINDS[kind](plain)
