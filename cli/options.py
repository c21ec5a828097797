"""The global options, understood before and after the command, and the frame of every command."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from cli.envelope import Failure, Finding, encoded, envelope
from cli.render.text import Line, Span, ansi, line, plain

# `cxm sim ctl` keeps its own `-o` here; an `-o` before the command must reach it too.
_SIM_OUTPUT = "cxm.sim.output"
_SPAN_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(slots=True)
class Invocation:
    """How this run of cxm was asked to look, ask and answer. `timeout_s` None: the command's own.

    `by_lines`: what comes as JSON is one document a line, to the end, whatever the end is.
    """

    command: str = ""
    output: str = "text"
    color: str = "auto"
    quiet: bool = False
    verbose: bool = False
    cluster: str | None = None
    config: Path | None = None
    timeout_s: float | None = None
    no_input: bool = False
    utc: bool = False
    by_lines: bool = False
    cluster_name: str | None = None
    """The cluster's, as soon as a command has heard of it."""

    @property
    def text(self) -> bool:
        return self.output == "text"

    def note(self, *parts: str | Span) -> None:
        """Something worth knowing that is not the result: on stderr, silent with `-q`."""
        if not self.quiet:
            _write(sys.stderr, self._painted([line(*parts)], sys.stderr))

    def say(self, *rows: Line) -> None:
        """Part of the result in text form, on stdout, at once."""
        _write(sys.stdout, self._painted(list(rows), sys.stdout))

    def hand_over(self, document: dict[str, Any]) -> None:
        """Part of the result as one JSON line, on stdout, at once."""
        self.by_lines = True
        _write(sys.stdout, encoded(document, compact=True))

    def emit(self, finding: Finding) -> None:
        """The end of the command: result on stdout, what went wrong on stderr (text) or in it."""
        if finding.streamed:
            return
        if not self.text:
            document = envelope(self.command, finding, self.cluster_name)
            _write(sys.stdout, encoded(document, compact=self.by_lines or self.output == "jsonl"))
            return
        _write(sys.stdout, self._painted(list(finding.lines), sys.stdout))
        for fault in () if finding.told else finding.errors:
            place = f"{fault.path}:{fault.line}:{fault.column}: " if fault.path else ""
            rows = [line(place, Span(f"error[{fault.code}]", "bad"), f": {fault.message}")]
            rows += [line(f"  {row}") for row in fault.hint.splitlines()]
            _write(sys.stderr, self._painted(rows, sys.stderr))

    def _painted(self, rows: list[Line], stream: Any) -> str:
        return ansi(rows) if self.colours(stream) else plain(rows)

    def colours(self, stream: Any) -> bool:
        if self.color != "auto":
            return self.color == "always"
        return "NO_COLOR" not in os.environ and bool(stream.isatty())

    @property
    def may_ask(self) -> bool:
        """True where a person can answer a question."""
        return not self.no_input and sys.stdin.isatty()


def _write(stream: Any, text: str) -> None:
    """A reader who has gone (`| head`) is no error, and must not become one at interpreter exit."""
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        _leave(stream)
    except OSError as error:
        # A full disk: the result is lost, and saying so is all that is left to do.
        _leave(stream)
        sys.stderr.write(f"cxm: the result cannot be written: {error.strerror}\n")
        sys.exit(1)


def _leave(stream: Any) -> None:
    """Let the interpreter's own last flush go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def invocation() -> Invocation:
    """The one of the command that runs now."""
    return click.get_current_context().ensure_object(Invocation)


class SpanOfTime(click.ParamType[float]):
    """`90s`, `5m`, `2h`, `1d` (or `1h30m`) as seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        parts = re.findall(r"(\d+(?:\.\d+)?)(ms|[smhd])", str(value))
        if not parts or "".join(map("".join, parts)) != value:
            self.fail(f"{value!r} is not a duration: write 30s, 5m, 2h or 1d", param, ctx)
        return sum(float(number) * _SPAN_UNITS[unit] for number, unit in parts)


def _keep(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value is None:
            return
        setattr(ctx.ensure_object(Invocation), name, value)
        if name == "output":
            ctx.meta[_SIM_OUTPUT] = value

    return callback


def _option(*names: str, keep: str, text: str, **settings: Any) -> click.Option:
    return click.Option(
        list(names), expose_value=False, callback=_keep(keep), help=text, default=None, **settings
    )


def _flag(*names: str, keep: str, text: str) -> click.Option:
    return _option(*names, keep=keep, text=text, is_flag=True, flag_value=True)


GLOBAL: tuple[click.Option, ...] = (
    _option(
        "-o", "--output", keep="output", type=click.Choice(["text", "json", "jsonl"]),
        text="Form of the result.",
    ),
    _option(
        "--color", keep="color", type=click.Choice(["auto", "always", "never"]),
        text="Colour on a terminal (NO_COLOR is honoured).",
    ),
    _flag("-q", "--quiet", keep="quiet", text="Nothing on stderr but errors."),
    _flag("-v", "--verbose", keep="verbose", text="More detail."),
    _option("--cluster", keep="cluster", text="Refuse to work with any other cluster."),
    _option(
        "--config", keep="config", type=click.Path(path_type=Path),
        text="Settings of this node.  [$CXM_CONFIG, /etc/cxm/node.yaml]",
    ),
    _option("--timeout", keep="timeout_s", type=SpanOfTime(), text="Give up after this long."),
    _flag("--no-input", keep="no_input", text="Never ask anything."),
    _flag("--utc", keep="utc", text="Times in UTC."),
)  # fmt: skip


class CxmCommand(click.Command):
    """A command that takes the global options too, and whose return value is its `Finding`."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *GLOBAL]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = [row for p in super().get_params(ctx) if (row := p.get_help_record(ctx)) is not None]
        if own:
            with formatter.section("Options"):
                formatter.write_dl(own)
        rows = [row for p in GLOBAL if (row := p.get_help_record(ctx)) is not None]
        with formatter.section("Global options"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        run = ctx.ensure_object(Invocation)
        run.command = self.name or ""
        try:
            finding = super().invoke(ctx)
        except Failure as stop:
            finding = stop.finding
        if isinstance(finding, Finding):
            run.emit(finding)
            ctx.exit(finding.exit)
        return finding


def cxm_command(name: str) -> Callable[[Callable[..., Finding | None]], click.Command]:
    """Declare a command: its first docstring line is its short help."""
    return click.command(name=name, cls=CxmCommand)
