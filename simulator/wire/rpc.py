"""What both codecs produce: a decoded call, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.values import Value


class Malformed(Exception):
    """The body is not a call at all, so the server answers HTTP 500 and never an API failure.

    ``text`` is what the page shows under "additional information": a real server names the
    exception of its own parser there, and people paste that line into bug reports.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it arrived; ``params`` still includes the session, if there is one."""

    method: str
    params: tuple[Value, ...]
