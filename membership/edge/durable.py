"""Files that are there as they were or as they are, never in between, and outlast a crash."""

from __future__ import annotations

import os
from pathlib import Path

_MODE = 0o640


def write_whole(
    path: Path, content: bytes, mode: int = _MODE, owner: tuple[int, int] | None = None
) -> None:
    """Durable, its name too, when it returns. Raises OSError; which of both is there is then not known.

    The mode is set as it is given, whatever the umask. `owner`: uid and gid; None is the caller.
    One path has one writer at a time.
    """
    fresh = path.with_name(path.name + ".new")
    # What a crash left behind, or a link that somebody put there, is not written into.
    fresh.unlink(missing_ok=True)
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        if owner is not None:
            os.fchown(file, *owner)
        os.fchmod(file, mode)
        write_all(file, content)
        os.fsync(file)
    finally:
        os.close(file)
    fresh.replace(path)
    sync_folder(path.parent)


def write_all(file: int, content: bytes) -> None:
    """A write may take only a part. Raises OSError."""
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
