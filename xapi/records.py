"""The records of XenAPI, reduced to the fields that we read.

Field names are XenAPI's. Fields that are missing (an older server) take the default that means
"nothing special"; unknown ones are dropped. Everything else is forgotten while decoding, so that a
change of a field which we do not read is no change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, field

NULL = "OpaqueRef:NULL"

LOCK_KEY = "host_"
"""With a host's reference behind it: a key in a VDI's sm_config, while that host holds the disk."""

TXN_KEY = "cxm:txn"
"""Key in a task's other_config by which our own tasks are known."""

PENDING = frozenset({"pending", "cancelling"})
"""In these states a task is not over."""

Map = dict[str, str]


class Record(Struct, frozen=True):
    """One object; `uuid` is required of every class."""

    uuid: str


R = TypeVar("R", bound=Record)


class PoolRecord(Record, frozen=True):
    name_label: str = ""
    master: str = NULL
    ha_enabled: bool = False
    other_config: Map = field(default_factory=dict)


class HostRecord(Record, frozen=True):
    name_label: str = ""
    address: str = ""
    enabled: bool = False
    metrics: str = NULL
    memory_overhead: int = 0
    PBDs: list[str] = field(default_factory=list)
    PIFs: list[str] = field(default_factory=list)
    bios_strings: Map = field(default_factory=dict)
    power_on_mode: str = ""
    cpu_info: Map = field(default_factory=dict)
    current_operations: Map = field(default_factory=dict)
    other_config: Map = field(default_factory=dict)
    virtual_hardware_platform_versions: list[int] = field(default_factory=list)


class HostMetricsRecord(Record, frozen=True):
    live: bool = False
    memory_total: int = 0


class VmRecord(Record, frozen=True):
    name_label: str = ""
    is_a_template: bool = False
    is_a_snapshot: bool = False
    is_control_domain: bool = False
    power_state: str = ""
    resident_on: str = NULL
    scheduled_to_be_resident_on: str = NULL
    domain_type: str = "unspecified"
    HVM_boot_policy: str = ""
    HVM_shadow_multiplier: float = 1.0
    hardware_platform_version: int = 0
    memory_static_min: int = 0
    memory_dynamic_min: int = 0
    memory_dynamic_max: int = 0
    memory_static_max: int = 0
    memory_overhead: int = 0
    VCPUs_max: int = 1
    VCPUs_at_startup: int = 1
    tags: list[str] = field(default_factory=list)
    platform: Map = field(default_factory=dict)
    current_operations: Map = field(default_factory=dict)
    blocked_operations: Map = field(default_factory=dict)
    other_config: Map = field(default_factory=dict)
    VBDs: list[str] = field(default_factory=list)
    VIFs: list[str] = field(default_factory=list)
    VGPUs: list[str] = field(default_factory=list)
    VUSBs: list[str] = field(default_factory=list)
    attached_PCIs: list[str] = field(default_factory=list)
    metrics: str = NULL
    guest_metrics: str = NULL
    suspend_VDI: str = NULL


class VmMetricsRecord(Record, frozen=True):
    start_time: str = ""
    nomigrate: bool = False
    nested_virt: bool = False


class GuestMetricsRecord(Record, frozen=True):
    PV_drivers_detected: bool = False
    PV_drivers_version: Map = field(default_factory=dict)
    os_version: Map = field(default_factory=dict)
    networks: Map = field(default_factory=dict)
    live: bool = True
    other: Map = field(default_factory=dict)


class TaskRecord(Record, frozen=True):
    name_label: str = ""
    status: str = ""
    progress: float = 0.0
    error_info: list[str] = field(default_factory=list)
    other_config: Map = field(default_factory=dict)


class SrRecord(Record, frozen=True):
    name_label: str = ""
    type: str = ""
    shared: bool = False


class PbdRecord(Record, frozen=True):
    SR: str = NULL
    host: str = NULL
    currently_attached: bool = False


class VdiRecord(Record, frozen=True):
    SR: str = NULL
    VBDs: list[str] = field(default_factory=list)
    sm_config: Map = field(default_factory=dict)


class VbdRecord(Record, frozen=True):
    VM: str = NULL
    VDI: str = NULL
    type: str = "Disk"
    mode: str = "RW"
    empty: bool = False


class VifRecord(Record, frozen=True):
    VM: str = NULL
    network: str = NULL


class NetworkRecord(Record, frozen=True):
    name_label: str = ""
    PIFs: list[str] = field(default_factory=list)
    other_config: Map = field(default_factory=dict)


class PifRecord(Record, frozen=True):
    host: str = NULL
    network: str = NULL
    currently_attached: bool = False


class ClusterHostRecord(Record, frozen=True):
    """That there is one is all we need to know."""


class MessageRecord(Record, frozen=True):
    name: str = ""
    obj_uuid: str = ""
    timestamp: str = ""


CLASSES: Mapping[str, type[Record]] = {
    "pool": PoolRecord,
    "host": HostRecord,
    "host_metrics": HostMetricsRecord,
    "vm": VmRecord,
    "vm_metrics": VmMetricsRecord,
    "vm_guest_metrics": GuestMetricsRecord,
    "task": TaskRecord,
    "sr": SrRecord,
    "pbd": PbdRecord,
    "vdi": VdiRecord,
    "vbd": VbdRecord,
    "vif": VifRecord,
    "network": NetworkRecord,
    "pif": PifRecord,
    "cluster_host": ClusterHostRecord,
    "message": MessageRecord,
}
"""The classes that we follow, in the lower case in which events name them."""


class Unreadable(Exception):
    """A record whose fields are not what XenAPI promises."""


def decode_record(cls: str, snapshot: Any, kind: type[R]) -> R:
    """`snapshot` as a record of `cls`, whose type is `kind`.

    Ints may come as digits: servers from before JSON numbers send them so. Raises Unreadable.
    """
    try:
        return msgspec.convert(snapshot, type=kind, strict=False)
    except msgspec.ValidationError as error:
        raise Unreadable(f"{cls}: {error}") from None
