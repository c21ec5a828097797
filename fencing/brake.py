"""The brake: what limits shooting when many nodes fall silent at once. It does not limit believing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from schema.model import FenceBudget, Labels

DOMAINS = ("rack", "pdu", "site")
"""Labels whose value names what fails together."""


@dataclass(frozen=True, slots=True)
class Run:
    """A node that has VMs: its labels, its share of the capacity (bytes of memory), and for how long
    nobody has heard it, None while somebody does."""

    labels: Labels
    capacity: int
    silent_s: float | None = None


def storm(node: str, runs: Mapping[str, Run], me: str, window_s: float) -> str:
    """Why `node` is not shot: too much fell silent with it; "" where that is no reason.

    Together is what fell silent within `window_s` of each other: that long is how far apart one blow
    to all may be noticed.
    """
    fallen = sorted(_with(node, runs, window_s))
    if len(fallen) < 2:
        return ""
    others = [name for name in runs if name != me]
    names = ", ".join(fallen)
    if 2 * len(fallen) > len(others):
        return f"{names} fell silent together: more than half of the other {len(others)} nodes"
    for label in DOMAINS:
        value = runs[node].labels.get(label)
        members = [name for name, run in runs.items() if value and run.labels.get(label) == value]
        if len(members) > 1 and set(members) <= set(fallen):
            return f"all of {label} {value} fell silent together: {', '.join(sorted(members))}"
    return ""


def _with(node: str, runs: Mapping[str, Run], window_s: float) -> Iterable[str]:
    fell_s = runs[node].silent_s
    for name, run in runs.items():
        if run.silent_s is None or fell_s is None:
            continue
        if abs(run.silent_s - fell_s) <= window_s:
            yield name


def overspent(node: str, attempts: Mapping[str, float], budget: FenceBudget, epoch_s: float) -> str:
    """Why the budget forbids one more power-off; "" where it does not. `attempts`: node to the wall time
    of the last one. A second try at the same node costs nothing more."""
    recent = [
        name for name, at_s in attempts.items() if name != node and epoch_s - at_s < budget.per_s
    ]
    if len(recent) < budget.count:
        return ""
    within = f"{budget.count} in {budget.per_s:.0f} s"
    return f"the budget of {within} is spent on {', '.join(sorted(recent))}"


def sunk(node: str, runs: Mapping[str, Run], budget: FenceBudget) -> str:
    """Why the capacity that is left would be too little; "" where it is enough."""
    total = sum(run.capacity for run in runs.values())
    left = sum(run.capacity for name, run in runs.items() if name != node and run.silent_s is None)
    if total == 0 or left >= budget.floor * total:
        return ""
    share = f"{100 * left // total} %"
    return f"{share} of the capacity would be left, and the floor is {budget.floor:.0%}"
