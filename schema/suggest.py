"""Did-you-mean: the nearest of the words that would have been right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# Keys and names are short: at difflib's usual 0.6 `vms` is still offered for `vcpus`.
CUTOFF = 0.7


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that `word` most likely stands for, or None. Case is not counted as a difference."""
    folded = {choice.lower(): choice for choice in sorted(choices, reverse=True)}
    close = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=CUTOFF)
    return folded[close[0]] if close else None


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`; did you mean "placement"?`, or nothing: to be put after a message."""
    near = nearest(word, choices)
    return f'; did you mean "{near}"?' if near else ""


def listed(choices: Iterable[str], limit: int = 12) -> str:
    """`a, b, c`, cut after `limit` words."""
    words = list(choices)
    rest = f" and {len(words) - limit} more" if len(words) > limit else ""
    return ", ".join(words[:limit]) + rest
