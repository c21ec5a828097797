"""Whatever is written at whatever key: an error with a place, never an exception."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schema import dialect, fields, validation
from schema.errors import ConfigError
from schema.settings import read_settings
from schema.tree import load
from schema.writing import scalar

WORDS = st.sampled_from(
    ["vm/a", "xen1", "running", "8GB", "4GiB", "1h", "5%", "3 per 1h", "profile/p", ">=9.9", "yes"]
)
LEAVES = st.none() | st.booleans() | st.integers(-2, 9999) | WORDS | st.text("ab-:/%", max_size=8)
KEYS = st.sampled_from(
    sorted(
        {key for kind in fields.KINDS for path, _, _ in fields.leaves(kind) for key in path}
        | {"per 1h", "nonsense", "password"}
    )
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)


def flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(k)}: {flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    words = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    return scalar(value) if isinstance(value, str) else str(value)


def well_placed(errors: tuple[ConfigError, ...], text: str) -> bool:
    lines = text.splitlines() or [""]
    return all(
        1 <= error.line <= len(lines) and 1 <= error.column <= len(lines[error.line - 1]) + 1
        for error in errors
    )


@pytest.mark.parametrize("kind", fields.KINDS)
@given(document=st.dictionaries(KEYS, VALUES, max_size=8))
@settings(max_examples=60)
def test_any_document_of_any_kind(kind: str, document: dict[str, Any]) -> None:
    whole = {"name": "a", **document, "apiVersion": "cxm/v1", "kind": kind}
    text = "\n".join(f"{scalar(key)}: {flow(value)}" for key, value in whole.items())
    path = "cluster.yaml" if kind == "Cluster" else "a.yaml"
    loaded = load({path: text.encode()})
    own = tuple(error for error in loaded.errors if error.path == path)
    assert well_placed(own, text)
    assert (loaded.desired is None) == bool(loaded.errors)


@given(document=st.dictionaries(KEYS, VALUES, max_size=8))
def test_any_settings(document: dict[str, Any]) -> None:
    text = "\n".join(f"{scalar(key)}: {flow(value)}" for key, value in document.items())
    read = read_settings(text.encode())
    assert read.settings is None
    assert well_placed(read.errors, text)


@given(document=st.dictionaries(KEYS, VALUES, max_size=6))
def test_the_short_answer_agrees_with_the_long_one(document: dict[str, Any]) -> None:
    """`accepts` looks at the plain value alone; `check` also says what is wrong."""
    whole = {**document, "apiVersion": "cxm/v1", "kind": "VM", "name": "a", "manage": "observe"}
    for match in ({"name": "a"}, {"nme": "a"}):
        whole["match"] = match
        places = dialect.Document(text="", value=whole, places={})
        errors = validation.check("VM", "a.yaml", places)
        assert validation.accepts("VM", whole) is (errors == [])
