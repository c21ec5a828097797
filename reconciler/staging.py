"""Staging: getting the tree that was agreed, where it is not in force here yet."""

from __future__ import annotations

from membership.clock import Now
from membership.ledger import Target
from reconciler.messages import Stage
from reconciler.revisions import Revisions

AGAIN_S = 5.0
"""Until the agreed tree is asked for again, where it could not be had."""


class Staging:
    """One request at a time."""

    def __init__(self) -> None:
        self._under_way = False
        self._again_s: float | None = None

    @property
    def deadline_s(self) -> float | None:
        """When the tree is to be asked for again; None while it is, or where it is here."""
        return None if self._under_way else self._again_s

    def done(self) -> None:
        """What was agreed is in force here."""
        self._again_s = None

    def due(self, revisions: Revisions, agreed: Target, timeout_s: float, now: Now) -> Stage | None:
        """The request that is to be made now."""
        if self._under_way or (self._again_s is not None and now.mono_s < self._again_s):
            return None
        self._under_way, self._again_s = True, None
        since = revisions.target.head.revision if revisions.target is not None else 0
        return Stage(target=agreed, since=since, timeout_s=timeout_s)

    def ended(self, now: Now) -> None:
        """The request has an answer, be it that there is no tree."""
        self._under_way, self._again_s = False, now.mono_s + AGAIN_S
