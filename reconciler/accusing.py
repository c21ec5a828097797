"""Accusing: what this node sees of every other one, and what its judgement is read against.

Gathers what is heard, asked and observed into the arguments of `fencing.judgement`, and judges. On
every node: only the leader goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from fencing import brake
from fencing.brake import Run
from fencing.evidence import CERTIFICATE, SWORN, absent, proofs
from fencing.judgement import Accuser, Probes, Rules, Sight, judge
from fencing.may_run import NOW, Pool, known, places
from membership.clock import Now
from membership.ledger import Fact, FactValue, Ledger
from membership.proofs import Attempt, Certificate, FenceOrder, Lost, Stamp
from membership.view import Peer, PeerState, View
from reconciler.adoption import Adoption, adopt
from reconciler.arrivals import Arrivals
from reconciler.deaths import Deaths, recoverable, tried, under_way
from reconciler.holding import held_by
from reconciler.journal import JournalState
from reconciler.observed import STALE_AFTER_S, Observed, ObservedNode, ObservedVM
from reconciler.placement import has_domain
from reconciler.probing import Probing, has_daemon
from schema.model import Desired, FenceBudget, Mode, Node

EARLY_S = 60.0
"""The pool gives up a host that fell silent after minutes; one that it gave up sooner said goodbye."""

SETTLE_INTERVALS = 2.0
"""Two peers that one blow struck are last heard up to an interval apart, and found so with another."""


@dataclass(frozen=True)
class Hearing:
    """What there is to judge by. `leads`: whether this node may act on what it finds, by fence devices
    and in an emergency; `acts`: whether it may also make calls in the pool."""

    me: str
    desired: Desired
    observed: Observed
    view: View
    ledger: Ledger
    journal: JournalState
    probing: Probing
    leads: bool
    now: Now
    acts: bool = False
    arrivals: Arrivals = field(default_factory=Arrivals)

    @cached_property
    def adoption(self) -> Adoption:
        """Worked out once, however many judge by it: in a large pool it takes its time."""
        return adopt(self.desired, self.observed)

    @property
    def fresh(self) -> bool:
        """Whether the observation is new enough to note what it says, and whole: a silent node hides
        nothing of what the pool's records say."""
        unread = [part for part in self.observed.missing if not part.startswith("node/")]
        return not unread and self.observed.age_s(self.now.mono_s) <= STALE_AFTER_S

    @property
    def stamp(self) -> Stamp:
        """That of the next fact."""
        return (self.view.term, self.ledger.next_seq)

    def age_s(self, certificate: Certificate) -> float | None:
        """For how long this node has known a certificate of its ledger; None where nothing tells."""
        dated_s = self.ledger.facts[f"{CERTIFICATE}{certificate.node}"].at_epoch_s
        return self.arrivals.age_s(certificate, dated_s, self.now)

    def supposing(self, said: Iterable[tuple[str, FactValue]]) -> Hearing:
        """With these facts in the ledger, later than all others."""
        term, first = max(self.view.term, self.ledger.term), self.ledger.next_seq
        facts = [
            Fact(key=name, term=term, seq=seq, at_epoch_s=self.now.epoch_s, value=value)
            for seq, (name, value) in enumerate(said, start=first)
        ]
        return replace(self, ledger=self.ledger.merge(facts)) if facts else self


def forbidden(at: Hearing) -> tuple[str, str, str] | None:
    """The standing reason why nobody is fenced or put in a dead one's place, with its remedy."""
    pool = at.observed.pool
    if at.ledger.holds:
        return "Held", *held_by(at.ledger.holds)
    if pool.ha_enabled:
        return (
            "PoolHa",
            "the pool's own HA is on, and fences by itself",
            "disable HA of the pool",
        )
    if pool.rolling_upgrade:
        return "RollingUpgrade", "a rolling upgrade of the pool is on", "finish the upgrade"
    mode = at.desired.cluster.mode
    if mode is Mode.OBSERVE:
        message = f"the cluster's mode is {mode.value}"
        return "ClusterMode", message, "commit mode: recover or higher in cluster.yaml"
    if at.view.leader is None:
        return "NoLeader", "nobody leads", "look at cxm members"
    return None


def frozen(at: Hearing, scope: str) -> dict[str, str]:
    """Nodes, by name, that somebody froze in this scope; with the reason."""
    found: dict[str, str] = {}
    for freeze in at.ledger.freezes(at.now):
        if scope not in freeze.scopes:
            continue
        text = f"frozen by {freeze.by}: {freeze.reason}"
        if freeze.object == "all":
            found.update(dict.fromkeys(at.desired.nodes, text))
        found[freeze.object.removeprefix("node/")] = text
    return found


def accused(hearing: Hearing) -> Deaths:
    """Every run node's verdict, with what is proven and who answers for itself."""
    return _Court(hearing).deaths()


class _Court:
    def __init__(self, hearing: Hearing) -> None:
        self._at = hearing
        self._adoption = hearing.adoption
        self._orders = {
            order.node: order
            for order in hearing.ledger.values(FenceOrder)
            if order.until_epoch_s > hearing.now.epoch_s
        }
        self._promotion = under_way(hearing.ledger)
        self._proofs = proofs(hearing.ledger, hearing.now, hearing.observed.boots)
        self._pool = self._reporting()
        self._guests = self._at_stake()
        self._drains = hearing.ledger.drains()

    def deaths(self) -> Deaths:
        rules = self._rules()
        accuser = self._accuser()
        verdicts = {
            node.name: judge(self._sight(node, host), accuser, rules)
            for node, host in self._adoption.nodes
        }
        lost = {fact.vm: fact for fact in self._at.ledger.values(Lost)}
        answering = frozenset(
            host.uuid
            for node, host in self._adoption.nodes
            if answers_since(node.name, self._at, self._proof_age_s(node))
        )
        at, said = self._at, self._promotion
        return Deaths(
            at.ledger, at.observed, self._pool, verdicts, self._proofs, lost, said, answering
        )

    # --- who answers for itself -----------------------------------------------------------------

    def _reporting(self) -> Pool:
        observed = self._at.observed
        named = {host.uuid: node for node, host in self._adoption.nodes}
        reporting = frozenset(
            uuid
            for uuid, host in observed.nodes.items()
            if host.live and self._joined(uuid) and self._answers(named.get(uuid))
        )
        return Pool(frozenset(observed.nodes), reporting, observed.boots)

    def _joined(self, host: str) -> bool:
        """Under a new master nobody answers for itself who has not compared what it runs with what that
        one's database says: it may run what is elsewhere, or nowhere, by now."""
        promotion = self._promotion
        return promotion is None or (
            self._at.observed.pool.master == promotion.host and host in promotion.joined
        )

    def _answers(self, node: Node | None) -> bool:
        """A host that no file of the tree names is asked by nobody, nor is any where one daemon is the
        whole cluster: the pool's own word does for it."""
        if node is None or self._at.view.alone:
            return True
        age_s = self._proof_age_s(node)
        peer = self._peer(node)
        if peer is not None and peer.state is PeerState.ALIVE:
            return heard_since(peer, age_s)
        return answers_since(node.name, self._at, age_s)

    def _proof_age_s(self, node: Node) -> float | None:
        """For how long its certificate has been known; None where none holds, or nothing tells."""
        proof = self._proofs.get(node.host.uuid) if node.host is not None else None
        return self._at.age_s(proof.certificate) if proof is not None else None

    def _peer(self, node: Node) -> Peer | None:
        """The daemon whose life is a sign of the server's: not one that runs on another machine."""
        if self._at.view.alone or not has_daemon(node):
            return None
        return self._at.view.peers.get(node.name, Peer(state=PeerState.UNKNOWN))

    # --- one node -------------------------------------------------------------------------------

    def _sight(self, node: Node, host: ObservedNode) -> Sight:
        at, peer = self._at, self._peer(node)
        probes = at.probing.of(node.name, at.now)
        return Sight(
            node=node.name,
            peer=self._state(node, peer),
            silent_s=_silent_s(peer, probes),
            probes=probes,
            certificate=self._certificate(host),
            heard_by=self._heard_by(node.name),
            observers=self._observers(node.name),
            away=self._away(node, host, peer),
            victims=len(self._guests.get(host.uuid, ())) or self._kept_waiting(),
            unheard_s=None if host.live else 0.0,
            ordered=self._ordered(node.name),
            withholds=self._withholds(host),
        )

    def _state(self, node: Node, peer: Peer | None) -> PeerState | None:
        """One that was last heard before its certificate is silent, though not yet for long, or since it
        said goodbye."""
        if peer is None:
            return None
        spoke = peer.state in (PeerState.ALIVE, PeerState.LEFT)
        if spoke and not heard_since(peer, self._proof_age_s(node)):
            return PeerState.DEAD
        return peer.state

    def _ordered(self, name: str) -> str:
        order = self._orders.get(name)
        return f"{order.by}: {order.reason}" if order is not None else ""

    def _certificate(self, host: ObservedNode) -> str:
        """The one that covers all that is at stake there; one of an earlier death covers less."""
        proof = self._proofs.get(host.uuid)
        if proof is None:
            return ""
        for vm in self._guests.get(host.uuid, ()):
            told = places(self._at.ledger, vm.uuid, self._pool, NOW)
            there = [place for place in told if place.host == host.uuid]
            if not there or not all(proof.covers(place) for place in there):
                return ""
        return proof.certificate.id

    def _observers(self, name: str) -> tuple[str, ...]:
        others = self._at.view.peers.items()
        return tuple(
            other
            for other, peer in others
            if other not in (name, self._at.me) and peer.state is PeerState.ALIVE
        )

    def _heard_by(self, name: str) -> tuple[str, ...]:
        peers = self._at.view.peers
        return tuple(other for other in self._observers(name) if name in peers[other].sees)

    def _away(self, node: Node, host: ObservedNode, peer: Peer | None) -> str:
        if node.maintenance is not None or node.name in self._drains:
            return "it is in maintenance"
        drill = tried(self._at.ledger)
        if drill is not None and drill.host == host.uuid:
            return "its fence devices are being tried"
        going = [op.kind for op in host.upkeep if op.kind in ("shutdown", "reboot")]
        if going:
            return f"somebody's {going[0]} of it is under way"
        if not host.enabled and not self._closed_by_us(node, host):
            return "it was disabled before it fell silent"
        silent_s = peer.last_heard_s if peer is not None else None
        if not host.live and silent_s is not None and silent_s < EARLY_S:
            return "the pool saw it leave"
        return ""

    def _closed_by_us(self, node: Node, host: ObservedNode) -> bool:
        """Whether nobody else need have disabled it: the tree cordons it, or it was written off. A device
        proves no death of a node that somebody had disabled; an oath may."""
        if not node.schedulable or host.uuid in self._at.journal.own_cordons:
            return True
        proof = self._proofs.get(host.uuid)
        return proof is not None and proof.certificate.kind != SWORN

    def _at_stake(self) -> Mapping[str, list[ObservedVM]]:
        """The VMs that would be recovered, by every host on which they can be."""
        found: dict[str, list[ObservedVM]] = {}
        for vm, real in self._adoption.vms:
            if recoverable(vm):
                for host in self._hosts_of(real):
                    found.setdefault(host, []).append(real)
        return found

    def _kept_waiting(self) -> int:
        """How many VMs are to run again and cannot while anybody is unproven: without the pool's master
        each of its members counts, since any of them may turn out to have them."""
        return len(self._at.ledger.values(Lost)) if self._headless() else 0

    def _headless(self) -> bool:
        """Whether the pool's master is dead, and each member is to say whom it follows."""
        master = self._at.observed.pool.master
        dead = master in self._proofs and master not in self._pool.reporting
        return dead or self._promotion is not None

    def _withholds(self, host: ObservedNode) -> bool:
        return self._headless() or host.uuid == self._at.observed.pool.master

    def _hosts_of(self, real: ObservedVM) -> set[str]:
        hosts = {place.host for place in known(self._at.ledger, real.uuid) or ()}
        if has_domain(real) and real.node is not None:
            hosts.add(real.node)
        return hosts

    # --- all of them ----------------------------------------------------------------------------

    def _accuser(self) -> Accuser:
        at, view = self._at, self._at.view
        own = at.desired.nodes.get(at.me)
        disk = own is not None and own.heartbeat.disk is not None and not view.health.disk
        fresh = at.observed.age_s(at.now.mono_s) <= STALE_AFTER_S
        others = any(
            peer.state is PeerState.ALIVE for name, peer in view.peers.items() if name != at.me
        )
        return Accuser(
            name=at.me,
            lag_s=view.health.lag_s,
            mute=view.health.mute,
            hears=others or disk or (view.alone and fresh),
            observes=fresh or self._master_silent(),
        )

    def _master_silent(self) -> bool:
        """Where the pool's master is what died, nobody sees the pool."""
        master = self._at.observed.pool.master
        return master not in self._pool.reporting

    def _rules(self) -> Rules:
        beat = self._at.desired.cluster.heartbeat
        return Rules(
            interval_s=beat.interval_s,
            dead_after_s=beat.dead_after_s,
            settle_s=SETTLE_INTERVALS * beat.interval_s,
            forbidden=forbidden(self._at),
            frozen=frozen(self._at, "fencing"),
            brakes=dict(self._brakes(beat.dead_after_s)),
        )

    def _brakes(self, window_s: float) -> Iterator[tuple[str, tuple[str, str]]]:
        at = self._at
        runs = {node.name: self._run(node, host) for node, host in self._adoption.nodes}
        tried = {
            fact.value.node: fact.at_epoch_s
            for fact in at.ledger.facts.values()
            if isinstance(fact.value, Attempt)
        }
        cold = absent(at.ledger)
        for name, run in runs.items():
            if run.silent_s is None and name not in self._orders:
                continue
            budget = _budget(at.desired, at.desired.nodes[name])
            together = brake.storm(name, runs, at.me, window_s)
            spent = brake.overspent(name, tried, budget, at.now.epoch_s)
            low = brake.sunk(name, runs, budget)
            if cold and name not in self._orders:
                message = f"the site may have been without power, and {name} may be booting"
                yield name, ("ColdStart", message)
            elif together:
                yield name, ("Storm", together)
            elif spent:
                yield name, ("Budget", spent)
            elif low:
                yield name, ("Floor", low)

    def _run(self, node: Node, host: ObservedNode) -> Run:
        silent_s = _silent_s(self._peer(node), self._at.probing.of(node.name, self._at.now))
        return Run(node.labels, host.memory_total, silent_s)


SLACK_S = 1.0
"""What was sent before a power-off may be heard so long after it."""


def heard_since(peer: Peer, age_s: float | None) -> bool:
    """Whether this peer was heard after the moment that is so long ago."""
    if age_s is None or peer.last_heard_s is None:
        return True
    return peer.last_heard_s + SLACK_S < age_s


def answers_since(name: str, at: Hearing, age_s: float | None) -> bool:
    """Whether the node's toolstack answers, and did so to a question that was asked since then."""
    answered_s = at.probing.of(name, at.now).answered_s
    asked_since = age_s is None or answered_s is None or answered_s < age_s
    return asked_since and at.probing.answers(name, at.now)


_SILENT = (PeerState.SUSPECT, PeerState.DEAD, PeerState.BLIND)


def _silent_s(peer: Peer | None, probes: Probes) -> float | None:
    """For how long nothing was heard of a node. A peer that was never heard since this daemon's start
    is silent for as long as its server does not answer."""
    if peer is None:
        return probes.failing_s
    if peer.state not in _SILENT:
        return None
    return peer.last_heard_s if peer.last_heard_s is not None else probes.failing_s


def _budget(desired: Desired, node: Node) -> FenceBudget:
    policy = desired.policies.get(node.fencing) if node.fencing is not None else None
    return policy.budget if policy is not None else FenceBudget()
