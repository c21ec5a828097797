"""What must hold whenever a server dies, or seems to. Small and dumb, and each alone.

They see servers, domains and cables as they are, and take nobody's word for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from membership.ledger import Ledger
from membership.proofs import Attempt, Certificate, LiveDrill
from reconciler.records import Drilled, Fenced, Record
from simulator.site import LogEntry
from tests.simulation.estate import HOSTS
from tests.simulation.fencing.fence_site import FenceChecker, FenceSite
from tests.simulation.peers.peer_checkers import Bench, Leases, is_ours, node_of
from tests.simulation.peers.peer_node import PeerNode

STARTS = ("VM.start_on", "VM.resume_on", "VM.start", "VM.resume")
ANSWERED_FOR_S = 6.0
"""Two questions that fail take no longer: whoever answered all the while was not asked."""

HEARD_FOR_S = 10.0
READ_WITHIN_S = 25.0
"""Between a reading of off and the certificate, at most."""

DRILLED_WITHIN_S = 150.0
"""Between a loss of power and what a drill makes of it, at most."""

TOGETHER_S = 4.0

NEVER = float("inf")


class Truth(FenceChecker):
    """What the others are told of the world: since when each server is well, what runs where."""

    def __init__(self, site: FenceSite) -> None:
        super().__init__(site)
        self.answers_since_s: dict[str, float] = dict.fromkeys(HOSTS, NEVER)
        self.heard_since_s: dict[str, float] = dict.fromkeys(HOSTS, NEVER)
        self.silent_since_s: dict[str, float] = dict.fromkeys(HOSTS, NEVER)
        self.power_lost_s: dict[str, float] = {}
        self.died_with: dict[str, str] = {}
        """VMs (uuids) that ran on a server when it lost its power, that run nowhere since, and of which that
        server has not been back to tell."""
        self._ran: dict[str, set[str]] = {host: set() for host in HOSTS}

    def looks(self) -> None:
        for host in HOSTS:
            since_s = self.answers_since_s[host]
            self.answers_since_s[host] = min(since_s, self.now_s) if self.answers(host) else NEVER
            since_s = self.heard_since_s[host]
            self.heard_since_s[host] = min(since_s, self.now_s) if self._heard(host) else NEVER
            silent_s = min(self.silent_since_s[host], self.now_s)
            speaks = (
                self.heard_since_s[host] if host in self.site.nodes else self.answers_since_s[host]
            )
            self.silent_since_s[host] = silent_s if speaks == NEVER else NEVER
            self._ran[host] = self.domains(host)
        for vm, host in list(self.died_with.items()):
            back = self.site.world.reachable(host)
            if back or any(vm in ran for ran in self._ran.values()):
                del self.died_with[vm]

    def power_lost(self, host: str) -> None:
        self.power_lost_s[host] = self.now_s
        for vm in self._ran[host]:
            self.died_with[vm] = host
            # Whoever tells of a change of it tells no lie.
            self.site.scene.touched[vm].append(self.now_s)
        self._ran[host] = set()

    def answers(self, host: str) -> bool:
        """Whether a client that is not cut off itself has an answer of its toolstack."""
        machines, faults = self.site.world.site.machines, self.site.world.faults
        machine = machines[host]
        hangs = any(faults.active(name, host=host) for name in ("api-hang", "slow"))
        return machines.at_work(machine) and not machines.cut_from_clients(machine) and not hangs

    def _heard(self, host: str) -> bool:
        """Whether its heartbeats come to somebody who listens."""
        node, net = self.site.nodes.get(host), self.site.net
        if node is None or not node.heart_runs:
            return False
        return any(
            other.heart_runs and any(net.passes(host, other.name, c) for c in (0, 1))
            for other in self.site.nodes.values()
            if other is not node
        )

    def domains(self, host: str) -> set[str]:
        """VMs that have a domain there, be it half a one."""
        return {domain.vm_uuid for domain in self.site.world.site.domains.on(host)}


class Drills(FenceChecker):
    """What somebody wants to be tried is switched off once by each device in each drill, and only while
    nothing runs there. It is bound only if it lost its power meanwhile."""

    def __init__(self, site: FenceSite, truth: Truth) -> None:
        super().__init__(site)
        self._truth = truth
        self.wanted: set[str] = set()
        """The nodes that somebody has ever asked to be tried: who asks may never hear the answer."""
        self._told: Counter[str] = Counter()

    def covers(self, node: PeerNode, victim: str) -> LiveDrill | None:
        """The drill for which this node may switch that one off, though it is well."""
        drill = node.parts.ledger.get("live-drill", LiveDrill) if node.parts is not None else None
        if drill is None or drill.node != victim or drill.stage != "off":
            return None
        told = self._told[drill.id]
        return drill if victim in self.wanted and told < len(drill.devices) else None

    def switched_off(self, node: PeerNode, victim: str) -> None:
        drill = self.covers(node, victim)
        if drill is None:
            return
        self._told[drill.id] += 1
        self.site.fired["drilled"] += 1
        if self._truth.domains(victim):
            self.blame(f"{node.name} switches off {victim} for a drill, and VMs run there")

    def journalled(self, node: PeerNode, record: Record) -> None:
        entry = record.entry
        if isinstance(entry, Drilled) and entry.stage == "bound":
            lost_s = self._truth.power_lost_s.get(entry.node, -NEVER)
            if self.now_s - lost_s > DRILLED_WITHIN_S:
                self.blame(f"{node.name} binds devices to {entry.node}, which had its power")


class Shots(FenceChecker):
    """No device is told to switch off a server that is well, or that somebody takes care of."""

    def __init__(self, site: FenceSite, truth: Truth, drills: Drills) -> None:
        super().__init__(site)
        self._truth = truth
        self._drills = drills
        self.kept: set[str] = set()
        """Servers that somebody shuts down, boots or has in maintenance."""
        self.shots: list[tuple[float, str, str]] = []

    def switched_off(self, node: PeerNode, victim: str) -> None:
        self.shots.append((self.now_s, node.name, victim))
        if self._drills.covers(node, victim) is not None:
            return
        told = f"{node.name} switches off {victim}"
        if victim == node.name:
            self.blame(f"{told}, itself")
        answered_s = self.now_s - self._truth.answers_since_s[victim]
        if node.reaches_pool and answered_s > ANSWERED_FOR_S:
            self.blame(f"{told}, whose toolstack has answered for {answered_s:.1f} s")
        heard_s = self.now_s - self._truth.heard_since_s[victim]
        if heard_s > HEARD_FOR_S and not self.site.net.weather.loss:
            self.blame(f"{told}, whose daemon has been heard for {heard_s:.1f} s")
        if victim in self.kept:
            self.blame(f"{told}, which somebody takes care of")


class Storms(FenceChecker):
    """Nobody is switched off where more than half of the other servers fell silent with it."""

    def __init__(self, site: FenceSite, truth: Truth) -> None:
        super().__init__(site)
        self._truth = truth

    def switched_off(self, node: PeerNode, victim: str) -> None:
        fell_s = self._truth.silent_since_s
        if fell_s[victim] == NEVER or victim not in self.site.nodes:
            return
        together = [
            host
            for host in HOSTS
            if host in self.site.nodes
            and host != node.name
            and abs(fell_s[host] - fell_s[victim]) <= TOGETHER_S
        ]
        if len(together) > 1 and 2 * len(together) > len(HOSTS) - 1:
            self.blame(f"{node.name} switches off {victim}, which fell with {together}")


class Attempts(FenceChecker):
    """No device is told to switch off before a fact says so, nor outside of the lease."""

    def __init__(self, site: FenceSite, leases: Leases, drills: Drills) -> None:
        super().__init__(site)
        self._leases = leases
        self._drills = drills

    def switched_off(self, node: PeerNode, victim: str) -> None:
        told = f"{node.name} switches off {victim}"
        parts = node.parts
        tried = None if parts is None else parts.ledger.get(f"fence/{victim}", Attempt)
        drill = self._drills.covers(node, victim)
        if drill is None and (tried is None or tried.stage != "begun"):
            self.blame(f"{told}, and would forget it")
        mine = [reign for reign in self._leases.reigns.values() if reign.node == node.name]
        if not any(reign.acts_s <= self.now_s + 0.001 < reign.until_s + 0.002 for reign in mine):
            self.blame(f"{told} outside its lease")


class Certificates(FenceChecker):
    """A certificate is issued of a server that has lost its power, and of no other."""

    def __init__(self, site: FenceSite, truth: Truth) -> None:
        super().__init__(site)
        self._truth = truth
        self.issued: list[tuple[float, str]] = []

    def journalled(self, node: PeerNode, record: Record) -> None:
        entry = record.entry
        if not isinstance(entry, Fenced) or entry.stage != "proven":
            return
        self.issued.append((self.now_s, entry.node))
        lost_s = self._truth.power_lost_s.get(entry.node, -NEVER)
        if self.site.has_power(entry.node) and self.now_s - lost_s > READ_WITHIN_S:
            self.blame(f"{node.name} certifies {entry.node}, which has not lost its power")


class Starts(FenceChecker):
    """Nothing is started that is anywhere, nor what died with a server that has neither a certificate
    nor been heard since."""

    def __init__(self, site: FenceSite, truth: Truth) -> None:
        super().__init__(site)
        self._truth = truth

    def called(self, entry: LogEntry) -> None:
        if not is_ours(entry) or entry.cls != "VM" or entry.method not in STARTS:
            return
        told = f"{entry.method} of {entry.name} by {node_of(entry)}"
        there = [host for host in HOSTS if entry.uuid in self._truth.domains(host)]
        if there:
            self.blame(f"{told}, which is on {', '.join(there)}")
        host = self._truth.died_with.get(entry.uuid)
        if host is None or self.site.world.reachable(host):
            return  # It may have come back since the last look.
        parts = self.site.nodes[node_of(entry)].parts
        if parts is not None and not certified(parts.ledger, host):
            self.blame(f"{told}, which died with {host}, of which nothing is certified")


def certified(ledger: Ledger, host: str) -> bool:
    certificate = ledger.get(f"certificate/{host}", Certificate)
    return certificate is not None and not certificate.void


class Resets(FenceChecker):
    """No record is reset of a VM that is anywhere, and no host is declared dead on which anything is."""

    def __init__(self, site: FenceSite, truth: Truth) -> None:
        super().__init__(site)
        self._truth = truth

    def called(self, entry: LogEntry) -> None:
        if not is_ours(entry):
            return
        told = f"{entry.method} of {entry.name} by {node_of(entry)}"
        if entry.method == "VM.power_state_reset":
            there = [host for host in HOSTS if entry.uuid in self._truth.domains(host)]
            if there:
                self.blame(f"{told}, which is on {', '.join(there)}")
        elif entry.method == "host.declare_dead" and self._truth.domains(entry.name):
            self.blame(f"{told}, on which VMs run")


class Held(FenceChecker):
    """While a hold stands that somebody was told of, no device is told to switch anything off."""

    def __init__(self, site: FenceSite, held: Mapping[str, float]) -> None:
        super().__init__(site)
        self._held = held

    def switched_off(self, node: PeerNode, victim: str) -> None:
        if self._held:
            self.blame(f"{node.name} switches off {victim} under {sorted(self._held)}")


@dataclass
class FenceBench:
    """All of them beside those of `bench`, and those that have to be told of more."""

    site: FenceSite
    bench: Bench
    truth: Truth = field(init=False)
    drills: Drills = field(init=False)
    shots: Shots = field(init=False)
    certificates: Certificates = field(init=False)

    def __post_init__(self) -> None:
        site = self.site
        self.truth = truth = Truth(site)
        self.drills = Drills(site, truth)
        self.shots = Shots(site, truth, self.drills)
        self.certificates = Certificates(site, truth)
        rest = (
            Starts(site, truth),
            Resets(site, truth),
            Storms(site, truth),
            Attempts(site, self.bench.leases, self.drills),
            Held(site, self.bench.holds.held),
            self.drills,
        )
        site.fence_checkers = (truth, self.shots, self.certificates, *rest)
        site.watching = (*site.watching, *site.fence_checkers)
