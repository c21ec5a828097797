"""How a daemon starts: what it is told on its command line, and the status with which it ends at once."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

EX_USAGE = 64
EX_DATAERR = 65
EX_SOFTWARE = 70
EX_IOERR = 74
EX_TEMPFAIL = 75
EX_CONFIG = 78
"""Of sysexits.h. The units do not restart their daemons after 64, 65 and 78: a human has to act."""

CONFIG = Path("/etc/cxm/node.yaml")
"""As in `schema.settings`, with which YAML would come: not every daemon has room for that."""


class CannotStart(Exception):
    """The daemon cannot start; the text says where, why and what to do."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def config_given(daemon: str, about: str) -> Path:
    """The file of settings that the command line names. Wrong usage, --help and --version end here."""
    parser = _Parser(prog=daemon, description=about)
    parser.add_argument("--config", type=Path, default=CONFIG, metavar="FILE")
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    config: Path = parser.parse_args().config
    return config


def end(daemon: str, error: CannotStart) -> NoReturn:
    sys.stderr.write(f"{daemon}: {error}\n")
    sys.exit(error.status)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """argparse would exit with 2, which here means that something differs."""
        self.print_usage(sys.stderr)
        self.exit(EX_USAGE, f"{self.prog}: {message}\n")


class _Version(argparse.Action):
    """Looked up only when asked for: the package's own records are slow to load."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> NoReturn:
        from importlib.metadata import version  # noqa: PLC0415

        sys.stdout.write(f"{parser.prog} {version('cxm')}\n")
        parser.exit()
