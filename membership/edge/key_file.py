"""The cluster key's file: `clusterKeyRef: NAME` in node.yaml is `secrets.d/NAME` beside it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

LONGEST = 16384
SHORTEST_KEY = 32


class KeyFileError(Exception):
    """The key file cannot be used. The text names the file, never its content."""


def read_keys(path: Path) -> tuple[bytes, ...]:
    """One key per line that is not empty; the first signs.

    Raises KeyFileError where others could read or replace the file: it must be a plain file of root
    or of this very user, mode 0600 or stricter.
    """
    try:
        # Not blocking: a FIFO in its place must not hold up the heartbeats.
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}; clusterKeyRef asks for it") from None
    try:
        _check(path, os.fstat(file))
        content = os.read(file, LONGEST + 1)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from None
    finally:
        os.close(file)
    if len(content) > LONGEST:
        raise KeyFileError(f"{path}: longer than {LONGEST} bytes; keep the keys in use only")
    return _keys(path, content)


def _keys(path: Path, content: bytes) -> tuple[bytes, ...]:
    keys = tuple(line.strip() for line in content.splitlines() if line.strip())
    if not keys:
        raise KeyFileError(f"{path}: empty; copy the file from another peer of the cluster")
    for number, key in enumerate(keys, start=1):
        if len(key) < SHORTEST_KEY:
            raise KeyFileError(
                f"{path}: key {number} has {len(key)} characters; {SHORTEST_KEY} are the least"
            )
    return keys


def _check(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise KeyFileError(f"{path}: not a plain file")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise KeyFileError(f"{path}: mode {mode:04o} lets others read it; run chmod 0600 {path}")
    if found.st_uid not in (0, os.geteuid()):
        raise KeyFileError(f"{path}: belongs to uid {found.st_uid}, not to root or this user")
