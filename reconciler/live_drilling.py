"""Live drilling: a node in maintenance is switched off and on again, to see whom its devices switch.

The stage is a fact, known to a quorum before the effect that follows it, so whoever leads next goes on
with it. Only the very process that had the devices switched off judges what came of that: every other
one gives the power back and says that nothing was shown. Nothing is ever switched off twice.
Why in this order: docs/fencing.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from fencing.devices import DeviceUse, levels
from fencing.ladder import Power
from fencing.live_drill import CALM_S, GONE_S, TABLE, WINDOW_S, Seen, Step, crossed, judged
from membership.proofs import LIVE_DRILL, Drill, DrillStage, Found, Live, LiveDrill, Tie
from membership.view import PeerState
from reconciler.accusing import Hearing
from reconciler.deaths import Deaths, tried
from reconciler.drill_rules import UNREAD, UNSEEN, Readings, Refusal, unfit
from reconciler.drilling import key, known
from reconciler.leading import Moves
from reconciler.observed import ObservedNode
from reconciler.power import LookAtPower, PowerLooked, PowerOff, PowerOn, PowerSwitched
from reconciler.probing import has_daemon
from reconciler.records import Drilled
from schema.model import Node

DRILL_OFF, DRILL_ON, DRILL_LOOK = -3, -4, -5
"""Rounds of what is asked of devices for a live drill, which no climb has."""

STEP_S = 1.0
ON_AGAIN_S = 30.0
PROBES_NEEDED = 2
"""So many questions to a toolstack fail before it counts as silent."""


_NEXT: Mapping[DrillStage, Step] = {
    DrillStage.ASKED: Step.REFUSED,
    DrillStage.OFF: Step.SHOWN,
    DrillStage.ON: Step.BACK,
}


@dataclass(slots=True)
class _Own:
    """What this process did for the drill of this id. `answered_s` is when the devices answered last,
    `readings` what they said since, `next_s` when they are to be switched on (again)."""

    id: str
    stage: DrillStage
    began_s: float
    switching: bool = False
    looking: bool = False
    answered_s: float | None = None
    said: Mapping[str, str] = field(default_factory=dict)
    readings: Mapping[str, str] = field(default_factory=dict)
    next_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Case:
    drill: LiveDrill
    node: Node
    host: ObservedNode
    uses: tuple[DeviceUse, ...]


class LiveDrilling:
    """One node's. What is on its way to devices, and no more."""

    def __init__(self) -> None:
        self._own: _Own | None = None
        self._due_s: float | None = None
        self._asked_s = float("-inf")

    @property
    def deadline_s(self) -> float | None:
        """When time alone brings a drill forward."""
        return self._due_s

    # --- events ---------------------------------------------------------------------------------

    def step(self, at: Hearing, deaths: Deaths, readings: Readings) -> Moves:
        """Go on with the drill, where this node leads; `readings` are the latest of all devices."""
        wants, drill = Moves(), tried(at.ledger)
        if not at.leads or drill is None:
            self._own, self._due_s = None, None
            return wants
        self._due_s = at.now.mono_s + STEP_S
        case = _case(drill, at)
        if case is None:
            message = f"{drill.node} has left the tree, or its devices have"
            self._go(_NEXT[drill.stage], drill, Found.INTERRUPTED, message, at, wants)
            return wants
        match drill.stage:
            case DrillStage.ASKED:
                self._begin(case, at, deaths, readings, wants)
            case DrillStage.OFF:
                self._watch(case, at, wants)
            case DrillStage.ON:
                self._restore(case, at, wants)
        return wants

    def looked(self, event: PowerLooked) -> None:
        """Take in what devices showed."""
        own = self._own
        if own is not None and event.round == DRILL_LOOK and own.looking:
            own.looking = False
            own.readings = {found.device: found.power for found in event.found}

    def switched(self, event: PowerSwitched, at: Hearing) -> None:
        """Take in what devices answered."""
        own = self._own
        rounds = {DrillStage.OFF: DRILL_OFF, DrillStage.ON: DRILL_ON}
        if own is not None and own.switching and event.round == rounds.get(own.stage):
            own.switching, own.answered_s, own.said = False, at.now.mono_s, event.messages
            own.readings = {}

    # --- to begin it ----------------------------------------------------------------------------

    def _begin(
        self, case: _Case, at: Hearing, deaths: Deaths, readings: Readings, wants: Moves
    ) -> None:
        drill = case.drill
        refusal: Refusal | None = Refusal("Changed", "its devices are others in the tree by now")
        if len(case.uses) == len(drill.devices):
            refusal = unfit(case.node, case.host, case.uses, at, deaths, readings)
        if at.now.epoch_s >= drill.until_epoch_s:
            refusal = Refusal("Late", "it was not begun in time")
        if refusal is None:
            self._off(case, at, wants)
        elif refusal.reason == UNREAD:
            self._read(case, at, wants)
        elif refusal.reason != UNSEEN:
            self._go(Step.REFUSED, drill, Found.REFUSED, refusal.message, at, wants)

    def _read(self, case: _Case, at: Hearing, wants: Moves) -> None:
        """A successor has read no device yet."""
        if at.now.mono_s - self._asked_s >= ON_AGAIN_S:
            self._asked_s = at.now.mono_s
            look = LookAtPower(node=case.node.name, round=DRILL_LOOK, devices=case.uses)
            wants.effects.append(look)

    def _off(self, case: _Case, at: Hearing, wants: Moves) -> None:
        """The fact first: the effect waits until enough voters know it."""
        drill, peer = case.drill, at.view.peers[case.node.name]
        message = f"{', '.join(drill.devices)}: {drill.by}: {drill.reason}"
        wirings = {use.device: use.wiring for use in case.uses}
        stage = TABLE[drill.stage, Step.BEGUN]
        after = replace(drill, stage=stage, boot=peer.boot, wirings=wirings)
        wants.entries.append(Drilled(node=drill.node, stage="begun", message=message))
        wants.facts.append((LIVE_DRILL, after, at.view.term))
        wants.effects.append(PowerOff(node=drill.node, round=DRILL_OFF, devices=case.uses))
        self._own = _Own(drill.id, DrillStage.OFF, at.now.mono_s, switching=True)

    # --- while it is off ------------------------------------------------------------------------

    def _watch(self, case: _Case, at: Hearing, wants: Moves) -> None:
        drill, own = case.drill, self._own
        if own is None or own.id != drill.id or own.stage is not DrillStage.OFF:
            message = "who had it switched off leads no more; nothing is known of the devices"
            self._go(Step.SHOWN, drill, Found.INTERRUPTED, message, at, wants)
            return
        seen = _seen(case, own, at)
        if found := crossed(seen):
            self._shown(case, *found, at, wants)
        elif own.answered_s is None:
            return
        elif not own.readings:
            self._look(case, own, wants)
        elif found := judged(seen, at.now.mono_s - own.answered_s, _window_s(at)):
            self._shown(case, *found, at, wants)

    def _look(self, case: _Case, own: _Own, wants: Moves) -> None:
        if not own.looking:
            own.looking = True
            look = LookAtPower(node=case.node.name, round=DRILL_LOOK, devices=case.uses)
            wants.effects.append(look)

    def _shown(self, case: _Case, found: Found, message: str, at: Hearing, wants: Moves) -> None:
        """What binds nothing is known at once; what binds waits until the node is back in a new boot."""
        if found in (Found.LIES, Found.CROSSED):
            wants.facts += _told(case, found, message, at)
        self._go(Step.SHOWN, case.drill, found, message, at, wants)

    def _go(
        self, step: Step, drill: LiveDrill, found: Found, message: str, at: Hearing, wants: Moves
    ) -> None:
        after = replace(drill, stage=TABLE[drill.stage, step], found=found, message=message)
        stage = "over" if step is Step.BACK else found.value
        wants.entries.append(Drilled(node=drill.node, stage=stage, message=message))
        wants.facts.append((LIVE_DRILL, after, at.view.term))
        self._own = None

    # --- until it is back -----------------------------------------------------------------------

    def _restore(self, case: _Case, at: Hearing, wants: Moves) -> None:
        """Power is given back until the node is seen well: whoever leads may say so, and again."""
        drill, own, now_s = case.drill, self._own, at.now.mono_s
        if own is None or own.id != drill.id or own.stage is not DrillStage.ON:
            own = self._own = _Own(drill.id, DrillStage.ON, now_s, next_s=now_s)
        since_s = now_s - own.began_s
        anew = _boot(case, at) not in ("", drill.boot)
        home = anew or (_boot(case, at) == drill.boot and since_s >= CALM_S)
        on = bool(own.readings) and all(power == Power.ON for power in own.readings.values())
        if home and on and not own.switching:
            self._back(case, at, wants, anew=anew)
        elif since_s >= GONE_S:
            found = Found.FAILED if drill.found is Found.BOUND else _found(drill)
            message = f"{drill.message}; but it has not come back: look at it"
            self._go(Step.BACK, drill, found, message, at, wants)
        elif not own.switching and now_s >= own.next_s:
            own.switching, own.looking, own.next_s = True, False, now_s + ON_AGAIN_S
            wants.effects.append(PowerOn(node=drill.node, round=DRILL_ON, devices=case.uses))
        elif home and not own.switching and not own.readings:
            self._look(case, own, wants)

    def _back(self, case: _Case, at: Hearing, wants: Moves, *, anew: bool) -> None:
        found, message = _found(case.drill), case.drill.message
        if found is Found.BOUND and not anew:
            found = Found.LIES
            message = f"{case.node.name} fell silent, and was never off: it is in its old boot"
        if found in (Found.BOUND, Found.LIES):
            wants.facts += _told(case, found, message, at)
        self._go(Step.BACK, case.drill, found, message, at, wants)


# --- what is seen -----------------------------------------------------------------------------------


def _case(drill: LiveDrill, at: Hearing) -> _Case | None:
    nodes = at.adoption.nodes
    found = next(((n, h) for n, h in nodes if n.name == drill.node and h.uuid == drill.host), None)
    if found is None:
        return None
    uses = [use for level in levels(at.desired, drill.node) for use in level]
    chosen = {use.device: use for use in uses if use.device in drill.devices}
    return _Case(drill, *found, tuple(chosen.values())) if chosen else None


def _found(drill: LiveDrill) -> Found:
    assert drill.found is not None, "it was seen before it was switched on"
    return drill.found


def _boot(case: _Case, at: Hearing) -> str:
    """The boot that the node's daemon lives in, "" while it is not heard."""
    peer = at.view.peers.get(case.node.name)
    return peer.boot if peer is not None and peer.state is PeerState.ALIVE else ""


def _window_s(at: Hearing) -> float:
    """Who falls at the end of it is known to have by `deadAfter` later."""
    return WINDOW_S + at.desired.cluster.heartbeat.dead_after_s


def _seen(case: _Case, own: _Own, at: Hearing) -> Seen:
    nodes = {node.name: node for node in at.desired.nodes.values()}
    others = sorted({*nodes, *at.view.peers} - {case.node.name, at.me})
    states = {name: _silent(name, nodes.get(name), at) for name in others}
    return Seen(
        node=case.node.name,
        readings=own.readings,
        said=own.said,
        silent=_silent(case.node.name, case.node, at),
        fell=tuple(name for name, silent in states.items() if silent is True),
        doubtful=tuple(name for name, silent in states.items() if silent is None),
    )


def _silent(name: str, node: Node | None, at: Hearing) -> bool | None:
    """Whether the server is silent in every way that it has; None where they disagree."""
    ways = [*_daemon_silent(name, node, at), *_toolstack_silent(name, node, at)]
    if all(ways):
        return bool(ways)
    return None if any(ways) else False


def _daemon_silent(name: str, node: Node | None, at: Hearing) -> Iterator[bool]:
    peer = at.view.peers.get(name)
    if peer is None or (node is not None and not has_daemon(node)):
        return
    yield peer.state is not PeerState.ALIVE
    yield peer.state is PeerState.DEAD and not any(
        other.state is PeerState.ALIVE and name in other.sees
        for which, other in at.view.peers.items()
        if which != name
    )


def _toolstack_silent(name: str, node: Node | None, at: Hearing) -> Iterator[bool]:
    if node is None or node.host is None or node.host.uuid not in at.observed.nodes:
        return
    probes = at.probing.of(name, at.now)
    yield probes.failing_s is not None
    yield probes.failing_s is not None and probes.failed >= PROBES_NEEDED


# --- what is told -----------------------------------------------------------------------------------


def _told(case: _Case, found: Found, message: str, at: Hearing) -> Iterator[tuple[str, Drill, int]]:
    """What is known of each device from now on, whoever leads. Of one that the tree reaches in another way
    by now nothing was shown."""
    ties = {Found.BOUND: Tie.DRILL, Found.CROSSED: Tie.OTHER}
    switched = case.drill.wirings
    for use in (use for use in case.uses if use.wiring == switched.get(use.device)):
        before = known(use.device, use.node, case.host, at)
        live = Live(
            found=found,
            devices=case.drill.devices,
            wiring=use.wiring,
            boot=case.drill.boot,
            at_epoch_s=at.now.epoch_s,
            by=case.drill.by,
            message=message,
        )
        yield (
            key(use.device, use.node),
            _with(before, live, ties.get(found, Tie.NONE), at),
            at.view.term,
        )


def _with(before: Drill, live: Live, tie: Tie, at: Hearing) -> Drill:
    """One that is bound reads as on when this is said: the node is back."""
    if live.found is not Found.BOUND:
        return replace(before, live=live, passed=False, tie=tie, message=live.message)
    return replace(
        before,
        live=live,
        passed=True,
        passed_epoch_s=at.now.epoch_s,
        power=Power.ON.value,
        tie=tie if before.tie is not Tie.IDENTITY else Tie.IDENTITY,
        message=live.message,
    )
