"""The moment at which something is decided, as an argument of every pure function."""

from __future__ import annotations

from schema.model import Frozen


class Now(Frozen, frozen=True, kw_only=True):
    """`mono_s` orders and measures; `epoch_s` only dates what people and other nodes read.

    Both are seconds. Intervals inside one daemon are always taken from `mono_s`: a stepped wall clock
    must not expire a grace period. Expiries that peers share are wall time, since nothing else means
    the same on two machines.
    """

    mono_s: float
    epoch_s: float
