"""Striking: suppose that nodes fall silent at once. Who would notice, and would it be proven?

The judgement is the very one that accuses silent nodes; only what it hears is supposed. Of a fence
device it is supposed that it does what it did at its last trial.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from msgspec.structs import replace as with_fields

from fencing.devices import DeviceUse, Level, levels
from fencing.evidence import CERTIFICATE, POWER_OFF, proofs
from fencing.judgement import Belief, Verdict
from membership.ledger import LOST, FactValue
from membership.proofs import Attempt, Certificate, Drill, Lost
from membership.view import Health, Peer, PeerState, View
from reconciler.accusing import SETTLE_INTERVALS, Hearing, accused
from reconciler.adoption import Adoption
from reconciler.aftermath import losses
from reconciler.deaths import Deaths, followed
from reconciler.drilling import key
from reconciler.observed import ObservedNode
from reconciler.probing import has_daemon
from schema.fence_agents import Kind
from schema.model import Frozen, Node


class Fate(StrEnum):
    """What becomes of a node that falls silent: its death is proven, it is not, or nobody needs it to be."""

    PROVEN = "proven"
    HELD = "held"
    SPARED = "spared"


class DeviceWay(Frozen, frozen=True, kw_only=True):
    """One device of a level. `bound`: at its last trial it read as on, and as this node's; `age_s` ago
    (None: it never did). `message` is what the trial showed."""

    device: str
    kind: str
    bound: bool
    age_s: float | None
    message: str


class NodeLoss(Frozen, frozen=True, kw_only=True):
    """One node that falls silent. `reason` is a word for machines, "" where its death is proven.

    `levels` are its ways to be fenced, in their order; `by` the devices that would prove it.
    `without_power`: some level would prove it, too, if the node's own controller lost its power.
    """

    node: str
    fate: Fate
    reason: str
    message: str
    remedy: str
    levels: tuple[tuple[DeviceWay, ...], ...]
    by: tuple[str, ...] = ()
    without_power: bool = False
    master: bool = False


@dataclass(frozen=True, slots=True)
class Struck:
    """`at` is as it would be heard, the certificates in its ledger; `deaths` what is known then."""

    at: Hearing
    adoption: Adoption
    deaths: Deaths
    nodes: tuple[NodeLoss, ...]


def silence_s(at: Hearing) -> float:
    """How long a node is silent before it is judged."""
    beat = at.desired.cluster.heartbeat
    return beat.dead_after_s + SETTLE_INTERVALS * beat.interval_s


def struck(at: Hearing, names: Sequence[str]) -> Struck:
    """What would be believed and proven if these run nodes (names) fell silent together, now."""
    adoption = at.adoption
    fallen = [(node, host) for node, host in adoption.nodes if node.name in names]
    accuser, refusal = _accuser(at, names)
    heard = _heard(_noted(at), fallen, accuser)
    deaths = accused(heard)
    nodes: list[NodeLoss] = []
    for node, host in fallen:
        verdict = refusal or deaths.verdicts[node.name]
        loss = _loss(node, host, verdict, at)
        nodes.append(loss)
        if verdict.may_shoot and loss.fate is Fate.PROVEN:
            heard = heard.supposing([(f"fence/{node.name}", _attempt(loss, host, accuser))])
            deaths = accused(heard)  # The next one may find the budget spent.
    proven = [loss for loss in nodes if loss.fate is Fate.PROVEN]
    heard = heard.supposing(_certificates(proven, adoption, accuser))
    return Struck(heard, adoption, _known(deaths, heard, proven), tuple(nodes))


def bereft(at: Hearing, names: Sequence[str]) -> Struck:
    """As if the deaths of these run nodes were proven, however that came about."""
    adoption = at.adoption
    noted = _noted(at)
    deaths = accused(noted)
    fallen = [(node, host) for node, host in adoption.nodes if node.name in names]
    verdict = Verdict(Belief.DEAD, "Certified", "its death is taken for proven")
    nodes = tuple(_loss(node, host, verdict, at) for node, host in fallen)
    heard = noted.supposing(_certificates(nodes, adoption, at.me))
    gone = {host.uuid for _, host in fallen}
    left = replace(deaths.pool, reporting=deaths.pool.reporting - gone)
    deaths = replace(deaths, pool=left, answering=deaths.answering - gone)
    return Struck(heard, adoption, _known(deaths, heard, nodes), nodes)


# --- who is left --------------------------------------------------------------------------------


def _accuser(at: Hearing, names: Collection[str]) -> tuple[str, Verdict | None]:
    """Who would lead then, and why nobody could act."""
    view = at.view
    if view.alone:
        message = "one daemon is the whole cluster: it takes no silent server for dead"
        return at.me, Verdict(Belief.REFUSED, "Alone", message, "")
    alive = [
        name
        for name, peer in view.peers.items()
        if peer.state is PeerState.ALIVE and name not in names
    ]
    voters = [name for name in view.voters.names if name in alive]
    first = (name for name in (view.leader, at.me, *voters, *alive) if name in alive)
    left = len(voters) + (view.voters.disk and bool(voters) and not view.health.disk)
    if view.voters.names and left < view.voters.quorum:
        told = f"{left} of {len(view.voters.names) + view.voters.disk} voters would be left"
        message = f"{told}, and {view.voters.quorum} must agree: nobody would lead"
        return at.me, Verdict(Belief.REFUSED, "NoLeader", message, "")
    return next(first, at.me) or at.me, None


def _noted(at: Hearing) -> Hearing:
    """With each VM's places as of now in the ledger: a leader notes them at each observation."""
    present = accused(at).pool
    stamp = (max(at.view.term, at.ledger.term), at.ledger.next_seq)
    places = followed(at.ledger, at.observed, at.journal, present, stamp)
    return at.supposing((f"may-run/{known.vm}", known) for known in places)


def _heard(at: Hearing, fallen: Sequence[tuple[Node, ObservedNode]], accuser: str) -> Hearing:
    """As the accuser hears it once the silence has lasted long enough."""
    names = {node.name for node, _ in fallen}
    silent_s = silence_s(at) + at.desired.cluster.heartbeat.interval_s
    hosts = dict(at.observed.nodes)
    for node, host in fallen:
        if not has_daemon(node):
            hosts[host.uuid] = with_fields(host, live=False)
    return replace(
        at,
        me=accuser,
        observed=with_fields(at.observed, nodes=hosts),
        view=_view(at, {n.name for n, _ in fallen if has_daemon(n)}, accuser, silent_s),
        probing=at.probing.struck(names, silent_s, at.now),
        leads=True,
    )


def _view(at: Hearing, silent: Collection[str], accuser: str, silent_s: float) -> View:
    view = at.view
    peers = {
        name: with_fields(peer, sees=tuple(seen for seen in peer.sees if seen not in silent))
        for name, peer in view.peers.items()
    }
    for name in silent:
        before = peers.get(name, Peer(state=PeerState.DEAD))
        channels = dict.fromkeys(before.channels, PeerState.DEAD)
        peers[name] = with_fields(
            before, state=PeerState.DEAD, channels=channels, last_heard_s=silent_s
        )
    health = view.health if accuser == at.me else Health()
    return with_fields(view, me=accuser, leader=accuser, peers=peers, health=health)


# --- one node -----------------------------------------------------------------------------------


def _loss(node: Node, host: ObservedNode, verdict: Verdict, at: Hearing) -> NodeLoss:
    uses = levels(at.desired, node.name)
    ways = tuple(tuple(_way(use, host, at) for use in level) for level in uses)
    proving = [way for way, level in zip(ways, uses, strict=True) if _proves(way, level)]
    fate, reason, message, remedy = _fate(node.name, verdict, ways, proving)
    return NodeLoss(
        node=node.name,
        fate=fate,
        reason=reason,
        message=message,
        remedy=remedy,
        levels=ways,
        by=tuple(way.device for way in proving[0]) if fate is Fate.PROVEN and proving else (),
        without_power=any(all(way.kind != Kind.BMC for way in level) for level in proving),
        master=host.uuid == at.observed.pool.master,
    )


def _fate(
    name: str,
    verdict: Verdict,
    ways: Sequence[Sequence[DeviceWay]],
    proving: Sequence[Sequence[DeviceWay]],
) -> tuple[Fate, str, str, str]:
    oath = f"cxm confirm-off {name}"
    if verdict.belief is Belief.DEAD:
        return Fate.PROVEN, "", verdict.message, ""
    if verdict.belief is Belief.SPARED:
        return Fate.SPARED, verdict.reason, verdict.message, ""
    if not verdict.may_look:
        return Fate.HELD, verdict.reason, verdict.message, verdict.remedy or oath
    if not proving:
        said = "; ".join(f"{way.device}: {way.message}" for level in ways for way in level)
        return Fate.HELD, "NoProof", said or "it has no fence device", oath
    devices = ", ".join(way.device for way in proving[0])
    if not verdict.may_shoot:
        message = f"{verdict.message}; proven only if {devices} reads off already"
        return Fate.HELD, verdict.reason, message, verdict.remedy or oath
    return Fate.PROVEN, "", f"powered off by {devices}, and read back", ""


def _proves(way: Sequence[DeviceWay], level: Level) -> bool:
    """A level proves by all its devices. One that only a human can speak for is none."""
    able = [found.bound for found, use in zip(way, level, strict=True) if not use.by_hand]
    return bool(able) and all(able)


def _way(use: DeviceUse, host: ObservedNode, at: Hearing) -> DeviceWay:
    drill = at.ledger.get(key(use.device, use.node), Drill)
    if drill is None or drill.host != host.uuid:
        told = "only a human can speak for it" if use.by_hand else "it was never tried"
        return DeviceWay(
            device=use.device, kind=use.known.kind, bound=False, age_s=None, message=told
        )
    passed = drill.passed_epoch_s > 0.0
    return DeviceWay(
        device=use.device,
        kind=use.known.kind,
        bound=drill.passed,
        age_s=max(0.0, at.now.epoch_s - drill.passed_epoch_s) if passed else None,
        message=drill.message,
    )


# --- what would be said of it -------------------------------------------------------------------


def _attempt(loss: NodeLoss, host: ObservedNode, by: str) -> Attempt:
    return Attempt(
        id="supposed",
        node=loss.node,
        host=host.uuid,
        devices=loss.by,
        stage="begun",
        by=by,
        why=loss.message,
    )


def _certificates(
    proven: Iterable[NodeLoss], adoption: Adoption, by: str
) -> Iterator[tuple[str, FactValue]]:
    for loss in proven:
        certificate = Certificate(
            id=f"of {loss.node}",
            node=loss.node,
            host=adoption.node_uuids[loss.node],
            kind=POWER_OFF,
            by=by,
            evidence=loss.message,
            devices=loss.by,
        )
        yield f"{CERTIFICATE}{loss.node}", certificate
        for lost in losses(certificate, adoption):
            yield f"{LOST}{lost.vm}", lost


def _known(deaths: Deaths, at: Hearing, proven: Iterable[NodeLoss]) -> Deaths:
    """What is known once these are certified."""
    dead = {loss.node: Verdict(Belief.DEAD, "Certified", loss.message) for loss in proven}
    return replace(
        deaths,
        ledger=at.ledger,
        observed=at.observed,
        verdicts={**deaths.verdicts, **dead},
        proofs=proofs(at.ledger, at.now, at.observed.boots),
        lost={lost.vm: lost for lost in at.ledger.values(Lost)},
    )
