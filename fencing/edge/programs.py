"""Which programs the daemon runs: fence agents of the system, and those a node's admin put there.

The tree names them, so whoever may commit chooses. What he may choose from is what root, or the
daemon's own user, has installed, and nobody else could have changed.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from fencing.devices import DeviceUse
from schema.fence_agents import Kind

SYSTEM = (Path("/usr/sbin"), Path("/usr/bin"))
_AGENT = re.compile(r"fence_[a-z0-9_]+")
_OWN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class ProgramError(Exception):
    """A program cannot be run. The text names it, says why, and how to mend it."""


def agent_program(use: DeviceUse, own: Path) -> Path:
    """The program of `use.agent`; `own` is the folder of this node's own programs, `fence.d`.

    Raises ProgramError.
    """
    if use.known.kind is Kind.PROGRAM:
        return own_program(use.options.get("program", ""), own)
    if not _AGENT.fullmatch(use.agent):
        raise ProgramError(f"{use.agent} is not the name of a fence agent, such as fence_ipmilan")
    return system_program(use.agent, "fence-agents")


def system_program(name: str, package: str) -> Path:
    """The program `name` of the system, which Debian's `package` brings."""
    for folder in SYSTEM:
        if (folder / name).exists():
            return _trusted(folder / name)
    raise ProgramError(f"{name} is not in {SYSTEM[0]} or {SYSTEM[1]}; apt-get install {package}")


def own_program(name: str, folder: Path) -> Path:
    """The program `name` of this node's own."""
    if not _OWN.fullmatch(name):
        raise ProgramError(f'program: "{name}" is not the name of a file in {folder}')
    if not (folder / name).exists():
        raise ProgramError(f"{folder / name} is not there; install it on every peer")
    return _trusted(folder / name)


def _trusted(path: Path) -> Path:
    """Where `path` leads to, if nobody but root and this user can change it or put another there."""
    path = path.resolve()
    found = path.stat()
    if not stat.S_ISREG(found.st_mode) or not found.st_mode & 0o100:
        raise ProgramError(f"{path} is not a program; it needs to be a file, and chmod 0755")
    _unchangeable(path, found)
    for folder in path.parents:
        _unchangeable(folder, folder.stat())
    return path


def _unchangeable(path: Path, found: os.stat_result) -> None:
    if found.st_uid not in (0, os.geteuid()):
        raise ProgramError(f"{path} belongs to uid {found.st_uid}; chown root it")
    # In a folder such as /tmp only the owner of a file can replace it.
    sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    if found.st_mode & 0o022 and not sticky:
        mode = stat.S_IMODE(found.st_mode)
        raise ProgramError(f"{path} has mode {mode:04o}, others can change it; chmod go-w it")
