"""Survival: how many nodes may fall silent at once so that everything comes back that is to.

Each set of nodes is a what-if of its own, and in a large pool none of them is cheap. So one is worked
out at a time, seldom enough that it is never felt, and all of them again each minute, or as soon as
something changes by which they are judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import comb

from fencing.judgement import Belief
from reconciler.accusing import Hearing
from reconciler.deaths import Deaths
from reconciler.status import Lack, Survives
from reconciler.whatif import Outcome, WhatIf, what_if
from schema.model import Mode

AGAIN_S = 60.0
"""VMs move and grow: what was worked out is good for so long."""

APART_S = 1.0
"""From one what-if to the next."""

VMS_PER_S = 2000.0
"""In a pool of more VMs than that they are further apart: so many VMs for each second between."""

MOST_SETS = 200
"""How many sets of nodes are worked out; of larger losses that are more sets than that nothing is said."""


Key = tuple[object, ...]


class Survival:
    """One node's. What was worked out last of each set, and which is next."""

    def __init__(self) -> None:
        self._key: Key = ()
        self._found: dict[tuple[str, ...], Lack | None] = {}
        self._left: list[tuple[str, ...]] = []
        self._all: frozenset[tuple[str, ...]] = frozenset()
        self._tolerates: int | None = None
        self._begun_s = 0.0
        self.due_s: float | None = None

    def step(self, at: Hearing, deaths: Deaths) -> None:
        """Go on with one set, if it is time."""
        if at.view.alone or at.desired.cluster.mode is Mode.OBSERVE:
            self._key, self._left, self._all, self.due_s = (), [], frozenset(), None
            return
        now_s, key = at.now.mono_s, _key(at, deaths)
        if key != self._key:
            self._key, self._found, self._left = key, {}, []
            self._begin(at, deaths)
        elif not self._left and now_s >= self._begun_s + AGAIN_S:
            self._begin(at, deaths)
        if self._left and (self.due_s is None or now_s >= self.due_s):
            names = self._left.pop()
            self._found[names] = _lack(names, what_if(at, names))
            self.due_s = now_s + max(APART_S, len(at.observed.vms) / VMS_PER_S)
        if not self._left:
            self.due_s = self._begun_s + AGAIN_S

    def _begin(self, at: Hearing, deaths: Deaths) -> None:
        tolerates = at.desired.cluster.recovery.tolerate
        sets = tuple(_sets(_there(at, deaths), tolerates))
        self._left, self._all = list(reversed(sets)), frozenset(sets)
        self._begun_s, self._tolerates = at.now.mono_s, tolerates

    @property
    def survives(self) -> Survives | None:
        """What is known; None before every single loss was worked out."""
        sizes = sorted({len(names) for names in self._all})
        losses = 0
        for size in sizes:
            sets = [names for names in self._all if len(names) == size]
            if any(names not in self._found for names in sets):
                return None if size == 1 else Survives(losses=losses, tolerates=self._tolerates)
            lacks = [lack for names in sets if (lack := self._found[names]) is not None]
            if lacks:
                lacks.sort(key=lambda lack: (-lack.vms, lack.nodes))
                return Survives(losses=losses, tolerates=self._tolerates, lacks=tuple(lacks))
            losses = size
        return Survives(losses=losses, tolerates=self._tolerates) if sizes else None


def _there(at: Hearing, deaths: Deaths) -> list[str]:
    """The nodes that can still be lost."""
    adoption = at.adoption
    return [
        node.name for node, _ in adoption.nodes if deaths.verdicts[node.name].belief is Belief.WELL
    ]


def _sets(names: list[str], tolerates: int | None) -> Iterator[tuple[str, ...]]:
    """Single losses always, and as many at once as the tree wants, while that are not too many."""
    for size in range(1, min(max(1, tolerates or 0), len(names)) + 1):
        if size > 1 and comb(len(names), size) > MOST_SETS:
            return
        yield from combinations(names, size)


def _key(at: Hearing, deaths: Deaths) -> Key:
    """What all of it is judged by, but for the VMs."""
    target = at.ledger.target
    return (
        target.digest if target is not None else at.desired.cluster.id,
        tuple(hold.id for hold in at.ledger.holds),
        tuple(sorted((name, str(verdict.belief)) for name, verdict in deaths.verdicts.items())),
        tuple(sorted(host.uuid for host in at.observed.nodes.values() if host.enabled)),
        at.view.leader is None,
        at.view.voters,
        tuple(sorted(at.ledger.drains())),
    )


def _lack(names: tuple[str, ...], found: WhatIf) -> Lack | None:
    down = [row for row in found.vms if row.outcome is Outcome.DOWN]
    if not down:
        return None
    first = down[0]
    return Lack(
        nodes=names,
        vms=len(down),
        object=first.object,
        reason=first.reason,
        message=first.message,
    )
