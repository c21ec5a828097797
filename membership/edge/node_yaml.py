"""node.yaml for a daemon that starts: all of its settings, or what is wrong with them.

It brings YAML with it: `cxm-heartbeatd` reads it in a child process (`node_settings`).
"""

from __future__ import annotations

from pathlib import Path

from membership.edge.starting import EX_CONFIG, CannotStart
from schema.report import render
from schema.settings import Settings, read_settings


def read(config: Path) -> Settings:
    """Raises CannotStart with every error in the file."""
    try:
        content = config.read_bytes()
    except OSError as error:
        hint = "give --config FILE"
        raise CannotStart(EX_CONFIG, f"{config}: {error.strerror}; {hint}") from None
    found = read_settings(content, str(config))
    if found.settings is None:
        raise CannotStart(EX_CONFIG, render(found.errors, {str(config): content}, read=1).rstrip())
    return found.settings
