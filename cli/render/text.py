"""Lines of styled text and columns of them; how they become characters is decided last.

Names come from the pool and from files, and a terminal obeys what it is sent: every control
character in a span is shown, never passed on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

Style = Literal["", "good", "bad", "warn", "live", "dim", "strong"]

_SGR: dict[Style, str] = {
    "": "",
    "good": "32",
    "bad": "31",
    "warn": "33",
    "live": "36",
    "dim": "2",
    "strong": "1",
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Span(NamedTuple):
    text: str
    style: Style = ""


Cell = str | Span
Line = tuple[Span, ...]


def line(*parts: Cell) -> Line:
    """One line; a plain string is a span without style."""
    return tuple(part if isinstance(part, Span) else Span(part) for part in parts)


def lines(text: str, style: Style = "") -> list[Line]:
    """The lines of a text that was rendered elsewhere."""
    return [line(Span(row, style)) for row in text.splitlines()]


def shown(text: str) -> str:
    """`text` with control and direction-changing characters made visible."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def table(rows: Iterable[Sequence[Cell]], *, indent: int = 0, gap: int = 2) -> list[Line]:
    """Columns as wide as their widest cell. A row may have fewer cells; its last is not padded."""
    cells = [line(*row) for row in rows]
    columns = max((len(row) for row in cells), default=0)
    widths = [
        max((len(shown(row[n].text)) for row in cells if n < len(row) - 1), default=0)
        for n in range(columns)
    ]
    return [_aligned(row, widths, " " * indent, " " * gap) for row in cells]


def _aligned(row: Line, widths: Sequence[int], indent: str, gap: str) -> Line:
    """A column in which every row is empty takes no room."""
    spans: list[Span] = [Span(indent)] if indent else []
    for n, cell in enumerate(row):
        spans.append(cell)
        if n < len(row) - 1 and widths[n]:
            spans.append(Span(" " * (widths[n] - len(shown(cell.text))) + gap))
    return tuple(spans)


def plain(rows: Iterable[Line]) -> str:
    """Characters without colour; no trailing blanks."""
    return "".join("".join(shown(s.text) for s in row).rstrip() + "\n" for row in rows)


def ansi(rows: Iterable[Line]) -> str:
    """Characters with colour, for a terminal."""
    return "".join("".join(_painted(s) for s in row).rstrip() + "\n" for row in rows)


def _painted(span: Span) -> str:
    code, text = _SGR[span.style], shown(span.text)
    return f"\x1b[{code}m{text}\x1b[0m" if code and text.strip() else text
