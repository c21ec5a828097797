"""The reader against noise, and against another reader of the same language."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from schema import dialect, quick, scalars
from schema.dialect import Span
from schema.errors import ConfigError
from schema.forms import plain
from schema.tree import load
from schema.writing import scalar

_WORDS = """a b kind: VM name: - ? : { } [ ] , & * ! % | > ' " \\ # @ ` ~ <<: --- ... %YAML !!str &a *a
010 1_0 yes .inf 1:30 2026-01-01 0x1f 1e999 "\\u "\\U00110000" "\\ud800" |2 >- é \U0001f600"""
_SPACES = ("\n", "\n  ", "\n    ", " ", "\t", "\r", ": ", "- ", "\n- ", "\n? ")
FRAGMENTS = st.sampled_from([*_WORDS.split(), *_SPACES])


@given(st.binary(max_size=200))
@example(b'"\\U00110000"')
@example(b"%YAML 1.999999999999\n---\na")
@example(b"? ? ? ? a")
def test_noise_gives_errors_and_never_an_exception(content: bytes) -> None:
    loaded = load({"cluster.yaml": content})
    assert loaded.desired is None
    assert all(isinstance(error, ConfigError) and error.line >= 1 for error in loaded.errors)
    assert loaded.errors


@given(st.lists(FRAGMENTS, max_size=30).map("".join))
def test_almost_yaml_gives_a_document_or_errors(text: str) -> None:
    reading = dialect.read("a.yaml", text.encode())
    assert reading.errors or reading.document
    lines = len(dialect.LINE_END.split(text))
    assert all(1 <= error.line <= lines + 1 and error.column >= 1 for error in reading.errors)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner),
    max_leaves=12,
)


def flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(k)}: {flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str):
        return scalar(value)
    return plain(value)


@given(PLAIN)
def test_what_is_written_is_read_back(value: Any) -> None:
    reading = dialect.read("a.yaml", flow({"top": value}).encode())
    assert reading.errors == ()
    assert reading.document is not None
    # == holds 1 equal to True, so types are compared by their text.
    assert repr(reading.document.value) == repr({"top": value})


@given(PLAIN)
def test_other_readers_see_the_same(value: Any) -> None:
    text = flow({"top": value})
    theirs = YAML(typ="safe", pure=True).load(text)
    reading = dialect.read("a.yaml", text.encode())
    assert reading.document is not None
    assert repr(theirs) == repr(reading.document.value)


@given(PLAIN)
def test_the_quick_reader_agrees_or_gives_up(value: Any) -> None:
    agreed(flow({"top": value}))
    if isinstance(value, dict):
        agreed("\n".join(f"{scalar(k)}: {flow(v)}" for k, v in value.items()))


def agreed(text: str) -> bool:
    """Whether the quick reader made something of `text`; if so, it is what the full one makes."""
    quickly = quick.value(text.encode())
    if quickly is None:
        return False
    reading = dialect.read("a.yaml", text.encode())
    assert reading.errors == ()
    assert reading.document is not None
    assert repr(quickly) == repr(reading.document.value)
    return True


_NEARLY = [
    "a:",
    "b:",
    "k: ",
    ": ",
    " #",
    "# c",
    "true",
    "on",
    "010",
    "1.5",
    "12",
    "null",
    '"q"',
    "vm/a",
]
_NEARLY += ["a.b", "4GiB", "\n", "\n", "\n  ", "\n    ", "  ", " ", ", "]
NEARLY_PLAIN = st.sampled_from([*_NEARLY, *"{}[],:#-%abk\"'"])


@given(st.lists(NEARLY_PLAIN, max_size=25).map("".join))
@settings(max_examples=1500)
@example("a: b, c: d")
@example("a: {b: c}, d: e")
@example("a: b\n  c: d")
@example("a:\nb: c")
@example("a:\n  b: c\n d: e")
@example("a: {b:c}")
@example('a: {"b":c}')
@example("a: [b]#c")
@example("a: 1\n \n  # x\nb: 2")
@example("k: -\n")
@example("k" * 1100 + ": a")
@example("k: {" + "k" * 1100 + ": a}")
def test_the_quick_reader_gives_up_where_text_is_not_plain(text: str) -> None:
    agreed(text)
    agreed("k:\n  " + text)
    agreed("a: {k: " + text + "}")


def test_the_quick_reader_is_of_use(sample: dict[str, bytes]) -> None:
    plain = [path for path, content in sample.items() if agreed(content.decode())]
    assert len(plain) >= len(sample) - 1


@given(PLAIN.filter(lambda value: not isinstance(value, dict | list)))
def test_a_place_covers_exactly_what_is_written(value: Any) -> None:
    written = flow(value)
    text = f"a: 1\nlist: [first, {written} , last]\n"
    document = dialect.read("a.yaml", text.encode()).document
    assert document is not None
    span = document.places["list", 1].value
    assert (span.line, span.end_line) == (2, 2)
    assert text.split("\n")[1][span.column - 1 : span.end_column - 1] == written


def test_keys_and_values_have_their_places() -> None:
    document = dialect.read("a.yaml", b"start:\n  after: [vm/a,\n    'vm/b']\n").document
    assert document is not None
    assert document.places["start", "after"].key == Span(2, 3, 2, 8)
    assert document.places["start", "after", 1].value == Span(3, 5, 3, 11)
    assert document.nearest(("start", "after", 9, "x")) == document.places["start", "after"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("NULL", None),
        ("True", True),
        ("0", 0),
        ("-7", -7),
        ("+7", 7),
        ("1.", 1.0),
        ("-.5e-3", -0.0005),
        ("1e3", 1000.0),
        ("-", "-"),
        (".", "."),
        ("e3", "e3"),
        ("1.2.3", "1.2.3"),
        ("10.20.0.12", "10.20.0.12"),
        ("4GiB", "4GiB"),
        ("y", "y"),
        ("nO", "nO"),
        ("2026-12-01x", "2026-12-01x"),
        ("9" * 40, 10**40 - 1),
    ],
)
def test_bare_words_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    assert repr(scalars.resolve(text)) == repr(value)


@pytest.mark.parametrize("depth", [32, 33])
def test_depth_is_bounded(depth: int) -> None:
    reading = dialect.read("a.yaml", b"[" * depth + b"]" * depth)
    assert [error.code for error in reading.errors] == ["V011"] * (depth > 32)


def test_depth_of_an_attack_costs_nothing() -> None:
    assert dialect.read("a.yaml", b"[" * 200_000).errors[0].code == "V011"


@pytest.mark.parametrize("size", [dialect.MAX_BYTES, dialect.MAX_BYTES + 1])
def test_size_is_bounded(size: int) -> None:
    content = b"a: b\n" + b"#" * (size - 5)
    reading = dialect.read("a.yaml", content)
    assert [error.code for error in reading.errors] == ["V011"] * (size > dialect.MAX_BYTES)
