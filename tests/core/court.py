"""Hearings for tests: three nodes with controllers, xen1 leads, web1 runs on xen3."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from membership.clock import Now
from membership.ledger import Fact, FactValue, Ledger
from membership.proofs import Certificate, MayRun, Place
from membership.view import Peer, PeerState, View
from reconciler.accusing import Hearing, accused
from reconciler.actions import Plan
from reconciler.adoption import adopt
from reconciler.drift import Drift
from reconciler.facts import Facts
from reconciler.journal import JournalState
from reconciler.messages import Probed
from reconciler.observed import ObservedNode
from reconciler.probing import Probing
from reconciler.revisions import Revisions
from schema.model import Desired
from tests.core.stage import desired, loaded, pool
from tests.plan.expansion import identity

NAMES = ("xen1", "xen2", "xen3")
NODE = {"roles": ["run", "peer"]}
EPOCH_S = 10_000.0
MONO_S = 1_000_000.0


def tree(**cluster: object) -> Desired:
    nodes = {name: {**NODE, "bmc": f"10.0.0.{n}"} for n, name in enumerate(NAMES, start=1)}
    fencing = {"agent": "fence_ipmilan"}
    return desired(
        cluster={"fencing": fencing, **cluster}, nodes=nodes, vms={"web1": {"state": "running"}}
    )


TREE = tree()
WEB = identity("vm", "web1")


def host(name: str) -> str:
    return identity("host", name)


def facts(**values: FactValue) -> Ledger:
    """A ledger of these facts, one later than the other; `__` stands for the stroke in a key."""
    return Ledger().merge(
        Fact(key=key.replace("__", "/"), term=3, seq=seq, at_epoch_s=EPOCH_S, value=value)
        for seq, (key, value) in enumerate(values.items(), start=1)
    )


def runs_on(*names: str) -> MayRun:
    places = tuple(Place(host=host(name), term=3, seq=0) for name in names)
    return MayRun(vm=WEB, places=places)


def died(name: str, **changes: object) -> Certificate:
    fresh = Certificate(
        id=f"C-{name}",
        node=name,
        host=host(name),
        kind="power-off",
        by="xen1",
        evidence="bmc reads off",
    )
    return replace(fresh, **changes)


def failing(*names: str, since_s: float = 20.0, at_s: float = MONO_S) -> Probing:
    """Servers that have not answered two questions."""
    probing = Probing()
    addresses = {name: f"{name}.example" for name in names}
    for ago_s in (since_s, since_s - 5.0):
        asked = Now(mono_s=at_s - ago_s, epoch_s=EPOCH_S)
        for probe in probing.due(addresses, asked):
            probing.probed(Probed(name=probe.name, answers=False, at_s=asked.mono_s))
    return probing


def hearing(
    states: Mapping[str, Peer] | None = None,
    *,
    ledger: Ledger | None = None,
    probing: Probing | None = None,
    wished: Desired = TREE,
    hosts: Mapping[str, Mapping[str, object]] | None = None,
    on: str = "xen3",
    at_s: float = 0.0,
) -> Hearing:
    """What xen1 hears. `hosts` changes what the pool shows of them; `at_s` is how much later it is."""
    seen = pool(wished, vms={"web1": {"on": on}})
    nodes = {uuid: _server(real, hosts or {}) for uuid, real in seen.nodes.items()}
    peers = {name: Peer(state=PeerState.ALIVE, sees=NAMES) for name in NAMES} | dict(states or {})
    now_s = MONO_S + at_s
    return Hearing(
        me="xen1",
        desired=wished,
        observed=replace(seen, nodes=nodes, as_of_s=now_s),
        view=View(
            me="xen1", term=3, leader="xen1", lead_until_s=1e12, engine="builtin", peers=peers
        ),
        ledger=ledger if ledger is not None else facts(**{f"may-run__{WEB}": runs_on("xen3")}),
        journal=JournalState(),
        probing=probing if probing is not None else Probing(),
        leads=True,
        now=Now(mono_s=now_s, epoch_s=EPOCH_S + at_s),
    )


def _server(real: ObservedNode, changes: Mapping[str, Mapping[str, object]]) -> ObservedNode:
    fresh = replace(real, serial=f"serial of {real.name}")
    return replace(fresh, **changes.get(real.name, {}))


def silent(seconds: float = 20.0, state: PeerState = PeerState.DEAD, **notes: str) -> Peer:
    return Peer(state=state, last_heard_s=seconds, notes=notes)


def deaf_to(*names: str) -> Peer:
    """A peer that is heard and does not hear these."""
    return Peer(state=PeerState.ALIVE, sees=tuple(n for n in NAMES if n not in names))


def knowing(at: Hearing, plan: Plan | None = None) -> Facts:
    """All that a reconciler holds which hears this, and has this plan."""
    deaths = accused(at)
    return Facts(
        me=at.me,
        version="1",
        cluster_id="c",
        view=at.view,
        ledger=at.ledger,
        journal=JournalState(),
        revisions=Revisions("c", loaded(7, at.desired)),
        observed=at.observed,
        lost=None,
        drift=Drift(adoption=adopt(at.desired, at.observed), deaths=deaths),
        plan=plan if plan is not None else Plan(),
        planned=7,
        proposed=None,
        proof_s=None,
        looks=1,
        answered_s=at.now.mono_s,
        failures=0,
        hearing=at,
        deaths=deaths,
        readings={},
    )
