"""The page on node.yaml has every field of it, in the words of the schema, and no other."""

from __future__ import annotations

import json
import re
from pathlib import Path

from schema import fields
from schema.settings import read_settings

PAGE = Path(__file__).parents[2] / "docs" / "node-settings.md"


def rows(part: fields.Schema, path: tuple[str, ...] = (), acts: bool = True) -> list[str]:
    """A row of the table for each field that is written by itself; of a list, for each of an item."""
    acts = part.get("x-cxm-effective", acts)
    items = part.get("items", {})
    inner = part.get("properties") or items.get("properties")
    if inner is not None:
        mark = "[]" if "properties" in items else ""
        here = (*path[:-1], path[-1] + mark) if path else ()
        return [row for key, field in inner.items() for row in rows(field, (*here, key), acts)]
    default = f"`{json.dumps(part['default'])}`" if "default" in part else ""
    words = " ".join(f"`{word}`" for word in part.get("enum", ()))
    later = "" if acts else " Checked and kept; nothing listens there yet."
    form = words or part.get("x-cxm-form", part["type"])
    return [f"| `{'.'.join(path)}` | {form} | {default} | {part['description']}{later} |"]


def test_every_field_is_there_in_the_words_of_the_schema() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [row for row in text.splitlines() if row.startswith("| `")] == rows(
        fields.document("settings")
    )


def test_the_example_is_valid() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    read = read_settings(example.encode())
    assert read.errors == ()
    assert read.settings is not None
    assert [way.way for way in read.settings.notify] == ["mail", "exec"]
