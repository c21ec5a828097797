"""Drilling: devices are tried before they are needed, and what one says counts only where it is bound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from fencing.binding import Binding, Bound, Mismatch, bound
from fencing.devices import DeviceUse, Guard, Level
from fencing.ladder import Power, Reading
from membership.clock import Now
from membership.proofs import Drill, Found, Live, Tie
from reconciler.accusing import Hearing
from reconciler.observed import ObservedNode
from reconciler.power import DeviceFound

FRESH_S = 20.0

AGAIN_S = 600.0
"""How soon a device is tried again that failed."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A reading, what ties its device to the node, and when it came."""

    reading: Reading
    tie: Tie
    at_s: float

    def fresh(self, now: Now) -> bool:
        """Whether it was so lately that it need not be read again before something rests on it."""
        return now.mono_s - self.at_s <= FRESH_S


class Drilling:
    """One node's. `seen_on` are devices that have said on, so that their off says something."""

    def __init__(self) -> None:
        self._seen_on: set[str] = set()
        self._asked_s: dict[str, float] = {}
        self.last: dict[tuple[str, str], Seen] = {}
        """The latest reading of each device, by the node that it was asked about and its name."""

    def reading(
        self, seen: DeviceFound, use: DeviceUse, level: Level, host: ObservedNode, at: Hearing
    ) -> Reading:
        """What the answer of a device is worth for the node on this host, as one of its level."""
        tie, unbound = self._tie(seen, use, level, host, at)
        if seen.power == Power.ON and not unbound:
            self._seen_on.add(key(use.device, use.node))
        reading = Reading(seen.device, Power(seen.power), unbound, seen.message)
        self.last[use.node, use.device] = Seen(reading, tie, at.now.mono_s)
        return reading

    def _tie(
        self, seen: DeviceFound, use: DeviceUse, level: Level, host: ObservedNode, at: Hearing
    ) -> tuple[Tie, str]:
        """What ties this device to this node, and why it proves nothing of it ("" where it does)."""
        if seen.power == Power.UNKNOWN:
            return Tie.NONE, ""
        drill = told(use, host, at)
        live = shown_live(use, drill)
        if live is not None and live.found is not Found.BOUND:
            tie = Tie.OTHER if live.found is Found.CROSSED else Tie.NONE
            return tie, f"{live.message}; mend that, then cxm fence-drill {use.node} --live"
        binding = _binding(seen, host, at)
        if isinstance(binding, Mismatch):
            whose = _whose(seen, at) or "another server"
            said = f"it says {binding.controller}, not {binding.server}"
            return Tie.OTHER, f"it is {whose}'s: {said}"
        if not isinstance(binding, Bound) and not _binds(live, level):
            alone = f"only with {', '.join(live.devices)}" if live is not None else binding.why
            why = f"not bound to {use.node}: {alone}; cxm fence-drill {use.node} --live"
            return Tie.NONE, why
        tie = Tie.IDENTITY if isinstance(binding, Bound) else Tie.DRILL
        was_on = seen.power == Power.ON or key(use.device, use.node) in self._seen_on
        was_on = was_on or (drill is not None and drill.passed_epoch_s > 0.0)
        if Guard.SEEN_ON in use.guards and not was_on:
            return tie, "it has never said on, so its off says nothing"
        return tie, ""

    def noted(
        self, readings: Iterable[Reading], node: str, host: ObservedNode, at: Hearing
    ) -> Iterator[tuple[str, Drill]]:
        """The facts about devices of a node that is well: one that says on has passed."""
        for name, drill in self.seen(readings, node, host, at):
            passed = drill.power == Power.ON and drill.tie in (Tie.IDENTITY, Tie.DRILL)
            since = at.now.epoch_s if passed else drill.passed_epoch_s
            yield name, replace(drill, passed=passed, passed_epoch_s=since)

    def seen(
        self, readings: Iterable[Reading], node: str, host: ObservedNode, at: Hearing
    ) -> Iterator[tuple[str, Drill]]:
        """The facts about devices of any node: what they said. No trial, where it is not well."""
        for reading in readings:
            name = key(reading.device, node)
            before = known(reading.device, node, host, at)
            said = reading.unbound or reading.message or f"reads {reading.power.value}"
            tie = self.last[node, reading.device].tie
            yield name, replace(before, message=said, power=reading.power.value, tie=tie)

    def due(self, uses: Iterable[Level], host: ObservedNode, at: Hearing) -> Iterator[DeviceUse]:
        """The devices of a node that is well which are to be read now."""
        for use in (use for level in uses for use in level if not use.by_hand):
            if self._is_due(use, host, at):
                self._asked_s[key(use.device, use.node)] = at.now.mono_s
                yield use

    def _is_due(self, use: DeviceUse, host: ObservedNode, at: Hearing) -> bool:
        asked_s = self._asked_s.get(key(use.device, use.node))
        if asked_s is not None and at.now.mono_s - asked_s < AGAIN_S:
            return False
        drill = told(use, host, at)
        if drill is None or not drill.passed:
            return True
        return at.now.epoch_s - drill.passed_epoch_s >= use.drill_s


def key(device: str, node: str) -> str:
    """Of the fact about this device for this node."""
    return f"drill/{device}/{node}"


def known(device: str, node: str, host: ObservedNode, at: Hearing) -> Drill:
    """What is noted of this device for this node so far; nothing of another host of that name."""
    drill = at.ledger.get(key(device, node), Drill)
    if drill is None or drill.host != host.uuid:
        return Drill(device=device, node=node, host=host.uuid)
    return drill


def told(use: DeviceUse, host: ObservedNode, at: Hearing) -> Drill | None:
    """What earlier trials showed; nothing of those with another host of that name."""
    drill = at.ledger.get(key(use.device, use.node), Drill)
    return drill if drill is not None and drill.host == host.uuid else None


def shown_live(use: DeviceUse, drill: Drill | None) -> Live | None:
    """What a live drill showed of the device as it is reached now."""
    live = drill.live if drill is not None else None
    return live if live is not None and live.wiring == use.wiring else None


def _binds(live: Live | None, level: Level) -> bool:
    """The node fell silent when all that were switched were off: with less of them it may have run on."""
    return live is not None and {*live.devices} <= {use.device for use in level}


def _whose(seen: DeviceFound, at: Hearing) -> str:
    """The name of the server that this device is in; "" where it is none of the pool."""
    for host in at.observed.nodes.values():
        if isinstance(_binding(seen, host, at), Bound):
            return host.name
    return ""


def _binding(seen: DeviceFound, host: ObservedNode, at: Hearing) -> Binding:
    """Whether what the device says of itself is this host's, and no other one's."""
    rest = [_bios(other) for other in at.observed.nodes.values() if other.uuid != host.uuid]
    return bound(seen.identity, _bios(host), rest)


def _bios(host: ObservedNode) -> Mapping[str, str]:
    return {
        "system-serial-number": host.serial,
        "baseboard-serial-number": host.board_serial,
    }
