"""Observed: one coherent picture of the pool, with the moment from which it is true.

Made by `xapi` from its event cache; no opaque reference of XenAPI leaves that room, so everything
here is named by uuid. Memory is in bytes. Whatever was not seen is listed in `missing` and makes the
picture incomplete: it is unknown, never absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import field

from schema.model import Frozen


class PowerState(StrEnum):
    RUNNING = "Running"
    PAUSED = "Paused"
    HALTED = "Halted"
    SUSPENDED = "Suspended"
    UNKNOWN = "Unknown"


class Operation(Frozen, frozen=True, kw_only=True):
    """Something XenAPI is doing to an object right now.

    `kind` is XenAPI's word (`pool_migrate`), `task` the name of the task that does it ("" if the task
    is not to be seen), `txn` the tag by which we know our own ("" on a foreign or untagged task).
    """

    kind: str
    task: str = ""
    task_uuid: str = ""
    txn: str = ""
    progress: float = 0.0


class Task(Frozen, frozen=True, kw_only=True):
    """A pending task of the pool. `txn` as in `Operation`."""

    uuid: str
    name: str
    txn: str = ""
    progress: float = 0.0


class Disk(Frozen, frozen=True, kw_only=True):
    """A virtual drive. `kind` is Disk, CD or Floppy; an empty drive has neither `vdi` nor `sr`.

    `known` is False where something is in it of which the pool shows nothing: not to be taken for
    an empty drive. `locked_by` are the hosts whose mark the storage keeps on what is in it, sorted:
    their uuids, or what the mark says where it names none of the pool. A mark outlives its host's death.
    """

    vbd: str
    kind: str
    vdi: str | None = None
    sr: str | None = None
    read_only: bool = False
    known: bool = True
    locked_by: tuple[str, ...] = ()


class ObservedVM(Frozen, frozen=True, kw_only=True):
    """A virtual machine: no template, no snapshot, no control domain.

    `node` is where it is resident, `reserved_on` where XenAPI holds memory for it during a start,
    resume or migration; both are host uuids. `immobile` says why it cannot be migrated ("" if it can).
    `crashed` is true if the pool reported a crash of this guest since it was last started.
    `need` is the memory that XenAPI will ask of a node for it, overhead included.

    `started_epoch_s` is by the clock of the server that started it last, 0.0 where it is not known.
    `reported`: the agent in its guest has spoken since that start; `addresses` are those that it told
    and that can be reached from elsewhere, in the order of its interfaces, IPv4 first.

    `auto_poweron`: its own flag; where the pool's is on, too, every boot of any host starts it.
    """

    uuid: str
    name: str
    power: PowerState
    node: str | None = None
    reserved_on: str | None = None
    domain_type: str = "hvm"
    static_min: int = 0
    dynamic_min: int = 0
    dynamic_max: int = 0
    static_max: int = 0
    overhead: int = 0
    vcpus_max: int = 1
    vcpus_at_startup: int = 1
    shadow_multiplier: float = 1.0
    vcpu_unrestricted: bool = False
    tags: tuple[str, ...] = ()
    operations: tuple[Operation, ...] = ()
    blocked_operations: Mapping[str, str] = field(default_factory=dict)
    disks: tuple[Disk, ...] = ()
    suspend_sr: str | None = None
    networks: tuple[str, ...] = ()
    has_tools: bool = True
    immobile: str = ""
    crashed: bool = False
    hardware_platform: int = 0
    started_epoch_s: float = 0.0
    reported: bool = True
    addresses: tuple[str, ...] = ()
    auto_poweron: bool = False


class ObservedNode(Frozen, frozen=True, kw_only=True):
    """A XenAPI host. `srs` and `networks` are those attached on it; `cpus` are its physical ones.

    `control_memory` is what its control domain takes, overhead included. `serial` and `board_serial`
    are what the firmware of system and mainboard says, "" where it says nothing; where the maker has set
    none, every server may say the same. `power_on_mode` is how the pool can switch it on ("": it cannot).

    `boot_hint` is a hint at which boot this is, and never proof: it is worked out anew from clock and
    uptime at each start of the toolstack. A changed one may be the same boot after the clock was set;
    an unchanged one, a boot of which the toolstack has not told yet. It may add doubt, and end none.

    `started` is when its toolstack last started, as its record has it: a text to compare, by a clock
    that may be set.
    """

    uuid: str
    name: str
    address: str = ""
    enabled: bool = True
    live: bool = True
    memory_total: int = 0
    memory_overhead: int = 0
    control_memory: int = 0
    cpus: int = 0
    cpu_vendor: str = ""
    srs: frozenset[str] = frozenset()
    networks: frozenset[str] = frozenset()
    hardware_platforms: tuple[int, ...] = (0,)
    operations: tuple[Operation, ...] = ()
    serial: str = ""
    board_serial: str = ""
    power_on_mode: str = ""
    boot_hint: str = ""
    started: str = ""

    @property
    def upkeep(self) -> tuple[Operation, ...]:
        """Operations on the host itself. XenAPI lists every start and arrival of a VM there too."""
        return tuple(operation for operation in self.operations if operation.kind in UPKEEP)


UPKEEP = frozenset(
    {"evacuate", "shutdown", "reboot", "power_on", "apply_updates", "enable", "provision"}
)


class Storage(Frozen, frozen=True, kw_only=True):
    uuid: str
    name: str
    kind: str = ""
    shared: bool = True


class Network(Frozen, frozen=True, kw_only=True):
    """`internal`: no physical interface anywhere, so it does not reach beyond one node."""

    uuid: str
    name: str
    internal: bool = False


class Pool(Frozen, frozen=True, kw_only=True):
    """`term` is the highest that was claimed in the pool (0: none) and `term_holder` the node that did.

    `alone` is how often its leader says there that it led alone in it, and `alone_by` the whole mark
    of who said so last. `toolstack_started_epoch_s` is by the master's own clock; 0.0 where it is not
    known. `fences_itself`: the servers form a cluster for their storage, and switch themselves off
    where they lose it.
    """

    uuid: str
    name: str = ""
    master: str = ""
    ha_enabled: bool = False
    rolling_upgrade: bool = False
    auto_poweron: bool = False
    fences_itself: bool = False
    term: int = 0
    term_holder: str = ""
    alone: int = 0
    alone_by: str = ""
    toolstack_started_epoch_s: float = 0.0


class Copy(Frozen, frozen=True, kw_only=True):
    """Something of class VM that is never managed: `kind` is template, snapshot or copy."""

    uuid: str
    name: str
    kind: str


class Observed(Frozen, frozen=True, kw_only=True):
    """The pool as it was at `as_of_s` at the earliest.

    `as_of_s` (monotonic seconds) is a barrier: every change that the pool had committed before that
    moment is in here. It advances only by an answer of the pool, so `now - as_of_s` is the age on
    which decisions depend. `steady_since_s` is the moment since which the pool has answered without
    a gap: what it was asked while it hung may be carried out only after that.

    `resets` are VMs (uuids, sorted) whose records somebody else seems to have set to Halted, and that
    did not run since: that says nothing of their domains. `xapi.resets` tells by what, and what it
    cannot see.
    """

    as_of_s: float
    epoch_s: float
    by: str
    pool: Pool
    steady_since_s: float = 0.0
    nodes: Mapping[str, ObservedNode] = field(default_factory=dict)
    vms: Mapping[str, ObservedVM] = field(default_factory=dict)
    storages: Mapping[str, Storage] = field(default_factory=dict)
    networks: Mapping[str, Network] = field(default_factory=dict)
    tasks: tuple[Task, ...] = ()
    copies: tuple[Copy, ...] = ()
    resets: tuple[str, ...] = ()
    complete: bool = True
    missing: tuple[str, ...] = ()

    def age_s(self, mono_s: float) -> float:
        return max(0.0, mono_s - self.as_of_s)

    @property
    def boots(self) -> dict[str, str]:
        """The hint at each host's boot, by its uuid."""
        return {uuid: host.boot_hint for uuid, host in self.nodes.items()}


STALE_AFTER_S = 15.0
"""An observation older than this reads as unknown: nothing is decided from it."""
