"""Who is at the other end of the control socket, as the kernel says, and what that permits."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct

from schema.model import Frozen

READERS, CHANGERS = "cxm", "cxm-admin"

_SO_PEERGROUPS = 59
_CREDENTIALS = struct.Struct("3i")
_GROUP = struct.Struct("I")


class Caller(Frozen, frozen=True, kw_only=True):
    """`groups` are names: those of the connecting process when it connected."""

    uid: int
    name: str
    groups: frozenset[str]

    def may_change(self, own_uid: int) -> bool:
        return self.uid in (0, own_uid) or CHANGERS in self.groups

    def may_read(self, own_uid: int) -> bool:
        return self.may_change(own_uid) or READERS in self.groups


def caller(connection: socket.socket) -> Caller:
    """The process that connected. Raises OSError where the kernel does not say."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, gid = _CREDENTIALS.unpack(raw)
    # 1,024 bytes is the most that Python asks for: 256 groups. Who is in more gets an error here.
    more = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 1024)
    gids = {gid, *(number for (number,) in _GROUP.iter_unpack(more))}
    return Caller(uid=uid, name=_user(uid), groups=frozenset(map(_group, gids)))


def open_to_readers(path: str) -> None:
    """Give the socket to the group that may read; where there is none, it stays its owner's alone."""
    try:
        os.chown(path, -1, grp.getgrnam(READERS).gr_gid)
    except (KeyError, PermissionError):
        os.chmod(path, 0o600)  # noqa: PTH101
        return
    os.chmod(path, 0o660)  # noqa: PTH101


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"gid {gid}"
