"""Hearings after the pool's master xen3 died: three members, xen1 leads, web1 ran on xen3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace as with_parts

from msgspec.structs import replace

from membership.ledger import Fact, FactValue, Ledger
from membership.proofs import Promotion, Synced
from reconciler.accusing import Hearing
from reconciler.members import Role, Said
from reconciler.observed import ObservedNode
from tests.core.court import TREE, WEB, died, facts, failing, hearing, host, runs_on, silent

XEN1, XEN2, XEN3 = (host(name) for name in ("xen1", "xen2", "xen3"))
ADDRESSES = {XEN1: "192.0.2.1", XEN2: "192.0.2.2", XEN3: "192.0.2.3"}
STARTED = "100."

SLAVE = Said(role=Role.SLAVE, follows=ADDRESSES[XEN3])
SILENT = Said(role=Role.SILENT, message="no answer")
MASTER = Said(role=Role.MASTER)
ALONE = Said(role=Role.ALONE)
SAID = {XEN1: SLAVE, XEN2: SLAVE, XEN3: SILENT}

KNOWN: Mapping[str, FactValue] = {
    f"may-run__{WEB}": runs_on("xen3"),
    "synced": Synced(hosts=(XEN1, XEN2, XEN3), term=3, seq=1),
    "certificate__xen3": died("xen3"),
}


def promoted(**changes: object) -> Promotion:
    """xen2 was named in term 2."""
    fresh = Promotion(
        id="P-2-9",
        term=2,
        node="xen2",
        host=XEN2,
        old=XEN3,
        certificate="C-xen3",
        by="xen1",
        stage="begun",
        copies=(XEN1, XEN2),
        started=dict.fromkeys(ADDRESSES, STARTED),
    )
    return replace(fresh, **changes)


def orphaned(
    *,
    but: Mapping[str, FactValue | None] | None = None,
    hosts: Mapping[str, Mapping[str, object]] | None = None,
    master: str = XEN3,
    acts: bool = False,
    on: str = "xen3",
    at_s: float = 0.0,
) -> Hearing:
    """What xen1 hears and knows; `but` is known too, or not at all, `hosts` is how the pool shows them."""
    known = {key: value for key, value in {**KNOWN, **(but or {})}.items() if value is not None}
    at = hearing(
        {"xen3": silent()},
        probing=failing("xen3"),
        ledger=facts(**known),
        hosts=hosts,
        at_s=at_s,
        wished=TREE,
        on=on,
    )
    nodes = {uuid: _member(node) for uuid, node in at.observed.nodes.items()}
    pool = replace(at.observed.pool, master=master)
    return with_parts(at, observed=replace(at.observed, pool=pool, nodes=nodes), acts=acts)


def _member(node: ObservedNode) -> ObservedNode:
    return replace(node, address=ADDRESSES[node.uuid], started=node.started or STARTED)


def later(at: Hearing, key: str, value: FactValue, seq: int = 50) -> Hearing:
    """The same with one more fact, later than all others."""
    fact = Fact(key=key, term=3, seq=seq, at_epoch_s=0.0, value=value)
    ledger: Ledger = at.ledger.merge([fact])
    return with_parts(at, ledger=ledger)
