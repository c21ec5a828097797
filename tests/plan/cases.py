"""The form of a plan case: what may stand in a case's file. README.md explains it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field
from ruamel.yaml import YAML

HERE = Path(__file__).parent


class Form(Struct, forbid_unknown_fields=True, kw_only=True):
    """Base: an unknown key in a case is an error, never ignored."""


class DesiredForm(Form):
    """Documents by name, as in a tree; `None` is an empty document."""

    cluster: dict[str, Any] = {}
    nodes: dict[str, dict[str, Any] | None] = {}
    vms: dict[str, dict[str, Any] | None] = {}
    profiles: dict[str, dict[str, Any]] = {}
    placement: dict[str, dict[str, Any]] = {}
    windows: dict[str, dict[str, Any]] = {}
    devices: dict[str, dict[str, Any]] = {}
    policies: dict[str, dict[str, Any]] = {}


class NodeForm(Form):
    memory: str = "64GiB"
    dom0: str = "0KiB"
    overhead: str = "0KiB"
    cpus: int = 16
    vendor: str = "GenuineIntel"
    enabled: bool = True
    live: bool = True
    storages: list[str] | None = None
    networks: list[str] | None = None
    platforms: tuple[int, ...] = (0, 1, 2)


class OperationForm(Form):
    kind: str
    task: str = ""
    txn: str = ""


class VmForm(Form):
    """`on` makes it Running there unless `power` says otherwise; memory is all four limits."""

    name: str | None = None
    power: str | None = None
    on: str | None = None
    reserved_on: str | None = None
    memory: str = "4GiB"
    dynamic_min: str | None = None
    static_min: str = "16MiB"
    overhead: str = "0KiB"
    vcpus: int = 2
    vcpus_max: int | None = None
    vcpu_unrestricted: bool = False
    domain_type: str = "hvm"
    tools: bool = True
    tags: list[str] = []
    storages: tuple[str, ...] = ("nfs",)
    locked_by: list[str] = []
    """Nodes whose marks are on its disks."""
    cd: str | None = None
    suspend_sr: str | None = None
    networks: tuple[str, ...] = ("lan",)
    operations: list[OperationForm] = []
    blocked: dict[str, str] = {}
    immobile: str = ""
    crashed: bool = False
    auto_poweron: bool = False
    platform: int = 0
    reported: bool = True
    """Whether the guest's agent has spoken since the start; `started` is how long ago that was."""
    started: str | None = None
    addresses: tuple[str, ...] = ()


class PoolForm(Form):
    ha: bool = False
    rolling_upgrade: bool = False
    auto_poweron: bool = False


class NetworkForm(Form):
    internal: bool = False


class StorageForm(Form):
    shared: bool = True


class TaskForm(Form):
    name: str
    txn: str = ""


class ObservedForm(Form):
    nodes: dict[str, NodeForm | None] | None = None
    vms: dict[str, VmForm | None] = {}
    networks: dict[str, NetworkForm | None] = field(default_factory=lambda: {"lan": None})
    storages: dict[str, StorageForm | None] = field(default_factory=lambda: {"nfs": None})
    tasks: list[TaskForm] = []
    copies: dict[str, str] = {}
    pool: PoolForm = field(default_factory=PoolForm)
    complete: bool = True
    missing: list[str] = []
    age: str = "0s"


class BeforeForm(Form):
    """What differed `ago`: VMs as they were then, all else as now.

    `web1: {}` was halted; `web1:` with nothing was as it is now.
    """

    ago: str
    vms: dict[str, VmForm | None] = {}


class FlightForm(Form):
    """A call under way: `call` and its arguments as in the journal, but objects by name.

    `answered` (ago) and `answer` (done, unsure) tell of its return; without them it still runs.
    """

    call: str
    vm: str | None = None
    node: str | None = None
    size: str | None = None
    verb: str = "start"
    reason: str = "NotRunning"
    ago: str = "2s"
    answered: str | None = None
    answer: str = "done"


class BackoffForm(Form):
    """`left` is what remains of the wait; without it the object has stalled. `refused`: by nodes."""

    failures: int = 1
    left: str | None = None
    reason: str = "INTERNAL_ERROR"
    refused: list[str] = []


class OwedForm(Form):
    """cxm stopped this VM on the way to something and owes it a start."""

    reason: str = "MemoryChanged"
    cause: str = "intent"
    node: str | None = None
    ago: str = "1m"


class JournalForm(Form):
    in_flight: list[FlightForm] = []
    backoff: dict[str, BackoffForm] = {}
    owed_starts: dict[str, OwedForm] = {}
    cordons: list[str] = []
    retried: list[str] = []


class FreezeForm(Form):
    object: str
    scopes: tuple[str, ...] = ("intent", "drift", "rebalance")
    left: str | None = "1h"


class LedgerForm(Form):
    freeze: list[FreezeForm] = []
    drain: list[str] = []
    hold: list[str] = []
    approved: bool | None = None
    places: dict[str, list[str]] = {}
    """VM -> the nodes of which the ledger tells that it may run there."""
    certificates: dict[str, str] = {}
    """Node -> the kind of the certificate of its death, later than any place."""
    lost: dict[str, str] = {}
    """VM -> the node with which it died."""
    unproven: dict[str, str] = {}
    """Node that is held -> what its devices said."""
    reset: list[str] = []
    """VMs whose records were reset by somebody."""
    ready: dict[str, str] = {}
    """VM -> by what its guest answered, since the start that is observed."""


class Case(Form, kw_only=True):
    """One rule, as inputs and the plan that follows from them."""

    rule: str
    desired: DesiredForm
    observed: ObservedForm
    before: list[BeforeForm] = []
    journal: JournalForm = field(default_factory=JournalForm)
    ledger: LedgerForm = field(default_factory=LedgerForm)
    view: str = "leader"
    silent: dict[str, str] = {}
    """Node -> what is believed of it."""
    now: str = "2026-11-24T12:00:00+00:00"
    expect: list[str]
    uninterrupted: str = ""


def files() -> list[Path]:
    return sorted(HERE.glob("*/*.yaml"))


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def read(path: Path) -> Case:
    """The case in this file. Raises msgspec.ValidationError with the place of what is wrong."""
    plain = YAML(typ="safe", pure=True).load(path.read_text("utf-8"))
    return msgspec.convert(plain, Case)


def cases() -> Iterator[tuple[str, Case]]:
    for path in files():
        yield name(path), read(path)
