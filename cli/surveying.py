"""What an operator should know of a pool before cxm is let near it: facts, from one observation."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from cli.importing import Imported, imported
from membership.clock import Now
from membership.ledger import Drain, Fact, Ledger
from membership.view import View, single
from reconciler.accusing import Hearing
from reconciler.actions import UP, Blocked
from reconciler.deaths import calm
from reconciler.diff import diff
from reconciler.journal import JournalState
from reconciler.memory import free, room
from reconciler.observed import Observed
from reconciler.plan import plan
from reconciler.probing import Probing
from reconciler.whatif import Outcome, VmLoss, fits
from schema.model import Desired, Manage, Mode
from schema.tree import load

# The tree that is supposed here is never written; any id will do.
_NO_CLUSTER = "00000000-0000-4000-8000-000000000000"


class SurveyedNode(Struct, frozen=True, kw_only=True):
    """Sizes in bytes. `stays` are the VMs that a drain would not get off it, and why; `lost` those that
    would not run again elsewhere if it died, its death once proven."""

    name: str
    uuid: str
    address: str
    enabled: bool
    live: bool
    vms_running: int
    memory_total: int
    memory_free: int
    stays: tuple[Blocked, ...] = ()
    lost: tuple[VmLoss, ...] = ()


class Survey(Struct, frozen=True, kw_only=True):
    """`double`: names that several VMs have, with their uuids. `left_out` counts by kind."""

    pool: str
    pool_uuid: str
    master: str
    ha_enabled: bool
    rolling_upgrade: bool
    nodes: tuple[SurveyedNode, ...]
    vms: int
    running: int
    double: Mapping[str, Sequence[str]]
    renamed: tuple[tuple[str, str], ...]
    left_out: Mapping[str, int]
    missing: tuple[str, ...]


def survey(observed: Observed, now: Now) -> Survey:
    """The survey of a pool as it was seen."""
    tree = imported(observed, _NO_CLUSTER, manage=Manage.ENFORCE)
    names: dict[str, list[str]] = defaultdict(list)
    for vm in observed.vms.values():
        names[vm.name].append(vm.uuid)
    running = [vm for vm in observed.vms.values() if vm.power in UP]
    return Survey(
        pool=observed.pool.name,
        pool_uuid=observed.pool.uuid,
        master=_name(observed, observed.pool.master),
        ha_enabled=observed.pool.ha_enabled,
        rolling_upgrade=observed.pool.rolling_upgrade,
        nodes=_nodes(observed, tree, Counter(vm.node for vm in running), now),
        vms=len(observed.vms),
        running=len(running),
        double={name: sorted(uuids) for name, uuids in sorted(names.items()) if len(uuids) > 1},
        renamed=tree.renamed,
        left_out=tree.left_out,
        missing=observed.missing,
    )


def _name(observed: Observed, uuid: str) -> str:
    host = observed.nodes.get(uuid)
    return host.name if host is not None else uuid


def _nodes(
    observed: Observed, tree: Imported, running: Counter[str | None], now: Now
) -> tuple[SurveyedNode, ...]:
    desired = _supposed(tree)
    taken = room(observed, ())
    hearing = _hearing(desired, observed, now)
    return tuple(
        SurveyedNode(
            name=host.name,
            uuid=host.uuid,
            address=host.address,
            enabled=host.enabled,
            live=host.live,
            vms_running=running[host.uuid],
            memory_total=host.memory_total,
            memory_free=free(host, taken),
            stays=_undrainable(desired, observed, tree.names[host.uuid], now),
            lost=_lost(hearing, tree.names[host.uuid]),
        )
        for host in sorted(observed.nodes.values(), key=lambda host: host.name)
    )


def _supposed(tree: Imported) -> Desired:
    """The imported tree with everything enforced: what the plan would do if it were let."""
    loaded = load(tree.files(None))
    assert loaded.desired is not None, loaded.errors
    cluster = replace(loaded.desired.cluster, mode=Mode.AUTO)
    return replace(loaded.desired, cluster=cluster)


def _undrainable(desired: Desired, observed: Observed, node: str, now: Now) -> tuple[Blocked, ...]:
    """What the very plan of a drain would refuse, with this node alone drained."""
    asked = Drain(node=node, until_epoch_s=None, reason="survey", by="survey")
    fact = Fact(key=f"drain/{node}", term=1, seq=1, at_epoch_s=now.epoch_s, value=asked)
    ledger, journal = Ledger().merge([fact]), JournalState()
    view = View(me="survey", term=0, leader=None, lead_until_s=0.0)
    drift = diff(desired, observed, ledger, journal, calm(observed, ledger), {}, now)
    rows = plan(drift, desired, observed, view, ledger, journal, None, now).blocked
    return tuple(row for row in rows if row.object.startswith("vm/"))


def _hearing(desired: Desired, observed: Observed, now: Now) -> Hearing:
    """Of whoever hears nobody, and believes what the pool says."""
    return Hearing(
        me="survey",
        desired=desired,
        observed=observed,
        view=single("survey", 0),
        ledger=Ledger(),
        journal=JournalState(),
        probing=Probing(),
        leads=True,
        now=now,
    )


def _lost(at: Hearing, node: str) -> tuple[VmLoss, ...]:
    """What would stay down if this node alone died, and were certified."""
    return tuple(row for row in fits(at, (node,)) if row.outcome is Outcome.DOWN)
