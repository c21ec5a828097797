"""The hook scripts, ready to be put into a repository."""

from __future__ import annotations

import shlex
import shutil
import sys
from importlib.resources import files
from pathlib import Path, PurePath

NAMES = ("pre-commit", "post-commit")


def rendered(template: str, cxm: PurePath, socket: PurePath) -> str:
    """The script with the paths of this machine in it, quoted for the shell."""
    return template.replace("@CXM@", shlex.quote(str(cxm))).replace(
        "@SOCKET@", shlex.quote(str(socket))
    )


def hook_script(name: str, cxm: PurePath, socket: PurePath) -> str:
    """The text of the hook `name` (one of NAMES) for a repository on this machine."""
    template = files("cli.hooks").joinpath(f"{name}.sh").read_text(encoding="utf-8")
    return rendered(template, cxm, socket)


def this_program() -> Path:
    """Where cxm lies, for a hook that has no PATH: as it was called, else beside its Python."""
    called = Path(shutil.which(sys.argv[0]) or sys.argv[0]).absolute()
    beside = Path(sys.executable).with_name("cxm")
    return called if called.name == "cxm" or not beside.is_file() else beside
