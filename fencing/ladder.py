"""The ladder: one node's way from accused to certified, device by device, level by level.

It says what is to be looked at, what is to be switched, and what that proves. A level proves when every
one of its devices, each bound to this node, was read as off; whether it was switched off by us makes
no difference. An answer of `off` alone proves nothing, and no rung outlives the accusation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fencing.judgement import Verdict


class Rung(StrEnum):
    IDLE = "idle"
    LOOK = "look"
    SWITCH = "switch"
    VERIFY = "verify"
    HELD = "held"
    PROVEN = "proven"


class Step(StrEnum):
    ACCUSED = "accused"
    ALL_OFF = "all-off"
    STILL_ON = "still-on"
    LEVEL_FAILED = "level-failed"
    EXHAUSTED = "exhausted"
    SWITCHED = "switched"
    AGAIN = "again"
    ACQUITTED = "acquitted"


TABLE: Mapping[tuple[Rung, Step], Rung] = {
    (Rung.IDLE, Step.ACCUSED): Rung.LOOK,
    (Rung.LOOK, Step.ALL_OFF): Rung.PROVEN,
    (Rung.LOOK, Step.STILL_ON): Rung.SWITCH,
    (Rung.LOOK, Step.LEVEL_FAILED): Rung.LOOK,
    (Rung.LOOK, Step.EXHAUSTED): Rung.HELD,
    (Rung.SWITCH, Step.SWITCHED): Rung.VERIFY,
    (Rung.VERIFY, Step.ALL_OFF): Rung.PROVEN,
    (Rung.VERIFY, Step.LEVEL_FAILED): Rung.LOOK,
    (Rung.VERIFY, Step.EXHAUSTED): Rung.HELD,
    (Rung.HELD, Step.AGAIN): Rung.LOOK,
    (Rung.PROVEN, Step.AGAIN): Rung.LOOK,
    **{(rung, Step.ACQUITTED): Rung.IDLE for rung in Rung},
}
"""What is not listed changes nothing."""

AGAIN_S = 15.0
"""How often the devices of a held node are looked at again: one that lost its power may come back. The same
of a node whose proof left it accused: more was begun on it than that covers."""

SHOTS = 3
"""So many times one level is switched off for one accusation; after that it is only looked at."""


class Power(StrEnum):
    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Reading:
    """What one device said. `unbound` is why it proves nothing of this node, "" where it is bound."""

    device: str
    power: Power
    unbound: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """Read identity and state of these devices, and come back with a reading of each."""

    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Switch:
    """Power the node off by these devices, once the attempt is known to a quorum."""

    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prove:
    """Every one of these devices was read as off: certify."""

    devices: tuple[str, ...]
    evidence: str


@dataclass(frozen=True, slots=True)
class Fail:
    """No level gave proof; `message` says of each device why."""

    message: str


Order = Look | Switch | Prove | Fail


class Ladder:
    """One node's. `round` numbers what is on its way: an answer to an earlier question changes nothing."""

    def __init__(self) -> None:
        self.rung = Rung.IDLE
        self.round = 0
        self.message = ""
        self._level = 0
        self._shots: dict[int, int] = {}
        self._said: dict[str, str] = {}
        self._asked = False
        self._again_s = 0.0

    @property
    def deadline_s(self) -> float | None:
        return self._again_s if self.rung in (Rung.HELD, Rung.PROVEN) else None

    def step(self, verdict: Verdict, levels: Sequence[Sequence[str]], now_s: float) -> list[Order]:
        """What is to be done now about a node of which this is believed."""
        if not verdict.may_look:
            self._acquit()
            return []
        if self.rung is Rung.IDLE:
            self._go(Step.ACCUSED)
        if self.rung in (Rung.HELD, Rung.PROVEN) and now_s >= self._again_s:
            self._level = 0
            self._said.clear()
            self._go(Step.AGAIN)
        return self._due(levels, now_s)

    def looked(
        self,
        round_: int,
        readings: Sequence[Reading],
        verdict: Verdict,
        levels: Sequence[Sequence[str]],
        now_s: float,
    ) -> list[Order]:
        """Take in what the devices of this level say, and go on."""
        if round_ != self.round or self.rung not in (Rung.LOOK, Rung.VERIFY):
            return []
        if not verdict.may_look:
            self._acquit()
            return []
        for reading in readings:
            self._said[reading.device] = reading.unbound or reading.message or reading.power.value
        devices = tuple(reading.device for reading in readings)
        if all(r.power is Power.OFF and not r.unbound for r in readings):
            evidence = ", ".join(f"{r.device} reads {r.power.value}" for r in readings)
            self._go(Step.ALL_OFF)
            self._again_s = now_s + AGAIN_S
            return [Prove(devices, evidence)]
        if self.rung is Rung.LOOK and self._may_switch(readings):
            if verdict.may_shoot:
                self._go(Step.STILL_ON)
                self._shots[self._level] = self._shots.get(self._level, 0) + 1
                return self._due(levels, now_s)
            self._said["brake"] = verdict.message
        return self._next_level(levels, now_s)

    def switched(self, round_: int, messages: Mapping[str, str]) -> None:
        """The devices have answered to `off`, whatever they said: only a look afterwards counts."""
        if round_ == self.round and self.rung is Rung.SWITCH:
            self._said.update(messages)
            self._go(Step.SWITCHED)

    def _may_switch(self, readings: Sequence[Reading]) -> bool:
        """A device that is not bound is never used, and one whose state it cannot tell is no help."""
        usable = all(not r.unbound and r.power is not Power.UNKNOWN for r in readings)
        return usable and self._shots.get(self._level, 0) < SHOTS

    def _next_level(self, levels: Sequence[Sequence[str]], now_s: float) -> list[Order]:
        self._level += 1
        if self._level < len(levels):
            self._go(Step.LEVEL_FAILED)
            return self._due(levels, now_s)
        return self._exhausted(now_s)

    def _exhausted(self, now_s: float) -> list[Order]:
        self._go(Step.EXHAUSTED)
        self._again_s = now_s + AGAIN_S
        said = "; ".join(f"{device}: {text}" for device, text in self._said.items())
        self.message = said or "it has no fence device"
        return [Fail(self.message)]

    def _due(self, levels: Sequence[Sequence[str]], now_s: float) -> list[Order]:
        """The order that this rung wants: once."""
        if self._asked:
            return []
        if self.rung is Rung.LOOK and not levels:
            return self._exhausted(now_s)
        if self.rung in (Rung.LOOK, Rung.VERIFY):
            self._ask()
            return [Look(tuple(levels[self._level]))]
        if self.rung is Rung.SWITCH:
            self._ask()
            return [Switch(tuple(levels[self._level]))]
        return []

    def _ask(self) -> None:
        self._asked = True
        self.round += 1

    def _acquit(self) -> None:
        self._go(Step.ACQUITTED)
        self._level = 0
        self._shots.clear()
        self._said.clear()
        self.message = ""

    def _go(self, step: Step) -> None:
        after = TABLE.get((self.rung, step))
        if after is not None:
            self.rung, self._asked = after, False
