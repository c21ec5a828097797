"""Facts: everything that a reconciler holds at one moment, for what is told and asked of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from membership.clock import Now
from membership.ledger import Ledger
from membership.view import View
from reconciler.accusing import Hearing
from reconciler.actions import Plan
from reconciler.adoption import adopt
from reconciler.deaths import Deaths
from reconciler.drift import Drift
from reconciler.drilling import Seen
from reconciler.journal import JournalState
from reconciler.messages import PoolLost
from reconciler.observed import STALE_AFTER_S, Observed
from reconciler.revisions import Revisions
from reconciler.status import Survives
from reconciler.takeover import Stage
from schema.model import VM, Desired, Node


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a reconciler knows at one moment.

    `plan` is that of the revision in force when it was made, `planned`; `proposed` is that of a head
    that waits for approval. `hearing` is what nodes are judged by, None before anything was observed;
    `deaths` what they were judged as at the last step; `readings` the latest one of each fence device
    (by node and device), on the node that leads. `hindrance` says what keeps this node, where it
    leads, from acting; `decides`: it says which revision is in force.
    """

    me: str
    version: str
    cluster_id: str
    view: View
    ledger: Ledger
    journal: JournalState
    revisions: Revisions
    observed: Observed | None
    lost: PoolLost | None
    drift: Drift | None
    plan: Plan
    planned: int | None
    proposed: Plan | None
    proof_s: float | None
    looks: int
    answered_s: float | None
    failures: int
    hearing: Hearing | None
    deaths: Deaths | None
    readings: Mapping[tuple[str, str], Seen]
    stage: Stage = Stage.IDLE
    hindrance: str = ""
    decides: bool = True
    survives: Survives | None = None

    @property
    def desired(self) -> Desired | None:
        """The tree in force."""
        target = self.revisions.target
        return target.desired if target is not None else None

    @property
    def subjects(self) -> Mapping[str, str]:
        """XenAPI's uuid of each object of the tree, by its name for people."""
        if self.desired is None or self.observed is None:
            return {}
        adoption = self.drift.adoption if self.drift is not None else None
        adoption = adoption or adopt(self.desired, self.observed)
        names = {f"vm/{vm.name}": real.uuid for vm, real in adoption.vms}
        names.update({f"node/{node.name}": host.uuid for node, host in adoption.nodes})
        return names

    def wished_anew(self, before: Desired | None) -> Iterator[tuple[str, str]]:
        """The objects of which this tree wishes something else than the one `before`, with their uuids."""
        if before is None or self.desired is None:
            return
        for name, subject in self.subjects.items():
            if wish_of(before, name) != wish_of(self.desired, name):
                yield name, subject

    def stale(self, now: Now) -> bool:
        """Whether nothing may be decided from what was observed last."""
        return self.observed is None or self.observed.age_s(now.mono_s) > STALE_AFTER_S


def wish_of(desired: Desired, name: str) -> VM | Node | None:
    """What a tree says of the object of this name for people."""
    kind, _, rest = name.partition("/")
    return desired.vms.get(rest) if kind == "vm" else desired.nodes.get(rest)
