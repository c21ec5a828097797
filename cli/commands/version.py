"""`cxm version`."""

from __future__ import annotations

import platform
from importlib.metadata import version

from cli.envelope import Finding
from cli.options import cxm_command
from cli.render.text import line


@cxm_command("version")
def command() -> Finding:
    """Which cxm this is."""
    own, python = version("cxm"), platform.python_version()
    lines = [line(f"cxm {own} (Python {python})")]
    return Finding("converged", {"version": own, "python": python}, lines)
