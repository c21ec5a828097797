"""Patience: for how long a node may lead without acting, before it lets another one try.

A leader that cannot reach the pool keeps its lease for ever: its heartbeats are well. So it stands
aside for a while where another voter is alive, and longer each time, lest nodes that all fail take
turns without end. People are told in either case.
"""

from __future__ import annotations

from membership.clock import Now
from membership.view import View
from reconciler.sharing import accompanied
from reconciler.takeover import Stage, Takeover

STUCK_S = 30.0
"""So long a stage may last; the wait for what a predecessor began does not count."""

ORPHANED_S = 300.0
"""The same where the pool's master is what is silent: to have it fenced and another one take its place
takes a while, and whoever else led would begin with it anew."""

ASIDE_S = 60.0
LONGEST_ASIDE_S = 600.0
"""For how long a node stands aside: twice as long each time until it has acted, up to this."""


class Patience:
    """`cannot` says why this node leads and cannot act, "" where it can or has not tried for long.
    `since_s` is when the present stage began."""

    def __init__(self) -> None:
        self.cannot = ""
        self.since_s = 0.0
        self.deadline_s: float | None = None
        self._at: tuple[Stage, int, bool, bool] | None = None
        self._aside_until_s: float | None = None
        self._next_aside_s = ASIDE_S

    @property
    def aside(self) -> bool:
        """Whether this node lets others try."""
        return self._aside_until_s is not None

    def follow(
        self, takeover: Takeover, untold: str, view: View, now: Now, *, orphaned: bool
    ) -> None:
        """Take in how far taking over has come. `untold` says why a leader that acts begins nothing;
        `orphaned`: the pool's master is silent, so that nobody could."""
        at = (takeover.stage, takeover.term, bool(untold), orphaned)
        if at != self._at:
            self._at, self.since_s = at, now.mono_s
        self.deadline_s = None
        if takeover.stage is Stage.ACTING and not untold:
            self.cannot, self._aside_until_s, self._next_aside_s = "", None, ASIDE_S
            return
        self._wait_aside(now)
        if takeover.stage is not Stage.IDLE:
            stuck_s = ORPHANED_S if orphaned else STUCK_S
            self._wait_for_progress(takeover, untold, view, now, stuck_s)
        elif not self.aside:
            self.cannot = ""

    def _wait_aside(self, now: Now) -> None:
        if self._aside_until_s is not None and self._aside_until_s <= now.mono_s:
            self._aside_until_s, self.cannot, self.since_s = None, "", now.mono_s
        self.deadline_s = self._aside_until_s

    def _wait_for_progress(
        self, takeover: Takeover, untold: str, view: View, now: Now, stuck_s: float
    ) -> None:
        waits = takeover.stage is Stage.WAIT
        from_s = max(self.since_s, view.acts_from_s) if waits else self.since_s
        if now.mono_s < from_s + stuck_s:
            self.deadline_s = self.deadline_s or from_s + stuck_s
            return
        self.cannot = untold or takeover.message or f"stage {takeover.stage} does not end"
        if not self.aside and accompanied(view):
            self._aside_until_s = now.mono_s + self._next_aside_s
            self._next_aside_s = min(2.0 * self._next_aside_s, LONGEST_ASIDE_S)
            self.deadline_s = self._aside_until_s
