"""Diff: what is desired against what is observed, as rows for people. No question of permission here."""

from __future__ import annotations

from collections.abc import Iterator

from membership.clock import Now
from membership.ledger import Ledger
from reconciler.actions import Blocked, Cause, Told, Verb
from reconciler.adoption import Adoption, Unmatched, adopt, service_vms, started_by_pool
from reconciler.aspects import desired_power
from reconciler.deaths import Deaths
from reconciler.drift import Change, Drift, NodeChange
from reconciler.journal import JournalState
from reconciler.naming import listed
from reconciler.observed import Observed, ObservedNode
from reconciler.placement import has_domain
from reconciler.readiness import Runs, told, unready
from reconciler.recovery_rows import recovery_rows, silence_rows
from reconciler.vm_rows import ATTEMPTS, Setting, VmCase
from schema.model import Desired, Node, VmState

Row = Change | Blocked | Told


def diff(
    desired: Desired,
    observed: Observed,
    ledger: Ledger,
    journal: JournalState,
    deaths: Deaths,
    runs: Runs,
    now: Now,
) -> Drift:
    """Every difference between the tree and the pool, each with its cause.

    Equal inputs give equal rows in the order of names; a tree that the pool fulfils gives none.
    """
    adoption = adopt(desired, observed)
    emptied = draining(desired, ledger)
    rows = list(_rows(desired, observed, adoption, emptied, journal, deaths, now))
    rows += silence_rows(deaths, adoption)
    rows += recovery_rows(deaths, adoption, observed)
    lacks = unready(adoption, runs, ledger, now)
    rows += told(adoption, lacks)
    return Drift(
        adoption=adoption,
        deaths=deaths,
        changes=tuple(row for row in rows if not isinstance(row, Blocked | Told)),
        blocked=tuple(row for row in rows if isinstance(row, Blocked)),
        told=tuple(row for row in rows if isinstance(row, Told)),
        closed=closed(desired, emptied, deaths),
        draining=emptied,
        unready=lacks,
    )


def _rows(
    desired: Desired,
    observed: Observed,
    adoption: Adoption,
    emptied: frozenset[str],
    journal: JournalState,
    deaths: Deaths,
    now: Now,
) -> Iterator[Row]:
    for node, host in adoption.nodes:
        if deaths.certified(host.uuid) is None:
            ours = host.uuid in journal.own_cordons
            yield from _node(node, host, node.name in emptied, ours, deaths)
    budget = desired.cluster.recovery.max_restarts
    setting = Setting(adoption, emptied, journal, deaths.lost, budget, now)
    remembered = journal.sightings.get
    for vm, real in adoption.vms:
        yield from VmCase(vm, real, remembered(real.uuid), setting).rows()
    yield from (_unmatched(item) for item in adoption.unmatched)
    for node in adoption.absent_nodes:
        yield _absent(node, complete=observed.complete)
    started = started_by_pool(desired, observed)
    if started:
        message = f"its auto_poweron starts {listed(started)} at any host's boot, against this tree"
        yield Told(object="pool", reason="AutoPowerOn", message=message)
    if emptied:
        yield from _strangers(desired, observed, adoption, emptied)


# --- nodes -----------------------------------------------------------------------------------------


def draining(desired: Desired, ledger: Ledger) -> frozenset[str]:
    """Nodes to be emptied: by maintenance in the tree, or by command."""
    asked = ledger.drains()
    return frozenset(
        node.name
        for node in desired.nodes.values()
        if node.name in asked or (node.maintenance is not None and node.maintenance.drain)
    )


def closed(
    desired: Desired, emptied: frozenset[str], deaths: Deaths
) -> tuple[tuple[str, str], ...]:
    """Nodes on which nothing is put, with the reason."""
    meant = {
        node.name: "Draining" if node.name in emptied else "Cordoned"
        for node in desired.nodes.values()
        if node.name in emptied or _cordoned(node)
    }
    return tuple((dict(deaths.closed()) | meant).items())


def _cordoned(node: Node) -> bool:
    return not node.schedulable or node.maintenance is not None


def _node(
    node: Node, host: ObservedNode, drained: bool, ours: bool, deaths: Deaths
) -> Iterator[Row]:
    """Close a node for others too; open it again only if it was we who closed it."""
    closing = drained or _cordoned(node)
    if closing and host.enabled:
        cause = Cause.DRAIN if drained else Cause.INTENT
        reason = "Draining" if drained else "Cordoned"
        message = "no VM is to start here or arrive"
        yield NodeChange(node, host, Verb.CORDON, cause, reason, message)
    elif not closing and not host.enabled:
        yield _closed(node, host, ours, deaths)
    if not host.live:
        yield _told(node, "NotLive", "the pool does not hear this host")


def _closed(node: Node, host: ObservedNode, ours: bool, deaths: Deaths) -> Row:
    """A node that is closed and is to be open. One that was written off is mostly opened by its own
    toolstack, once that has compared what runs; where it is not, it is we who owe that."""
    if not ours:
        message = "closed in the pool, not by cxm: by somebody, or its toolstack is starting"
        return _told(node, "DisabledByOther", message)
    certificate = deaths.died(node.name, host.uuid)
    if certificate is None:
        message = "VMs may start here and arrive again"
        return NodeChange(node, host, Verb.UNCORDON, Cause.INTENT, "Schedulable", message)
    if host.uuid not in deaths.pool.reporting:
        message = f"closed since cxm had it written off as dead ({certificate.id}); opened once it answers"
        return _told(node, "WrittenOff", message)
    message = f"it is back from its death ({certificate.id}): VMs may start here again"
    return NodeChange(node, host, Verb.UNCORDON, Cause.RECOVERY, "Returned", message)


def _absent(node: Node, *, complete: bool) -> Told:
    uuid = node.host.uuid if node.host is not None else "?"
    if complete:
        return _told(node, "HostNotFound", f"no host of the pool has uuid {uuid}")
    return _told(node, "Unknown", f"host {uuid} was not seen, and the observation is incomplete")


def _told(node: Node, reason: str, message: str) -> Told:
    return Told(object=f"node/{node.name}", reason=reason, message=message)


# --- what the tree and the pool do not share ---------------------------------------------------------


def _unmatched(item: Unmatched) -> Blocked:
    wish = desired_power(item.vm)
    return Blocked(
        object=f"vm/{item.vm.name}",
        verb=Verb.CHANGE if wish is None else ATTEMPTS[wish],
        cause=Cause.INTENT,
        reason=item.reason,
        message=item.message,
        remedy=item.remedy,
    )


def _strangers(
    desired: Desired, observed: Observed, adoption: Adoption, emptied: frozenset[str]
) -> Iterator[Blocked]:
    """VMs on a node that is to be emptied, but that no tree gives into cxm's hands."""
    known = {real.uuid for _, real in adoption.vms} | service_vms(desired)
    ignored = {vm.match.uuid for vm in desired.vms.values() if vm.state is VmState.IGNORED}
    for uuid in sorted(observed.vms):
        real = observed.vms[uuid]
        node = adoption.node_name(real.node)
        if uuid in known or node not in emptied or not has_domain(real):
            continue
        place = "is state: ignored" if uuid in ignored else "is in no file of the tree"
        yield Blocked(
            object=f"node/{node}",
            verb=Verb.MIGRATE,
            cause=Cause.DRAIN,
            reason="Unmanaged",
            message=f'"{real.name}" is on {node} and {place}',
            remedy="move it yourself, or give it to cxm with manage: enforce",
        )
