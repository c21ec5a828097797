"""Looking: when Subversion is asked for its head, and what is known of its answers."""

from __future__ import annotations

from random import Random

from membership.clock import Now
from reconciler.messages import Look
from schema.model import Source


class Looking:
    """`looks` counts the answers, `failures` those in a row that were none; `answered_s` is when what
    Subversion showed was last here, None for never."""

    def __init__(self, random: Random) -> None:
        self.looks = 0
        self.failures = 0
        self.answered_s: float | None = None
        self._random = random
        self._under_way = False
        self._next_s: float | None = None

    @property
    def deadline_s(self) -> float | None:
        """When the next look is due; None while one is under way."""
        return None if self._under_way else self._next_s

    def begin(self, source: Source, now: Now) -> Look:
        """The look that begins now. The next one is spread, so that nodes do not ask together."""
        self._under_way = True
        spread = source.jitter * (2.0 * self._random.random() - 1.0)
        self._next_s = now.mono_s + source.poll_s * (1.0 + spread)
        return Look(timeout_s=source.timeout_s)

    def due(self, now: Now) -> bool:
        return self.deadline_s is not None and self.deadline_s <= now.mono_s

    def ended(self) -> None:
        """The look under way has an answer, whatever it is."""
        self._under_way = False
        self.looks += 1

    def failed(self) -> None:
        self.failures += 1

    def believed(self, now: Now) -> None:
        """Subversion answered, and what it showed is here."""
        self.failures, self.answered_s = 0, now.mono_s

    def asked(self, now: Now) -> int:
        """Somebody asks for a look: the number of the one that will have seen all that is committed by
        now. One under way may have read before that, so then the next counts, which follows at once."""
        self._next_s = now.mono_s
        return self.looks + (2 if self._under_way else 1)
