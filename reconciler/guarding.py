"""Guarding: from silence to certificate, on the node that leads; and what follows for its facts.

Every step judges all nodes anew. What was begun is in the ledger: a successor finds the attempt, looks
at the devices, and comes to the same end. What is remembered here is only what is on its way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from fencing.devices import DeviceUse, Level, levels
from fencing.evidence import CERTIFICATE, POWER_OFF, hold_of
from fencing.judgement import Belief, Verdict
from fencing.ladder import Fail, Ladder, Look, Order, Prove, Rung, Switch
from membership.ledger import LOST, Withdrawn
from membership.proofs import Attempt, Certificate, FenceOrder, Unproven
from reconciler.accusing import Hearing
from reconciler.aftermath import Shot, doubted, ended, issued, quiet
from reconciler.blackout import noted
from reconciler.deaths import Deaths, followed
from reconciler.drilling import Drilling, Seen
from reconciler.leading import Moves
from reconciler.observed import ObservedNode
from reconciler.power import LookAtPower, PowerLooked, PowerOff, PowerSwitched
from reconciler.records import Fenced, Recovered
from schema.model import Node

DRILL, ASKED = -1, -2
"""Rounds of looks that are no climb's: a device of a node that is well is tried; somebody asked."""


@dataclass(frozen=True, slots=True)
class _Case:
    """One node that is climbed for, with its devices by level."""

    node: Node
    host: ObservedNode
    uses: tuple[Level, ...]
    verdict: Verdict

    @property
    def rungs(self) -> tuple[tuple[str, ...], ...]:
        """Devices by level. What only a human can say is no rung."""
        ways = (tuple(use.device for use in level if not use.by_hand) for level in self.uses)
        return tuple(names for names in ways if names)

    def use(self, device: str) -> DeviceUse | None:
        found = (use for level in self.uses for use in level if use.device == device)
        return next(found, None)

    def level(self, use: DeviceUse) -> Level:
        """The devices that are switched together with this one."""
        return next(level for level in self.uses if use in level)

    def chosen(self, devices: Iterable[str]) -> tuple[DeviceUse, ...]:
        uses = (self.use(device) for device in devices)
        return tuple(use for use in uses if use is not None)


class Guarding:
    """One node's. What is on its way to devices, and no more."""

    def __init__(self) -> None:
        self._ladders: dict[str, Ladder] = {}
        self._shots: dict[str, Shot] = {}
        self._drilling = Drilling()

    @property
    def readings(self) -> Mapping[tuple[str, str], Seen]:
        """The latest reading of each device, by node and device; none where this node does not lead."""
        return self._drilling.last

    @property
    def deadline_s(self) -> float | None:
        """When time alone brings a climb forward."""
        moments = [ladder.deadline_s for ladder in self._ladders.values()]
        return min((moment for moment in moments if moment is not None), default=None)

    # --- events ---------------------------------------------------------------------------------

    def step(self, at: Hearing, deaths: Deaths) -> Moves:
        """Go on with the nodes that are accused; `deaths` is what all are judged as now."""
        wants = Moves()
        if not at.leads:
            self._ladders.clear()
            self._drilling.last.clear()
            return wants
        adoption = at.adoption
        for certificate, why in doubted(at, deaths, adoption, self._shots):
            self._void(certificate, why, at, wants)
        if at.fresh and deaths.promotion is None:
            told = noted(at, deaths, adoption)
            wants.facts += [(key, value, at.view.term) for key, value in told]
            for known in followed(at.ledger, at.observed, at.journal, deaths.pool, at.stamp):
                wants.facts.append((f"may-run/{known.vm}", known, at.view.term))
        for node, host in adoption.nodes:
            case = self._case(node, host, at, deaths)
            ladder = self._ladders.setdefault(node.name, Ladder())
            self._carry(ladder.step(case.verdict, case.rungs, at.now.mono_s), case, at, wants)
            if ladder.rung is Rung.IDLE:
                self._forget(node.name, at, wants)
            if case.verdict.belief is Belief.WELL:
                for use in self._drilling.due(case.uses, host, at):
                    look = LookAtPower(node=node.name, round=DRILL, devices=(use,))
                    wants.effects.append(look)
        for lost, where in ended(at, deaths, adoption):
            wants.facts.append((f"{LOST}{lost.vm}", Withdrawn(by="cxm"), at.view.term))
            if where:
                wants.entries.append(Recovered(vm=lost.vm, node=where, died_with=lost.node))
        return wants

    def read(self, nodes: Collection[str], at: Hearing) -> Moves:
        """Have all devices of these nodes read now, because somebody asks."""
        wants = Moves()
        for name in nodes:
            uses = [use for level in levels(at.desired, name) for use in level if not use.by_hand]
            if uses:
                look = LookAtPower(node=name, round=ASKED, devices=tuple(uses))
                wants.effects.append(look)
        return wants

    def looked(self, event: PowerLooked, at: Hearing, deaths: Deaths) -> Moves:
        """Take in what devices showed."""
        wants = Moves()
        nodes = at.adoption.nodes
        found = next(((node, host) for node, host in nodes if node.name == event.node), None)
        ladder = self._ladders.get(event.node)
        if found is None or ladder is None or not at.leads:
            return wants
        case = self._case(*found, at, deaths)
        answered = ((seen, case.use(seen.device)) for seen in event.found)
        readings = [
            self._drilling.reading(seen, use, case.level(use), case.host, at)
            for seen, use in answered
            if use is not None
        ]
        if case.verdict.belief is Belief.WELL:
            for key, drill in self._drilling.noted(readings, event.node, case.host, at):
                wants.facts.append((key, drill, at.view.term))
        elif event.round == ASKED:
            for key, drill in self._drilling.seen(readings, event.node, case.host, at):
                wants.facts.append((key, drill, at.view.term))
        if event.round not in (DRILL, ASKED):
            orders = ladder.looked(event.round, readings, case.verdict, case.rungs, at.now.mono_s)
            self._carry(orders, case, at, wants)
        return wants

    def switched(self, event: PowerSwitched) -> None:
        """Take in what devices answered to `off`."""
        ladder = self._ladders.get(event.node)
        if ladder is not None:
            ladder.switched(event.round, event.messages)

    def _case(self, node: Node, host: ObservedNode, at: Hearing, deaths: Deaths) -> _Case:
        verdict = deaths.verdicts.get(node.name, Verdict(Belief.WELL))
        return _Case(node, host, levels(at.desired, node.name), verdict)

    # --- the climb ------------------------------------------------------------------------------

    def _carry(self, orders: Iterable[Order], case: _Case, at: Hearing, wants: Moves) -> None:
        name = case.node.name
        number = self._ladders[name].round
        for order in orders:
            match order:
                case Look(devices=devices):
                    look = LookAtPower(node=name, round=number, devices=case.chosen(devices))
                    wants.effects.append(look)
                case Switch(devices=devices):
                    self._switch(case.chosen(devices), number, case, at, wants)
                case Prove(devices=devices, evidence=evidence):
                    self._prove(devices, evidence, case, at, wants)
                case Fail(message=message):
                    self._fail(case, message, at, wants)

    def _switch(
        self, uses: tuple[DeviceUse, ...], number: int, case: _Case, at: Hearing, wants: Moves
    ) -> None:
        """The attempt is a fact first: the effect waits until enough voters know it."""
        name, why = case.node.name, _why(case.node.name, at)
        attempt = Attempt(
            id=f"F-{at.view.term}-{at.ledger.next_seq}",
            node=name,
            host=case.host.uuid,
            devices=tuple(use.device for use in uses),
            stage="begun",
            by=at.me,
            why=why,
        )
        wants.entries.append(Fenced(node=name, stage="begun", message=why))
        wants.facts.append((f"fence/{name}", attempt, at.view.term))
        wants.effects.append(PowerOff(node=name, round=number, devices=uses))
        self._shots[name] = Shot(at.now.mono_s, quiet(at))

    def _prove(
        self, devices: tuple[str, ...], evidence: str, case: _Case, at: Hearing, wants: Moves
    ) -> None:
        """The certificate, and with it whatever died: known before anything rests on it."""
        name, peer = case.node.name, at.view.peers.get(case.node.name)
        certificate = Certificate(
            id=f"C-{at.view.term}-{at.ledger.next_seq}",
            node=name,
            host=case.host.uuid,
            kind=POWER_OFF,
            by=at.me,
            evidence=evidence,
            devices=devices,
            boot=peer.boot if peer is not None else "",
            boot_hint=case.host.boot_hint,
        )
        text = f"{certificate.id}: {certificate.evidence}"
        wants.entries.append(Fenced(node=name, stage="proven", message=text))
        for key, value in issued(certificate, at):
            wants.facts.append((key, value, at.view.term))

    def _fail(self, case: _Case, message: str, at: Hearing, wants: Moves) -> None:
        """No level gave proof: the node is held, which is told once for each reason; and whoever ordered
        it off has to order it anew."""
        name, term = case.node.name, at.view.term
        tried = at.ledger.get(f"fence/{name}", Attempt)
        if tried is not None and tried.stage == "begun":
            over = replace(tried, stage="failed", message=message)
            wants.facts.append((f"fence/{name}", over, term))
        held = Unproven(node=name, host=case.host.uuid, message=message)
        if at.ledger.get(f"unproven/{name}", Unproven) != held:
            wants.entries.append(Fenced(node=name, stage="failed", message=message))
            wants.facts.append((f"unproven/{name}", held, term))
        if at.ledger.get(f"order/{name}", FenceOrder) is not None:
            wants.facts.append((f"order/{name}", Withdrawn(by="cxm"), term))

    def _forget(self, name: str, at: Hearing, wants: Moves) -> None:
        """Nobody looks for its death any more."""
        if at.ledger.get(f"unproven/{name}", Unproven) is not None:
            wants.facts.append((f"unproven/{name}", Withdrawn(by="cxm"), at.view.term))

    def _void(self, certificate: Certificate, why: str, at: Hearing, wants: Moves) -> None:
        name = certificate.node
        wants.facts.append((f"{CERTIFICATE}{name}", replace(certificate, void=why), at.view.term))
        wants.entries.append(Fenced(node=name, stage="void", message=f"{certificate.id}: {why}"))
        why = f"certificate {certificate.id} of {name} is void: {why}"
        wants.holds[hold_of(certificate)] = why
        self._shots.pop(name, None)


def _why(name: str, at: Hearing) -> str:
    """The evidence of this moment, for people and for whoever replays it."""
    probes, peer = at.probing.of(name, at.now), at.view.peers.get(name)
    parts: list[str] = []
    if peer is not None and peer.last_heard_s is not None:
        parts.append(f"silent for {peer.last_heard_s:.0f} s on {', '.join(peer.channels) or 'all'}")
    if probes.failing_s is not None:
        parts.append(f"toolstack does not answer ({probes.failed} tries, {probes.failing_s:.0f} s)")
    return ", ".join((*parts, "no living peer hears it"))
