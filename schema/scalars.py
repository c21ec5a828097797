"""What a bare word in a file means: the YAML 1.2 core schema, less what other readers see otherwise.

YAML 1.1 readers (most editors' plug-ins and scripts) take `yes` for true, `010` for eight, `1_000`
for a thousand, `1:30` for ninety and `2026-12-01` for a date, where 1.2 sees text or ten. Such a
value is refused rather than resolved, so that a file means the same to everyone who reads it.
"""

from __future__ import annotations

import re

Scalar = str | int | float | bool | None

_WORDS: dict[str, Scalar] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_SWITCHES = frozenset(
    form for word in ("yes", "no", "on", "off") for form in (word, word.capitalize(), word.upper())
)
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)?(?:\.[0-9]+|(?<=[0-9])\.)?(?:[eE][-+]?[0-9]+)?")
_DOUBTFUL = (
    (re.compile(r"[-+]?0[0-9_]+(?:\.[0-9]*)?"), "has leading zeros"),
    (re.compile(r"[-+]?0[xob][0-9a-fA-F_]+"), "is a number in another base"),
    (re.compile(r"[-+]?[0-9][0-9_]*_[0-9_]*(?:\.[0-9_]*)?"), "has underscores between digits"),
    (re.compile(r"[-+]?[0-9]+(?::[0-5]?[0-9])+(?:\.[0-9]*)?"), "is a number to base 60"),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?"), "is a date"),
    (re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"), "is not a finite number"),
)
# The first characters that a number, a date or a special float can have.
_NUMBER_STARTS = frozenset("0123456789+-.")


class Doubtful(ValueError):
    """A bare value that is refused; its text says what other readers see in it."""


def resolve(text: str) -> Scalar:
    """The value of the plain (unquoted) scalar `text`. Raises `Doubtful`."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in _NUMBER_STARTS:
        return _number(text)
    if text in _SWITCHES:
        raise Doubtful("is true or false to some readers and text to others")
    return text


def _number(text: str) -> Scalar:
    for pattern, why in _DOUBTFUL:
        if pattern.fullmatch(text):
            raise Doubtful(f"{why} to some readers")
    if _INT.fullmatch(text):
        return _whole(text)
    if any(c.isdigit() for c in text) and _FLOAT.fullmatch(text):
        value = float(text)
        if abs(value) == float("inf"):
            raise Doubtful("is too large for a number")
        return value
    return text


def _whole(text: str) -> int:
    # Far beyond any number of bytes; without a bound Python's own, of 4300 digits, would be met.
    if len(text) > 40:
        raise Doubtful("is too large for a number")
    return int(text)


def needs_quotes(text: str) -> bool:
    """True where `text`, written bare, would not be read back as the same text."""
    try:
        return resolve(text) != text
    except Doubtful:
        return True
