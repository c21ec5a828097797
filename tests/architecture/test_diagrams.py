"""Diagrams in the docs are drawn from the tables that they show.

`python -m tests.architecture.test_diagrams` writes them anew.
"""

from __future__ import annotations

from pathlib import Path

from reconciler.revisions import TABLE, HeadState

PAGE = Path(__file__).parents[2] / "docs" / "revisions.md"
BEGIN, END = "```mermaid\n", "```\n"


def drawn() -> str:
    rows = sorted(
        (before.value, after.value, event.value) for (before, event), after in TABLE.items()
    )
    arrows = [f"    {before} --> {after}: {event}" for before, after, event in rows]
    return "\n".join(("stateDiagram-v2", f"    [*] --> {HeadState.NONE.value}", *arrows)) + "\n"


def test_the_page_shows_the_table_of_revisions() -> None:
    text = PAGE.read_text()
    shown = text[text.index(BEGIN) + len(BEGIN) : text.rindex(END)]
    assert shown == drawn(), "draw it anew: python -m tests.architecture.test_diagrams"


def main() -> None:
    text = PAGE.read_text()
    head, tail = text[: text.index(BEGIN) + len(BEGIN)], text[text.rindex(END) :]
    PAGE.write_text(head + drawn() + tail)


if __name__ == "__main__":
    main()
