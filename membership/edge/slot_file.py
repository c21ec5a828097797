"""A shared disk, block by block: what is written is on it, what is read is from it, not from memory."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from mmap import mmap
from pathlib import Path

from membership.slots import BLOCK, SLOTS

SIZE = (1 + SLOTS) * BLOCK
"""Bytes of a heartbeat disk: the header, then the slots."""

_OPEN = os.O_CLOEXEC | os.O_DSYNC | os.O_NOCTTY | os.O_NONBLOCK


class TooSmall(OSError):
    """There is not even room for the header and the slots."""


class SlotFile:
    """A file or block device. Every method may take as long as the disk likes. Raises OSError.

    Where O_DIRECT is refused (some network and memory file systems) the page cache is emptied before
    each reading: another machine's writing is not seen through one's own memory.
    """

    def __init__(self, path: Path, *, writing: bool) -> None:
        self._path = path
        self._mode = os.O_RDWR if writing else os.O_RDONLY
        # Anonymous memory of mmap lies on page boundaries, as direct access demands.
        self._one = mmap(-1, BLOCK)
        self._all = mmap(-1, SIZE)
        self._direct = True
        self._file = self._opened()
        self._check_size()

    def _opened(self) -> int:
        if self._direct:
            try:
                return os.open(self._path, self._mode | _OPEN | os.O_DIRECT)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._direct = False
        return os.open(self._path, self._mode | _OPEN)

    def _check_size(self) -> None:
        size = os.lseek(self._file, 0, os.SEEK_END)
        if size < SIZE:
            self.close()
            raise TooSmall(errno.ENOSPC, f"{size} bytes; a heartbeat disk has {SIZE}")

    def replaced(self) -> bool:
        """Whether the path leads to something else by now. (A device is not opened anew each time:
        closing one that was open for writing makes udev look at it.)"""
        here, there = os.fstat(self._file), self._path.stat()
        return (here.st_dev, here.st_ino, here.st_rdev) != (
            there.st_dev,
            there.st_ino,
            there.st_rdev,
        )

    def write(self, block: int, data: bytes) -> None:
        """One block of exactly BLOCK bytes; on the disk when it returns."""
        self._one[:] = data
        done = self._aligned(lambda: os.pwritev(self._file, [self._one], block * BLOCK))
        if done != BLOCK:
            raise OSError(errno.EIO, f"block {block}: {done} of {BLOCK} bytes were written")

    def read(self, slots: int) -> tuple[bytes, ...]:
        """The header and the first `slots` slots, as they are on the disk now."""
        length = (1 + slots) * BLOCK
        view = memoryview(self._all)[:length]
        if not self._direct:
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)
        done = self._aligned(lambda: os.preadv(self._file, [view], 0))
        if done != length:
            raise OSError(errno.EIO, f"{done} of {length} bytes were read")
        return tuple(bytes(view[at : at + BLOCK]) for at in range(0, length, BLOCK))

    def _aligned(self, work: Callable[[], int]) -> int:
        """Some file systems open for direct access and refuse it afterwards."""
        try:
            return work()
        except OSError as error:
            if error.errno != errno.EINVAL or not self._direct:
                raise
        self._direct = False
        os.close(self._file)
        self._file = self._opened()
        return work()

    @property
    def direct(self) -> bool:
        return self._direct

    def close(self) -> None:
        os.close(self._file)
