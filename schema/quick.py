"""The value of a plainly written file, at a tenth of the cost of reading it in full.

Most files of a tree are a few lines of `key: word` and `key: {flow of words}`. This reads just
those, and gives up (None) on whatever could mean something else: then the full reader decides, and
it alone reports errors. Where it does not give up, it agrees with the full reader: a property test
holds that. It matters to the commit hook, which begins with nothing read at every commit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from schema.dialect import MAX_BYTES, Value
from schema.scalars import Doubtful, resolve

_KEY = r"[A-Za-z][A-Za-z0-9._/-]*"
_WORD = r"[A-Za-z0-9][A-Za-z0-9._/%-]*"
_QUOTED = r'"[ !$-\[\]-~]*"'  # no quote, backslash or number sign within
_LINE = re.compile(
    rf"( *)({_KEY}):(?: +({_WORD}|{_QUOTED}|[{{\[][ -\"$-~]*[\]}}]))? *(?: #[ -~]*)?"
)
_SKIPPED = re.compile(r" *(?:#[ -~]*)?")
_TOKEN = re.compile(rf"{_WORD}(?=[ ,\]}}:])|{_QUOTED}(?=[ ,\]}}:])|[{{}}\[\], ]|:(?= )")
# Deeper nests are left to the full reader, which bounds them.
_DEPTH = 12
# A key must end within 1024 characters of its line.
_LENGTH = 1000


class _GivenUp(Exception):
    """The text is not plain enough."""


def value(content: bytes) -> Value | None:
    """The value of a whole file, or None where only the full reader can tell."""
    if len(content) > MAX_BYTES or not content.isascii():
        return None
    try:
        return _mapping(content.decode("ascii").split("\n")) or None
    except (_GivenUp, Doubtful, json.JSONDecodeError):
        return None


def _mapping(lines: list[str]) -> dict[str, Value]:
    whole: dict[str, Value] = {}
    levels = [(0, whole)]
    opened: dict[str, Value] | None = None
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None or len(line) > _LENGTH:
            if not _SKIPPED.fullmatch(line):
                raise _GivenUp
            continue
        indent, key, written = len(match[1]), match[2], match[3]
        if opened is not None:
            levels.append((indent, opened))
            if indent <= levels[-2][0] or len(levels) > _DEPTH:
                raise _GivenUp
        while levels[-1][0] > indent:
            levels.pop()
        level = levels[-1][1]
        if levels[-1][0] != indent or key in level or resolve(key) != key:
            raise _GivenUp
        opened = None
        if written is None:
            opened = level[key] = {}
        else:
            level[key] = _written(written)
    if opened is not None:
        raise _GivenUp
    return whole


def _written(text: str) -> Value:
    if text[0] in "{[":
        return json.loads(_as_json(text), object_pairs_hook=_pairs)
    return text[1:-1] if text[0] == '"' else resolve(text)


def _as_json(text: str) -> str:
    if text.count("{") + text.count("[") > _DEPTH:
        raise _GivenUp
    parts: list[str] = []
    position = 0
    token: Callable[[str, int], re.Match[str] | None] = _TOKEN.match
    while position < len(text):
        match = token(text, position)
        if match is None:
            raise _GivenUp
        part = match[0]
        parts.append(json.dumps(resolve(part)) if part[0].isalnum() else part)
        position = match.end()
    return "".join(parts)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Value]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _GivenUp
    return found
