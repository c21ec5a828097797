"""Diagrams in the docs are drawn from the tables that they show.

`python -m tests.architecture.test_diagrams` writes them anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from fencing import live_drill
from membership.proofs import DrillStage
from reconciler import promotion, revisions, takeover

DOCS = Path(__file__).parents[2] / "docs"
BEGIN, END = "```mermaid\n", "```\n"

Table = Mapping[Any, StrEnum]
"""(state, event) -> state."""

PAGES: dict[str, tuple[Table, StrEnum]] = {
    "live-drill.md": (live_drill.TABLE, DrillStage.ASKED),
    "promotion.md": (promotion.TABLE, promotion.Stage.IDLE),
    "revisions.md": (revisions.TABLE, revisions.HeadState.NONE),
    "takeover.md": (takeover.TABLE, takeover.Stage.IDLE),
}


def drawn(table: Table, first: StrEnum) -> str:
    rows = sorted(
        (before.value, after.value, event.value) for (before, event), after in table.items()
    )
    arrows = [f"    {before} --> {after}: {event}" for before, after, event in rows]
    return "\n".join(("stateDiagram-v2", f"    [*] --> {first.value}", *arrows)) + "\n"


@pytest.mark.parametrize("name", PAGES)
def test_the_page_shows_the_table(name: str) -> None:
    text = (DOCS / name).read_text()
    shown = text[text.index(BEGIN) + len(BEGIN) : text.rindex(END)]
    assert shown == drawn(*PAGES[name]), "draw it anew: python -m tests.architecture.test_diagrams"


def main() -> None:
    for name, (table, first) in PAGES.items():
        text = (DOCS / name).read_text()
        head, tail = text[: text.index(BEGIN) + len(BEGIN)], text[text.rindex(END) :]
        (DOCS / name).write_text(head + drawn(table, first) + tail)


if __name__ == "__main__":
    main()
