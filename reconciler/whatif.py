"""What if: what would become of these nodes and of each VM on them, if they fell silent now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from math import ceil

from fencing.devices import levels
from reconciler.accusing import Hearing
from reconciler.actions import UP, Blocked, Rejection
from reconciler.adoption import service_vms
from reconciler.course import Began, Ran, ran
from reconciler.deaths import recoverable
from reconciler.messages import Reply
from reconciler.mustering import timing
from reconciler.observed import STALE_AFTER_S, ObservedVM
from reconciler.status import Verdict
from reconciler.striking import Fate, NodeLoss, Struck, bereft, silence_s, struck
from schema.model import VM, Desired, Frozen, Manage, VmState


class Outcome(StrEnum):
    """What becomes of a VM whose node dies: it runs again, it does not though it should, or nobody is to
    bring it back."""

    RETURNS = "returns"
    DOWN = "down"
    SPARED = "spared"


class VmLoss(Frozen, frozen=True, kw_only=True):
    """One VM on a node that falls silent. `object` is its name for people: in quotes where no file
    of the tree names it. `on` is where it is, or died before, `to` where it would be started."""

    object: str
    on: str
    outcome: Outcome
    to: str | None = None
    reason: str = ""
    message: str = ""
    remedy: str = ""
    needs: int | None = None
    best: Rejection | None = None


class Promotion(Frozen, frozen=True, kw_only=True):
    """The pool's master is among the dead. `candidate` would become the master (None: it is not known
    who), by a copy of the database `age_s` old."""

    master: str
    candidate: str | None = None
    age_s: float | None = None


class WhatIf(Frozen, frozen=True, kw_only=True):
    """`first_s` and `last_s`: about so many seconds after the silence begins the first and the last start
    is ordered, `longest_s` how long the first may take at most; None where none is."""

    down: tuple[str, ...]
    nodes: tuple[NodeLoss, ...]
    vms: tuple[VmLoss, ...]
    promotion: Promotion | None = None
    first_s: float | None = None
    last_s: float | None = None
    longest_s: float | None = None

    @property
    def returns(self) -> bool:
        """Whether everything comes back that is to."""
        return all(row.outcome is not Outcome.DOWN for row in self.vms)


def verdict_of(found: WhatIf) -> Verdict:
    """All comes back; some stays down; or nothing would be done at all."""
    if found.returns:
        return Verdict.CONVERGED
    held = [loss for loss in found.nodes if loss.fate is Fate.HELD]
    back = any(row.outcome is Outcome.RETURNS for row in found.vms)
    return Verdict.DIFFERS if back or not held else Verdict.REFUSED


def foretold(at: Hearing | None, down: Sequence[str]) -> WhatIf | Reply:
    """The answer to a person, or why there is none. `at` is None before there is a tree and a pool."""
    if at is None or at.observed.age_s(at.now.mono_s) > STALE_AFTER_S:
        message = "the pool is not seen, so what would become of it is not known"
        return Reply(accepted=False, reason="NotObserved", message=message)
    known = at.adoption.node_uuids
    stranger = next((name for name in down if name not in known), None)
    if stranger is not None:
        there = ", ".join(known) or "none"
        message = f"node/{stranger} is no node of the pool that runs VMs; there is {there}"
        return Reply(accepted=False, reason="UnknownObject", message=message)
    return what_if(at, down)


def what_if(at: Hearing, down: Sequence[str]) -> WhatIf:
    """`down`: names of run nodes that the pool has. Everything is judged as it stands at this moment."""
    supposed = struck(at, down)
    came = ran(supposed)
    starts = came.starts if _withholding(supposed) is None else ()
    first_s = _proven_s(at, supposed) + 2 * REFUSED_S if starts else None
    return WhatIf(
        down=tuple(loss.node for loss in supposed.nodes),
        nodes=supposed.nodes,
        vms=tuple(_vms(supposed, came)),
        promotion=_promotion(supposed),
        first_s=first_s,
        last_s=None if first_s is None else first_s + _starting_s(starts, at.desired),
        longest_s=None if first_s is None else _longest_s(at, supposed),
    )


def fits(at: Hearing, down: Sequence[str]) -> tuple[VmLoss, ...]:
    """What becomes of each VM, the deaths of these nodes once proven."""
    supposed = bereft(at, down)
    return tuple(_vms(supposed, ran(supposed)))


def _withholding(supposed: Struck) -> NodeLoss | None:
    """The pool's master, where it is silent and not proven dead: nothing is started anywhere then."""
    lost = (loss for loss in supposed.nodes if loss.master and loss.fate is not Fate.PROVEN)
    return next(lost, None)


def _promotion(supposed: Struck) -> Promotion | None:
    """Who that would be is not known before somebody has compared the copies of the database."""
    master = next((loss.node for loss in supposed.nodes if loss.master), None)
    return None if master is None else Promotion(master=master)


# --- VMs ----------------------------------------------------------------------------------------


def _vms(supposed: Struck, came: Ran) -> Iterator[VmLoss]:
    adoption, observed = supposed.adoption, supposed.at.observed
    homes = {start.vm: adoption.node_name(start.node) for start in came.starts}
    wishes = {real.uuid: vm for vm, real in adoption.vms}
    own = service_vms(supposed.at.desired)
    master = _withholding(supposed)
    rows: list[VmLoss] = []
    for uuid, real in observed.vms.items():
        loss = _takes_along(real, supposed)
        if loss is None or uuid in own:
            continue
        vm = wishes.get(uuid)
        if vm is None or not recoverable(vm):
            rows.append(_spared(vm, real, loss))
        elif uuid in homes and master is not None:
            message = f"{master.node}, the pool's master, is not proven dead: {master.message}"
            row = VmLoss(object=f"vm/{vm.name}", on=loss.node, outcome=Outcome.DOWN)
            rows.append(_because(row, "NoMaster", message, master.remedy))
        elif uuid in homes:
            name = f"vm/{vm.name}"
            row = VmLoss(object=name, on=loss.node, outcome=Outcome.RETURNS, to=homes[uuid])
            rows.append(row)
        else:
            rows.append(_down(vm, real, loss, came))
    yield from sorted(rows, key=lambda row: (row.on, row.object))


def _takes_along(real: ObservedVM, supposed: Struck) -> NodeLoss | None:
    """Which of these nodes the VM is on, or died with before; None where none of them."""
    lost = supposed.deaths.lost.get(real.uuid)
    if real.power in UP:
        home = supposed.adoption.node_name(real.node)
    else:
        home = lost.node if lost is not None else ""
    return next((loss for loss in supposed.nodes if loss.node == home), None)


def _spared(vm: VM | None, real: ObservedVM, loss: NodeLoss) -> VmLoss:
    reason, message = _why_spared(vm)
    name = f'"{real.name}"' if vm is None else f"vm/{vm.name}"
    return VmLoss(object=name, on=loss.node, outcome=Outcome.SPARED, reason=reason, message=message)


def _why_spared(vm: VM | None) -> tuple[str, str]:
    if vm is None:
        return "Unmanaged", "it is in no file of the tree, or state is ignored"
    if not vm.recovery.enabled:
        return "RecoveryOff", "recovery.enabled is false"
    if vm.manage is Manage.OBSERVE:
        return "Manage", "manage is observe"
    assert vm.state in (VmState.HALTED, VmState.RETIRED)
    return "State", f"state is {vm.state.value}"


def _down(vm: VM, real: ObservedVM, loss: NodeLoss, came: Ran) -> VmLoss:
    """The refusal of the last plan; or that its node was never proven dead."""
    row = VmLoss(object=f"vm/{vm.name}", on=loss.node, outcome=Outcome.DOWN)
    if loss.fate is not Fate.PROVEN:
        message = f"{loss.node} is not proven dead: {loss.message}"
        return _because(row, loss.reason, message, loss.remedy)
    refusal = came.refused.get(real.uuid) or came.nodes.get(loss.node)
    if refusal is not None:
        return _refused(row, refusal)
    waits = came.waiting.get(real.uuid)
    if waits is not None:
        return _because(row, "Waits", waits.message or waits.on, f"cxm why {row.object}")
    return _because(row, "Unknown", "no plan has a row of it", f"cxm why {row.object}")


def _because(row: VmLoss, reason: str, message: str, remedy: str) -> VmLoss:
    return VmLoss(
        object=row.object,
        on=row.on,
        outcome=row.outcome,
        reason=reason,
        message=message,
        remedy=remedy,
    )


def _refused(row: VmLoss, refusal: Blocked) -> VmLoss:
    return VmLoss(
        object=row.object,
        on=row.on,
        outcome=row.outcome,
        reason=refusal.reason,
        message=refusal.message,
        remedy=refusal.remedy,
        needs=refusal.needs,
        best=refusal.best,
    )


# --- how long it takes --------------------------------------------------------------------------

LOOK_S = 2.0
"""A look at a device, of which a node that is on needs one before and one after its `off`."""

OFF_S = 5.0
"""From an `off` to a server without power."""

TAKEOVER_S = 4.0
"""What a new leader needs beside the waiting, to claim its term and look at the pool anew."""

REFUSED_S = 10.0
"""Until the pool gives up reaching a dead server, mostly. Both the reset of the records and the
write-off of the host wait for that."""

REFUSED_LONGEST_S = 130.0
"""The same where TCP tries to its end."""

START_S = 10.0
"""A start, as plans have it."""


def _noticed_s(at: Hearing, supposed: Struck) -> float:
    """From the silence to the judgement. Where the leader is silent, another one comes first."""
    judged_s = silence_s(at) + at.desired.cluster.heartbeat.interval_s
    if at.view.leader not in {loss.node for loss in supposed.nodes}:
        return judged_s
    beat = timing(at.desired)
    return max(judged_s, beat.promise_s + beat.wait_s + TAKEOVER_S)


def _proven_s(at: Hearing, supposed: Struck) -> float:
    return _noticed_s(at, supposed) + LOOK_S + OFF_S + LOOK_S


def _longest_s(at: Hearing, supposed: Struck) -> float:
    proven = [loss for loss in supposed.nodes if loss.fate is Fate.PROVEN]
    fencing = [_fencing_s(at.desired, loss) for loss in proven]
    return _noticed_s(at, supposed) + max(fencing, default=0.0) + 2 * REFUSED_LONGEST_S


def _fencing_s(desired: Desired, loss: NodeLoss) -> float:
    """Each level that is tried before the one that proves fails by its time-outs at worst."""
    seconds = 0.0
    for level in levels(desired, loss.node):
        seconds += 3 * max((use.longest_s for use in level), default=0.0)
        if tuple(use.device for use in level) == loss.by:
            break
    return seconds


def _starting_s(starts: Iterable[Began], desired: Desired) -> float:
    """From the first start to the last: wave after wave, so many at once on each node as the tree lets."""
    per_node = max(1, desired.cluster.limits.starts_per_node)
    groups: dict[tuple[int, int], Counter[str]] = {}
    for start in starts:
        groups.setdefault((start.wave, start.round), Counter())[start.node] += 1
    turns = [max(ceil(count / per_node) for count in nodes.values()) for nodes in groups.values()]
    return START_S * max(0, sum(turns) - 1)
