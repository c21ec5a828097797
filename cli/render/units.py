"""Sizes, spans of time and moments, as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

from schema.model import Frozen

_SIZES = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


class Moment(Frozen, frozen=True, kw_only=True):
    """When something is shown, in epoch seconds, and the zone in which people read times.

    The daemon's monotonic seconds begin at the wall clock of its start (`reconciler.edge.clock`), so
    its moments are read as epoch seconds here. A wall clock that was stepped since then shifts what
    is shown, never what is done.
    """

    epoch_s: float
    zone: tzinfo


def size(count: int) -> str:
    """`4GiB` where that is exact, else one decimal of the largest unit that fits: `11.5GiB`."""
    for unit, name in _SIZES:
        if count >= unit:
            return f"{count // unit}{name}" if count % unit == 0 else f"{count / unit:.1f}{name}"
    return f"{count}B"


def span(seconds: float) -> str:
    """`12 s`, `3 min`, `2 h 5 min`, `3 d`: two figures at most, never negative."""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min"
    if whole < 172800:
        hours, minutes = divmod(whole // 60, 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{whole // 86400} d"


def clock(epoch_s: float, moment: Moment) -> str:
    """`09:14:02 +01:00` today, with the date before it on any other day."""
    at = datetime.fromtimestamp(epoch_s, moment.zone)
    today = datetime.fromtimestamp(moment.epoch_s, moment.zone).date()
    day = "" if at.date() == today else f"{at:%Y-%m-%d} "
    return f"{day}{at:%H:%M:%S} {_offset(at)}"


def _offset(at: datetime) -> str:
    text = f"{at:%z}"
    return "Z" if text == "+0000" else f"{text[:3]}:{text[3:5]}"


def utc(epoch_s: float) -> str:
    """RFC 3339 in UTC, to the second: the form of every time in JSON."""
    return f"{datetime.fromtimestamp(epoch_s, UTC):%Y-%m-%dT%H:%M:%SZ}"


def from_utc(text: str) -> float:
    """Epoch seconds of an RFC 3339 moment. Raises ValueError."""
    return datetime.fromisoformat(text).timestamp()


def counted(count: int, one: str, many: str = "") -> str:
    """`1 action`, `2 actions`."""
    return f"{count} {one if count == 1 else many or one + 's'}"
