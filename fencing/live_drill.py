"""The live drill: what is made of a node that was switched off to see who falls silent.

A device that does not say which server it switches is believed only after it has shown that once.
Plain functions of what was seen; the way from asked to over is `reconciler.live_drilling`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from fencing.ladder import Power
from membership.proofs import DrillStage, Found

WINDOW_S = 30.0
"""So long after the devices have answered others are listened to: switches and servers take their time."""

DOUBT_S = 60.0
"""So much longer one that is neither well nor surely silent is waited for."""

CALM_S = 120.0
"""A node that goes on in its old boot is left alone for so long: a slow device may switch it off yet."""

GONE_S = 900.0
"""After so long a node that has not come back is somebody's business."""


class Step(StrEnum):
    """`begun`: switched off, from now on. `shown`: something was, or nothing can be any more."""

    BEGUN = "begun"
    REFUSED = "refused"
    SHOWN = "shown"
    BACK = "back"


TABLE: Mapping[tuple[DrillStage, Step], DrillStage] = {
    (DrillStage.ASKED, Step.BEGUN): DrillStage.OFF,
    (DrillStage.ASKED, Step.REFUSED): DrillStage.OVER,
    (DrillStage.OFF, Step.SHOWN): DrillStage.ON,
    (DrillStage.ON, Step.BACK): DrillStage.OVER,
}
"""What is not listed is an error. There is one way to off, so nothing is switched off twice."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is seen while `node` is off. `readings`: each device to its power; `said`: to what it answered.

    `silent`: its daemon is dead on every channel, nobody hears it, and its toolstack answers nothing;
    None where only some of that is so. `fell` are others of which all of it is true now, `doubtful` others
    of which some is.
    """

    node: str
    readings: Mapping[str, str]
    said: Mapping[str, str]
    silent: bool | None
    fell: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()


def crossed(seen: Seen) -> tuple[Found, str] | None:
    """That another one fell, which is the end at once, whatever else is seen."""
    if not seen.fell:
        return None
    names = ", ".join(seen.fell)
    return Found.CROSSED, f"{names} fell silent when {seen.node} was to be switched off"


def judged(seen: Seen, since_s: float, window_s: float) -> tuple[Found, str] | None:
    """What the drill shows, `since_s` after the devices have answered; None while that is too soon."""
    if found := crossed(seen):
        return found
    doubt = bool(seen.doubtful) or seen.silent is None
    if since_s < window_s or (doubt and since_s < window_s + DOUBT_S):
        return None
    not_off = [name for name, power in seen.readings.items() if power != Power.OFF]
    if not_off:
        texts = (_text(name, seen) for name in not_off)
        return Found.FAILED, "; ".join(texts)
    if seen.doubtful:
        names = ", ".join(seen.doubtful)
        return Found.FAILED, f"{names} was not well meanwhile, so it cannot be told who fell"
    devices = ", ".join(seen.readings)
    if seen.silent is None:
        return Found.LIES, f"{seen.node} was not silent in every way while {devices} read off"
    if not seen.silent:
        return Found.LIES, f"{seen.node} lived on while {devices} read off"
    return Found.BOUND, f"{seen.node} fell silent by {devices}, and no other"


def _text(name: str, seen: Seen) -> str:
    said = seen.said.get(name, "")
    return f"{name} reads {seen.readings[name]}" + (f" after its answer: {said}" if said else "")
