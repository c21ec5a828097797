"""`cxm explain`: a field of a kind, or the resolved values of one object."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from cli.render.text import Cell, Line, Span, line, table
from schema.provenance import Resolved

NOT_YET = "not yet effective"
BUILT_IN = "built-in default"


def field_lines(name: str, schema: Mapping[str, Any], acting: Collection[str]) -> list[Line]:
    """What may be written there, what it means, and whether this release acts on it.

    `acting` holds the names of the fields that act.
    """
    mark = "" if acts(name, acting) else f"  ({NOT_YET}: validated and kept, nothing acts on it)"
    rows = [line(Span(name, "strong"), Span(mark, "warn"))]
    described = schema.get("description", "")
    rows += [line(f"  {described}")] if described else []
    rows += table(_facts(schema), indent=2)
    fields = inner(schema)
    if fields:
        marks = {key: not mark and not acts(f"{name}.{key}", acting) for key in fields}
        cells = [_inner_cells(key, part, later=marks[key]) for key, part in fields.items()]
        rows += [line(Span("Fields", "strong")), *table(cells, indent=2)]
    return rows


def inner(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of a map, or of each item of a list of maps."""
    found: Mapping[str, Any] = schema.get("properties") or schema.get("items", {}).get(
        "properties", {}
    )
    return found


def acts(name: str, acting: Collection[str]) -> bool:
    """Whether a field, or one inside it, acts in this release."""
    return any(
        field == name or field.startswith(f"{name}.") or name.startswith(f"{field}.")
        for field in acting
    )


def _facts(schema: Mapping[str, Any]) -> list[Sequence[Cell]]:
    facts: list[Sequence[Cell]] = [("type", _kind(schema))]
    if "default" in schema:
        facts.append(("default", written(schema["default"])))
    if "x-cxm-ref" in schema:
        facts.append(("names", f"an object of kind {schema['x-cxm-ref']}"))
    return facts


def _kind(schema: Mapping[str, Any]) -> str:
    form = schema.get("x-cxm-form")
    if form:
        return str(form)
    if "enum" in schema:
        return " | ".join(map(written, schema["enum"]))
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return "map" if kind == "object" else str(kind)


def _inner_cells(key: str, part: Mapping[str, Any], *, later: bool) -> Sequence[Cell]:
    default = f"default {written(part['default'])}" if "default" in part else ""
    mark = f"({NOT_YET}) " if later else ""
    return (key, _kind(part), default, mark + part.get("description", ""))


def resolved_lines(name: str, rows: Sequence[Resolved]) -> list[Line]:
    """Each value with the file and line it came from."""
    cells = [_resolved_cells(row) for row in rows]
    return [line(Span(name, "strong")), *table(cells, indent=2)]


def _resolved_cells(row: Resolved) -> Sequence[Cell]:
    mark = "" if row.effective else NOT_YET
    return (row.field, written(row.value), Span(origin(row), "dim"), Span(mark, "warn"))


def origin(row: Resolved) -> str:
    return BUILT_IN if row.path is None else f"{row.path}:{row.line}"


def written(value: Any) -> str:
    """A value as it would be written in a file, in one line."""
    if isinstance(value, str):
        return value or '""'
    if isinstance(value, bool | None):
        return json.dumps(value)
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {written(part)}" for key, part in value.items()) + "}"
    return str(value)


def resolved_data(rows: Sequence[Resolved]) -> list[dict[str, Any]]:
    return [
        {
            "field": row.field,
            "value": row.value,
            "path": row.path,
            "line": row.line,
            "effective": row.effective,
        }
        for row in rows
    ]
