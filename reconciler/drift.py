"""Drift: the rows between what is desired and what is observed, before anybody asks what may be done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.actions import Blocked, Cause, Disruption, Told, Verb
from reconciler.adoption import Adoption
from reconciler.deaths import Deaths
from reconciler.observed import ObservedNode, ObservedVM
from reconciler.readiness import Lack
from reconciler.records import Aspect
from schema.model import VM, Node


@dataclass(frozen=True, slots=True)
class VmChange:
    """One row about one VM. `aspects` are what it mends.

    `since_s` is when drift was first seen, None for anything but drift; `crashed` tells a crash of the
    guest, which nobody meant, from what somebody may have meant; `crashes` counts those within the
    budget's window. `foreign` counts changes by others while they are too many, else it is 0.
    """

    vm: VM
    real: ObservedVM
    verb: Verb
    cause: Cause
    reason: str
    message: str
    aspects: tuple[Aspect, ...]
    disruption: Disruption = Disruption.NONE
    since_s: float | None = None
    crashed: bool = False
    crashes: int = 0
    foreign: int = 0

    @property
    def object(self) -> str:
        return f"vm/{self.vm.name}"

    @property
    def subject(self) -> str:
        return self.real.uuid


@dataclass(frozen=True, slots=True)
class NodeChange:
    """One row about one node: close it for others too (cordon), or open what we closed (uncordon)."""

    node: Node
    host: ObservedNode
    verb: Verb
    cause: Cause
    reason: str
    message: str

    @property
    def object(self) -> str:
        return f"node/{self.node.name}"

    @property
    def subject(self) -> str:
        return self.host.uuid


Change = VmChange | NodeChange


@dataclass(frozen=True, slots=True)
class Drift:
    """Everything that differs. `closed`: node name -> why nothing may be put there; `unready`: uuid of a VM
    that runs -> what it lacks to be ready."""

    adoption: Adoption
    deaths: Deaths
    changes: tuple[Change, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    told: tuple[Told, ...] = ()
    closed: tuple[tuple[str, str], ...] = ()
    draining: frozenset[str] = frozenset()
    unready: Mapping[str, Lack] = field(default_factory=dict)
