"""What the operator wishes, read, merged and normalised: `Desired` and the objects it is made of.

Sizes are bytes, durations are seconds, names are DNS labels, uuids are lower case. Every structure is
frozen and holds only frozen values, in an order that does not depend on hashing. A value of `None`
means "not managed": cxm leaves that aspect of the object alone. Fields and defaults: the surface's
data model; the place a value came from is kept apart, in `schema.provenance`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from msgspec import Struct, field


class Mode(StrEnum):
    """How far cxm is trusted with the whole cluster; each rung includes the ones before it."""

    OBSERVE = "observe"
    RECOVER = "recover"
    GATED = "gated"
    AUTO = "auto"


class Manage(StrEnum):
    """How far cxm is trusted with one VM."""

    OBSERVE = "observe"
    RECOVER = "recover"
    ENFORCE = "enforce"


class VmState(StrEnum):
    RUNNING = "running"
    HALTED = "halted"
    SUSPENDED = "suspended"
    RETIRED = "retired"
    IGNORED = "ignored"


class Priority(StrEnum):
    CRITICAL = "critical"
    NORMAL = "normal"
    LOW = "low"


class Restart(StrEnum):
    """When a change that needs the VM to be stopped may stop it."""

    NEVER = "never"
    WINDOW = "window"
    NOW = "now"


class Live(StrEnum):
    REQUIRED = "required"
    PREFERRED = "preferred"
    NEVER = "never"


class OnDrain(StrEnum):
    MIGRATE = "migrate"
    SHUTDOWN = "shutdown"
    BLOCK = "block"


class Role(StrEnum):
    RUN = "run"
    PEER = "peer"
    WITNESS = "witness"


class Unmanaged(StrEnum):
    REPORT = "report"
    IGNORE = "ignore"
    ALARM = "alarm"


Labels = Mapping[str, str]
NO_LABELS: Labels = MappingProxyType({})


class Frozen(Struct, frozen=True, kw_only=True):
    """Base of every snapshot: immutable, slotted, compared by value."""


class Identified(Frozen, frozen=True, kw_only=True):
    """What every object in the tree has. `name` equals the stem of its file."""

    name: str
    labels: Labels = NO_LABELS
    description: str = ""
    previous_names: tuple[str, ...] = ()


# --- Cluster ------------------------------------------------------------------------------------


class Source(Frozen, frozen=True, kw_only=True):
    poll_s: float = 15.0
    jitter: float = 0.2
    timeout_s: float = 10.0
    stale_after_s: float = 3600.0


class Retry(Frozen, frozen=True, kw_only=True):
    """Back-off of one object: base * factor**n up to max; Stalled after so many failures in a row."""

    base_s: float = 5.0
    factor: float = 2.0
    max_s: float = 600.0
    stalled_after: int = 5


class Reconcile(Frozen, frozen=True, kw_only=True):
    interval_s: float = 30.0
    drift_grace_s: float = 1800.0
    retry: Retry = Retry()


class DrainLimits(Frozen, frozen=True, kw_only=True):
    migrations: int = 4
    per_node: int = 3


class Limits(Frozen, frozen=True, kw_only=True):
    """Concurrency of actions, and what one revision may do without a consent trailer."""

    migrations: int = 4
    migrations_per_node: int = 2
    starts_per_node: int = 1
    drain: DrainLimits = DrainLimits()
    removals_per_revision: int = 1
    restarts_per_revision: int = 5


class RestartBudget(Frozen, frozen=True, kw_only=True):
    count: int = 3
    per_s: float = 3600.0


class ClusterRecovery(Frozen, frozen=True, kw_only=True):
    tolerate: int | None = None
    failback: str = "manual"
    max_restarts: RestartBudget = RestartBudget()
    foreign_grace_s: float = 1200.0


class Heartbeat(Frozen, frozen=True, kw_only=True):
    interval_s: float = 1.0
    suspect_after_s: float = 5.0
    dead_after_s: float = 10.0


class Balance(Frozen, frozen=True, kw_only=True):
    auto: bool = False
    min_gain: float = 0.05
    cooldown_s: float = 1800.0
    max_moves: int = 3
    stickiness: float = 0.05


class ClusterFencing(Frozen, frozen=True, kw_only=True):
    agent: str
    credentials_ref: str | None = None
    options: Mapping[str, str] = NO_LABELS


class Cluster(Identified, frozen=True, kw_only=True):
    id: str
    mode: Mode
    requires: str = ">=1.0"
    source: Source = Source()
    reconcile: Reconcile = Reconcile()
    limits: Limits = Limits()
    recovery: ClusterRecovery = ClusterRecovery()
    heartbeat: Heartbeat = Heartbeat()
    balance: Balance = Balance()
    fencing: ClusterFencing | None = None
    migration_network: str | None = None
    unmanaged: Unmanaged = Unmanaged.REPORT


# --- Node ---------------------------------------------------------------------------------------


class HostIdentity(Frozen, frozen=True, kw_only=True):
    uuid: str
    address: str


class Daemon(Frozen, frozen=True, kw_only=True):
    runs_in: str
    vm: str | None = None


class NodeHeartbeat(Frozen, frozen=True, kw_only=True):
    addresses: tuple[str, ...] = ()
    disk: str | None = None


class Maintenance(Frozen, frozen=True, kw_only=True):
    """`until` is a reminder in epoch seconds, not an end: the node stays drained until undrained."""

    drain: bool = True
    until_epoch_s: float | None = None
    reason: str = ""


class Reserve(Frozen, frozen=True, kw_only=True):
    memory: int = 0


class Capacity(Frozen, frozen=True, kw_only=True):
    """0 means no cap."""

    max_vms: int = 0
    cpu_overcommit: float = 0.0


class Node(Identified, frozen=True, kw_only=True):
    host: HostIdentity | None = None
    roles: tuple[Role, ...] = (Role.RUN, Role.PEER)
    daemon: Daemon | None = None
    heartbeat: NodeHeartbeat = NodeHeartbeat()
    schedulable: bool = True
    maintenance: Maintenance | None = None
    reserve: Reserve = Reserve()
    capacity: Capacity = Capacity()
    bmc: str | None = None
    fencing: str | None = None
    unfenced: str | None = None


# --- VM -----------------------------------------------------------------------------------------


class Match(Frozen, frozen=True, kw_only=True):
    uuid: str | None = None
    name: str | None = None


class Placement(Frozen, frozen=True, kw_only=True):
    """Names of nodes: `prefer` ordered and soft, `only` and `avoid` hard."""

    prefer: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()


class Ready(Frozen, frozen=True, kw_only=True):
    by: str = "tools"
    timeout_s: float = 300.0


class Start(Frozen, frozen=True, kw_only=True):
    wave: int = 50
    after: tuple[str, ...] = ()
    ready: Ready = Ready()


class Migration(Frozen, frozen=True, kw_only=True):
    live: Live = Live.PREFERRED
    timeout_s: float = 1800.0


class VmRecovery(Frozen, frozen=True, kw_only=True):
    enabled: bool = True
    proof: tuple[str, ...] = ("power-off", "sworn")


class VmSource(Frozen, frozen=True, kw_only=True):
    template: str


class VM(Identified, frozen=True, kw_only=True):
    """One virtual machine after merging defaults, profile and object."""

    manage: Manage
    match: Match
    extends: str | None = None
    state: VmState | None = None
    placement: Placement = Placement()
    priority: Priority = Priority.NORMAL
    memory: int | None = None
    vcpus: int | None = None
    name_label: str | None = None
    tags_add: tuple[str, ...] = ()
    restart: Restart = Restart.WINDOW
    start: Start = Start()
    migration: Migration = Migration()
    on_drain: OnDrain = OnDrain.MIGRATE
    eject_media: bool = False
    recovery: VmRecovery = VmRecovery()
    ignore: tuple[str, ...] = ()
    source: VmSource | None = None


class Profile(Identified, frozen=True, kw_only=True):
    """A partial VM, kept as written: merging happens on the plain document, before the model."""

    spec: Mapping[str, object] = field(default_factory=dict)


# --- how nodes are fenced --------------------------------------------------------------------------


class DeviceTimeouts(Frozen, frozen=True, kw_only=True):
    login_s: float = 5.0
    power_s: float = 20.0


class FenceDevice(Identified, frozen=True, kw_only=True):
    agent: str
    options: Mapping[str, str] = NO_LABELS
    credentials_ref: str | None = None
    plugs: Mapping[str, str] = NO_LABELS
    timeouts: DeviceTimeouts = DeviceTimeouts()
    drill_s: float = 86400.0


class FenceBudget(Frozen, frozen=True, kw_only=True):
    count: int = 1
    per_s: float = 3600.0
    floor: float = 0.5


class FencingPolicy(Identified, frozen=True, kw_only=True):
    levels: tuple[tuple[str, ...], ...]
    delay_s: float = 0.0
    budget: FenceBudget = FenceBudget()
    unproven: str = "hold"


# --- kinds that act in later releases: validated and kept -----------------------------------------


class PlacementRule(Identified, frozen=True, kw_only=True):
    select: Labels
    rule: str
    scope: str = "node"
    strength: str = "preferred"


class MaintenanceWindow(Identified, frozen=True, kw_only=True):
    type: str
    cron: str
    duration_s: float
    timezone: str
    select: Labels = NO_LABELS
    covers: tuple[str, ...] = ("restart", "rebalance", "intent")


# --- the whole ----------------------------------------------------------------------------------


class Desired(Frozen, frozen=True, kw_only=True):
    """A validated tree. Mappings are keyed by object name and iterate in sorted order."""

    cluster: Cluster
    nodes: Mapping[str, Node] = field(default_factory=dict)
    vms: Mapping[str, VM] = field(default_factory=dict)
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    rules: Mapping[str, PlacementRule] = field(default_factory=dict)
    devices: Mapping[str, FenceDevice] = field(default_factory=dict)
    policies: Mapping[str, FencingPolicy] = field(default_factory=dict)
    windows: Mapping[str, MaintenanceWindow] = field(default_factory=dict)
