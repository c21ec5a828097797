"""Commands of the demo: printed as one would type them, and run exactly so."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from cli.envelope import failure
from cli.options import Invocation
from cli.render.text import Line, Span, line

_WITHIN_S = 120.0


class Typist:
    """Types lines into a shell. The environment is the one that `D/env` gives."""

    def __init__(self, run: Invocation, env: Mapping[str, str]) -> None:
        self._run, self._env = run, dict(env)

    def tell(self, text: str) -> None:
        """A line of narration."""
        self._show(line(), line(Span(f"# {text}", "strong")))

    def type(self, command: str, *, expect: int = 0) -> None:
        """Print `command` and run it. Raises Failure (1) where it exits otherwise than expected."""
        self._show(line(Span("$ ", "dim"), command))
        try:
            done = subprocess.run(  # noqa: S603 - a line that the demo itself shows
                ["/bin/sh", "-c", command],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=None if self._run.text else sys.stderr,
                timeout=_WITHIN_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise failure("error", "DemoStuck", f"{command} took too long") from None
        if done.returncode != expect:
            message = f"{command} exited {done.returncode}, expected was {expect}"
            raise failure("error", "DemoFailed", message)

    def _show(self, *rows: Line) -> None:
        """Beside `-o json` stdout holds the envelope alone."""
        if self._run.text:
            self._run.say(*rows)
        else:
            for row in rows:
                self._run.note(*row)

    def ask(self, *command: str) -> Any:
        """The `data` of a command's JSON answer; not shown."""
        done = subprocess.run(  # noqa: S603 - an argument list, no shell
            command, env=self._env, capture_output=True, timeout=_WITHIN_S, check=False
        )
        try:
            return json.loads(done.stdout)["data"]
        except (ValueError, KeyError):
            told = done.stderr.decode("utf-8", "replace")
            raise failure("error", "DemoFailed", f"{' '.join(command)} failed", told) from None
