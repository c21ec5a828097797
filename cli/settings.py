"""Finding the settings of this node: `--config`, then CXM_CONFIG, then /etc/cxm/node.yaml."""

from __future__ import annotations

import os
from pathlib import Path

from cli.envelope import Failure, Finding, failure, fault_of
from cli.options import Invocation
from cli.render.text import lines
from schema.report import render
from schema.settings import PATH, Settings, read_settings

_HINT = "give --config FILE or set CXM_CONFIG; cxm survey and cxm validate need no settings"


def config_path(run: Invocation) -> Path:
    return run.config or Path(os.environ.get("CXM_CONFIG") or PATH)


def node_settings(run: Invocation) -> Settings:
    """The settings of this node. Raises Failure: 1 where there are none, 3 where they are wrong."""
    path = config_path(run)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise failure("error", "NoSettings", f"{path}: {error.strerror}", _HINT) from None
    return understood(path, content)


def understood(path: Path, content: bytes) -> Settings:
    """The content of a node.yaml. Raises Failure (3) with every error."""
    read = read_settings(content, str(path))
    if read.settings is None:
        text = render(read.errors, {str(path): content}, read=1)
        faults = tuple(fault_of(error) for error in read.errors)
        raise Failure(Finding("invalid", lines=lines(text), errors=faults, told=True))
    return read.settings
