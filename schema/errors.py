"""Bad input as data: `ConfigError`, and the registry of codes.

Every code has a page, `docs/errors/CODE.md`: what it means, an example, the fix. A code is never
reused for another meaning. V0xx: the input is wrong. V8xx: a warning. V9xx: the input may be right,
but this daemon is too old to say (`needs_upgrade`).
"""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from schema.model import Frozen

TITLES = MappingProxyType(
    {
        "V001": "not valid YAML",
        "V002": "not plain UTF-8 text",
        "V003": "unknown key",
        "V004": "duplicate key",
        "V005": "anchor, alias or merge key",
        "V006": "tag",
        "V007": "directive",
        "V008": "more than one document in a file",
        "V009": "key that is not a string",
        "V010": "bare value that other readers take for something else",
        "V011": "file too large, nested too deeply, or empty",
        "V012": "not a size",
        "V013": "not a duration",
        "V014": "wrong type",
        "V015": "missing key",
        "V016": "value that is not one of the allowed words",
        "V017": "number or length out of bounds",
        "V018": "text of the wrong form",
        "V019": "listed twice",
        "V020": "name of a file",
        "V021": "name differs from the file's name",
        "V022": "name used twice",
        "V023": "identity used twice",
        "V024": "reference to something that is not in the tree",
        "V025": "circle in start.after",
        "V026": "placement contradicts itself",
        "V027": "cluster.yaml missing, misplaced or doubled",
        "V028": "fields that do not go together",
        "V029": "run node without a way to fence it",
        "V030": "timings in the wrong relation",
        "V031": "secret in the open",
        "V032": "previousNames clash",
        "V033": "fence agent whose off proves nothing",
        "V034": "option that a fence agent is not given",
        "V035": "number of networks unlike the other peers'",
        "V801": "restart waits for a window, but there is none",
        "V901": "unknown kind",
        "V902": "tree requires a newer cxm",
        "V903": "unknown apiVersion",
    }
)


class ConfigError(Frozen, frozen=True, kw_only=True):
    """One thing that is wrong in one file.

    `path` is relative to the root of the tree; `line` and `column` count from 1; `length` is the
    number of columns to underline, at least 1. `hint` says how to mend it, and is empty where the
    message says so already.
    """

    path: str
    line: int
    column: int
    code: str
    message: str
    hint: str = ""
    length: int = 1

    @property
    def severity(self) -> str:
        return "warning" if self.code.startswith("V8") else "error"

    @property
    def order(self) -> tuple[str, int, int, str, str]:
        return (self.path, self.line, self.column, self.code, self.message)


def arranged(errors: Iterable[ConfigError]) -> tuple[ConfigError, ...]:
    """Sorted by file, line and column, each once."""
    return tuple(sorted(set(errors), key=lambda error: error.order))


def needs_upgrade(errors: Iterable[ConfigError]) -> bool:
    """True where a newer daemon might accept the tree: the condition is then NeedsUpgrade."""
    return any(error.code.startswith("V9") for error in errors)
