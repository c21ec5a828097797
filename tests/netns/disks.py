"""The shared heartbeat disk: each node has a loop device of its own over the same file.

So one node can lose the disk while the others keep it. A loop device cannot be detached while somebody
has it open, and there is no device-mapper here to make one fail; but the part of the file that a device
shows can be changed under whoever has it open. Shown half a block, every read comes back empty and
every write is refused; shown another part of the file, what is read is old and nobody else writes there.
The file is on a small file system of its own: while that is frozen, writing hangs for all nodes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from pathlib import Path

from tests.netns.wires import CommandFailed, run

PLACE = "disk"
SIZE = 4 * 1024 * 1024
_ELSEWHERE = SIZE // 2
_GET_STATUS, _SET_STATUS = 0x4C05, 0x4C04
_STATUS_BYTES = 232
_OFFSET_AT, _SIZE_LIMIT_AT = 24, 32
"""In struct loop_info64: three numbers of 64 bit come before the offset, then the limit of its size."""


class SharedDisk:
    """One file below `folder`, and a device of it for each node."""

    def __init__(self, folder: Path) -> None:
        self._image = folder / "disk.image"
        self._place = folder / PLACE
        self._file = self._place / "heartbeats"
        self._devices: list[str] = []

    def attach(self, count: int) -> tuple[str, ...]:
        """The devices of the nodes, in order."""
        with self._image.open("wb") as made:
            made.truncate(4 * SIZE)
        run("mkfs.ext4", "-q", "-b", "4096", self._image)
        self._place.mkdir()
        run("mount", "-o", "loop", self._image, self._place)
        self._file.write_bytes(bytes(SIZE))
        attach = ("losetup", "--find", "--show", "--direct-io=on", self._file)
        self._devices = [run(*attach).strip() for _ in range(count)]
        return tuple(self._devices)

    def hang(self) -> None:
        """Whoever writes waits, and cannot even be killed, until `heal`."""
        run("fsfreeze", "--freeze", self._place)

    def cut(self, number: int) -> None:
        """Node `number`, counted from 1, can neither read nor write any more."""
        self._show(number, offset=0, limit=512)

    def age(self, number: int) -> None:
        """Node `number` sees the disk as it was, and whatever it writes itself, but nobody else's."""
        content = self._file.read_bytes()[:_ELSEWHERE]
        with self._file.open("r+b") as file:
            file.seek(_ELSEWHERE)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self._show(number, offset=_ELSEWHERE, limit=0)

    def heal(self) -> None:
        thaw(self._place)
        for number in range(1, len(self._devices) + 1):
            self._show(number, offset=0, limit=0)

    def _show(self, number: int, *, offset: int, limit: int) -> None:
        """Bytes from the beginning, and how many; a limit of 0 is none."""
        door = os.open(self._devices[number - 1], os.O_RDONLY | os.O_CLOEXEC)
        try:
            status = bytearray(_STATUS_BYTES)
            fcntl.ioctl(door, _GET_STATUS, status)
            struct.pack_into("<Q", status, _OFFSET_AT, offset)
            struct.pack_into("<Q", status, _SIZE_LIMIT_AT, limit)
            fcntl.ioctl(door, _SET_STATUS, bytes(status))
        finally:
            os.close(door)


def thaw(place: Path) -> None:
    """What waits there goes on. Nothing where nothing is mounted, or it is not frozen."""
    with contextlib.suppress(CommandFailed):
        run("fsfreeze", "--unfreeze", place)


def detach_below(folder: Path) -> None:
    """Detach every loop device over a file below `folder`. Raises CommandFailed."""
    rows = run("losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE").splitlines()
    for device, _, file in (row.strip().partition(" ") for row in rows):
        if file.strip().startswith(f"{folder}/"):
            run("losetup", "--detach", device)
