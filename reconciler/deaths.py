"""Deaths: what is known of silent and dead nodes at one moment, for everything that plans.

Made anew at each step, on every node, from the ledger, the view and the observation: so each of them
shows the same, and only the leader acts on it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from fencing import may_run
from fencing.evidence import CERTIFICATE, Proof
from fencing.judgement import Belief, Verdict
from fencing.may_run import Doubt, Pool, Shown
from membership.ledger import Ledger
from membership.proofs import (
    LIVE_DRILL,
    UNREAD,
    Certificate,
    DrillStage,
    LiveDrill,
    Lost,
    MayRun,
    Promotion,
    Stamp,
    Unproven,
    Unread,
)
from reconciler.actions import PoolMigrate, ResumeOn, StartOn
from reconciler.journal import JournalState
from reconciler.observed import Observed, ObservedVM
from schema.model import VM, Manage, VmState


@dataclass(frozen=True, slots=True)
class Deaths:
    """`verdicts` by the name of the node, `proofs` by the uuid of the host. `pool` says which hosts
    answer for themselves, `answering` those whose toolstack does, whether the pool counts them as live or
    not; `lost` are VMs (uuids) that died with their node and are to run again. `promotion` is what makes
    another member the pool's master, while that is under way."""

    ledger: Ledger
    observed: Observed
    pool: Pool
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    proofs: Mapping[str, Proof] = field(default_factory=dict)
    lost: Mapping[str, Lost] = field(default_factory=dict)
    promotion: Promotion | None = None
    answering: frozenset[str] = frozenset()

    def awaited(self) -> tuple[str, ...]:
        """Hosts (uuids) that have yet to join a new master: neither have they, nor are they dead."""
        return self.awaited_by(self.promotion) if self.promotion is not None else ()

    def awaited_by(self, promotion: Promotion) -> tuple[str, ...]:
        """The same of this promotion."""
        return tuple(
            host
            for host in sorted(self.pool.hosts)
            if host not in promotion.joined and not self._passed_over(host)
        )

    def _passed_over(self, host: str) -> bool:
        """Whether a promotion waits for this host no more: it is dead now, or was when the new master was
        named, and nothing is begun on it before that is over. A certificate alone may be of an earlier
        death: an old copy of the database shows the boot that it ended."""
        unread = self.ledger.get(UNREAD, Unread)
        at_naming = unread is not None and host in unread.dead
        return self.dead(host) or (at_naming and self.certified(host) is not None)

    def closed(self) -> Iterator[tuple[str, str]]:
        """Nodes on which nothing is put, with the reason: whatever is not known to be well, or is about
        to be switched off for a drill."""
        drill = tried(self.ledger)
        for name, verdict in self.verdicts.items():
            if drill is not None and drill.node == name:
                yield name, "Drilled"
            elif verdict.belief is not Belief.WELL:
                yield name, _CLOSED.get(verdict.belief, "Silent")

    def held(self, node: str) -> str:
        """Why the death of this node cannot be proven, "" where that is not so. A node that is held is
        believed dead, and every device was asked in vain."""
        verdict = self.verdicts.get(node)
        unproven = self.ledger.get(f"unproven/{node}", Unproven)
        if verdict is None or not verdict.may_look or unproven is None:
            return ""
        return unproven.message

    def way_out(self, node: str) -> str:
        """What a person can do about a node that is held."""
        verdict = self.verdicts.get(node)
        told = verdict.remedy if verdict is not None else ""
        return told or f"cxm confirm-off {node}"

    def certified(self, host: str | None) -> Proof | None:
        """The certificate of this host, while that is dead by it: while it runs, nothing is done about it."""
        if host is None or host in self.pool.reporting or host in self.answering:
            return None
        return self.proofs.get(host)

    def dead(self, host: str) -> bool:
        """Whether a certificate covers all that can be on this host, and nothing is heard of it since."""
        proof = self.certified(host)
        return proof is not None and self._belief(proof) is Belief.DEAD

    def _belief(self, proof: Proof) -> Belief | None:
        """What is believed of the node that died; None where no file of the tree names it any more."""
        verdict = self.verdicts.get(proof.certificate.node)
        return verdict.belief if verdict is not None else None

    def died(self, node: str, host: str) -> Certificate | None:
        """The certificate of this node's last death, on this host, whether it has come back since or not."""
        found = self.ledger.get(f"{CERTIFICATE}{node}", Certificate)
        return found if found is not None and found.host == host and not found.void else None

    def doubts(self, vm: VM, real: ObservedVM, target: str, leaving: str = "") -> tuple[Doubt, ...]:
        """What forbids to make `vm` run on `target`, or to reset its record (target "")."""
        return may_run.doubts(
            self.ledger,
            shown(real, self.observed),
            target,
            leaving,
            self.pool,
            self.proofs,
            vm.recovery.proof,
        )

    def grown(self, ledger: Ledger, vm: str, target: str, stamp: Stamp) -> MayRun | None:
        """May-run with the target of a call that is about to be made; None where it is told already."""
        seen = shown(self.observed.vms[vm], self.observed)
        return may_run.followed(ledger, seen, (target,), self.pool, stamp)

    def unproven(self, real: ObservedVM, accepted: Collection[str]) -> tuple[Doubt, ...]:
        """What forbids to reset the record of a VM, whatever a tree says of it."""
        return may_run.doubts(
            self.ledger, shown(real, self.observed), "", "", self.pool, self.proofs, accepted
        )


def under_way(ledger: Ledger) -> Promotion | None:
    """The promotion that has begun and is not over."""
    promotion = ledger.get("promotion", Promotion)
    return promotion if promotion is not None and promotion.stage == "begun" else None


def tried(ledger: Ledger) -> LiveDrill | None:
    """The live drill that is not over."""
    drill = ledger.get(LIVE_DRILL, LiveDrill)
    return drill if drill is not None and drill.stage is not DrillStage.OVER else None


def headless(ledger: Ledger, observed: Observed | None) -> bool:
    """Whether a promotion is under way, and its new master has not been seen yet."""
    promotion = under_way(ledger)
    return promotion is not None and (observed is None or observed.pool.master != promotion.host)


def calm(observed: Observed, ledger: Ledger) -> Deaths:
    """As the pool's own records have it, where nobody is heard or asked: who is live answers."""
    live = frozenset(uuid for uuid, host in observed.nodes.items() if host.live)
    return Deaths(ledger, observed, Pool(frozenset(observed.nodes), live, observed.boots))


_CLOSED: Mapping[Belief, str] = {
    Belief.BLIND: "Blind",
    Belief.AWAY: "Away",
    Belief.DEAD: "Dead",
}


def shown(real: ObservedVM, observed: Observed) -> Shown:
    """What an observation shows of one VM, as may-run needs it."""
    hosts = frozenset(host for host in (real.node, real.reserved_on) if host is not None)
    reset = real.uuid in observed.resets
    return Shown(real.uuid, hosts, busy=bool(real.operations), reset=reset)


def recoverable(vm: VM) -> bool:
    """Whether this VM is brought back by itself when its node dies."""
    kept = vm.state not in (VmState.RETIRED, VmState.IGNORED, VmState.HALTED)
    return kept and vm.recovery.enabled and vm.manage is not Manage.OBSERVE


def targets(journal: JournalState) -> Mapping[str, frozenset[str]]:
    """Hosts on which calls in flight can make a domain, by VM."""
    found: dict[str, set[str]] = {}
    for flight in journal.in_flight.values():
        if isinstance(flight.call, StartOn | ResumeOn | PoolMigrate):
            found.setdefault(flight.subject, set()).add(flight.call.node)
    return {vm: frozenset(hosts) for vm, hosts in found.items()}


def last_seen(ledger: Ledger, observed: Observed, host: str, stamp: Stamp) -> Iterator[MayRun]:
    """May-run of each VM that was seen on this host, or arriving there, where the ledger does not tell it:
    whoever observes the pool may have died before it could."""
    pool = calm(observed, ledger).pool
    for uuid, real in observed.vms.items():
        if host in shown(real, observed).hosts:
            known = may_run.grown(ledger, uuid, host, pool, stamp)
            if known is not None:
                yield known


def followed(
    ledger: Ledger, observed: Observed, journal: JournalState, pool: Pool, stamp: Stamp
) -> Iterator[MayRun]:
    """May-run of each VM of the pool, where the observation changes it."""
    under_way = targets(journal)
    resets = frozenset(observed.resets)
    for uuid, real in observed.vms.items():
        busy = real.operations or uuid in under_way or uuid in resets
        if not busy and may_run.stands(ledger, uuid, real.node, pool):
            continue
        seen = shown(real, observed)
        known = may_run.followed(ledger, seen, under_way.get(uuid, frozenset()), pool, stamp)
        if known is not None:
            yield known
