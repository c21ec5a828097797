"""What a command found, and the envelope in which `-o json` hands it over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import msgspec

from cli.render.text import Line
from reconciler.status import EXIT, Observation
from schema.errors import ConfigError

USAGE, INTERRUPTED = "usage", "interrupted"
EXITS: Mapping[str, int] = MappingProxyType(
    {**{str(verdict): code for verdict, code in EXIT.items()}, USAGE: 64, INTERRUPTED: 130}
)
"""Verdict -> exit status of every command."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One entry of the envelope's `errors`."""

    code: str
    message: str
    hint: str = ""
    path: str = ""
    line: int = 0
    column: int = 0

    def plain(self) -> dict[str, Any]:
        """`code` and `message` always, the rest where there is something to say."""
        rest = {"path": self.path, "line": self.line, "column": self.column, "hint": self.hint}
        known = {key: value for key, value in rest.items() if value}
        return {"code": self.code, "message": self.message, **known}


def fault_of(error: ConfigError) -> Fault:
    return Fault(error.code, error.message, error.hint, error.path, error.line, error.column)


@dataclass(frozen=True, slots=True)
class Finding:
    """The end of a command: one model for text (`lines`) and JSON (`data`).

    `errors` are printed on stderr in text form unless
    `lines` tell them already (`told`). `streamed`: the result has been handed over line by line.
    """

    verdict: str
    data: Mapping[str, Any] = field(default_factory=dict)
    lines: Sequence[Line] = ()
    cluster: str | None = None
    observation: Observation | None = None
    errors: tuple[Fault, ...] = ()
    told: bool = False
    streamed: bool = False

    @property
    def exit(self) -> int:
        return EXITS[self.verdict]


class Failure(Exception):
    """A command cannot go on: expected, explained, with an exit status of its own."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.errors[0].message if finding.errors else finding.verdict)
        self.finding = finding


def failure(verdict: str, code: str, message: str, hint: str = "") -> Failure:
    """A `Failure` with one cause."""
    return Failure(Finding(verdict, errors=(Fault(code, message, hint),)))


def envelope(command: str, finding: Finding, cluster: str | None = None) -> dict[str, Any]:
    """The document of `-o json`. `observation` is absent where nothing was observed; `cluster` is its
    name, where the finding itself does not say."""
    seen = finding.observation
    head: dict[str, Any] = {
        "format": f"cxm.{command}/1.0",
        "cluster": finding.cluster or cluster,
        "verdict": finding.verdict,
        "exit": finding.exit,
    }
    if seen is not None:
        head["observation"] = msgspec.to_builtins(seen)
    return {**head, "data": dict(finding.data), "errors": [f.plain() for f in finding.errors]}


def encoded(document: Mapping[str, Any], *, compact: bool) -> str:
    """One line for `jsonl`, indented for `json`; ends with a newline."""
    raw = msgspec.json.encode(document)
    return (raw if compact else msgspec.json.format(raw, indent=2)).decode() + "\n"
