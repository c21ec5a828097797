"""Error codes of Subversion, each in the class that says what a daemon can do about it.

`unreachable` may pass by itself; the others wait for a human. Codes below 1000 are errno values. The
codes were provoked against file://, svnserve and Apache where that was possible.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

REFUSED = "refused"
CHANGED = "changed"
MISSING = "missing"
UNREACHABLE = "unreachable"
BROKEN = "broken"

_BY_CLASS = MappingProxyType(
    {
        # No right, wrong password, untrusted certificate, no common login mechanism.
        REFUSED: (170001, 170011, 215000, 215003, 215004, 220001, 220004, 230001, 210007),
        # History is not what it was: HEAD went back, or the path has another origin.
        CHANGED: (160006, 195012, 170009),
        # Nothing (or nothing we can use) is there.
        MISSING: (160005, 160013, 160016, 170000, 180001, 200009, 210005, 125002, 125006, 155007),
        UNREACHABLE: (
            *(32, 101, 103, 104, 110, 111, 112, 113),
            *(170012, 170013, 175002, 175003, 175012, 200015, 200033, 210002, 670002, 670003),
        ),
    }
)
_CLASS = MappingProxyType({code: name for name, codes in _BY_CLASS.items() for code in codes})

_CALLBACK_MISSING = re.compile(r"^callback_(get_login|ssl_\w+) required$")
_USERINFO = re.compile(r"//[^/@\s]*@")


def classify(codes: Sequence[int], text: str) -> str:
    """The class of an error with these codes, outermost first.

    The outermost is often just "unable to connect" (170013) around what really happened, so the class
    that needs a human wins. An error raised by pysvn itself for want of a callback carries no code,
    only its text.
    """
    if _CALLBACK_MISSING.match(text):
        return REFUSED
    found = {_CLASS[code] for code in codes if code in _CLASS}
    for name in (*_BY_CLASS,):
        if name in found:
            return name
    return BROKEN


def codes_of(args: Sequence[Any]) -> list[int]:
    """Codes of a ClientError with exception_style 1; it has none where pysvn itself complains."""
    rows = args[1] if len(args) > 1 else []
    return [int(row[1]) for row in rows]


def text_of(args: Sequence[Any]) -> str:
    """One line for people, without a password that a URL may carry."""
    text = str(args[0]) if args else "no text"
    return _USERINFO.sub("//", "; ".join(line for line in text.splitlines() if line))
