"""Is this controller the one of that server? Compared by what both say of the hardware.

A controller that answers at the right address may still sit in another server: a cable, a lease of
DHCP, a swapped board. Then an `off` kills a healthy node and certifies a living one dead. What
cannot be compared (outlets, programs, boards whose maker filled in nothing) is bound by a drill: in
maintenance this node falls silent, and no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from uuid import UUID

from schema.model import Frozen

BiosStrings = Mapping[str, str]
"""What XenAPI shows of a server's SMBIOS, as `bios_strings` of its host record.

It has no uuid among them so far (`host.uuid` is drawn at the installation), so serial numbers are
what binds; `system-uuid` is compared where it is there.
"""


class Identity(Frozen, frozen=True, kw_only=True):
    """What a controller says of its server. `guid` is as it came: 16 bytes, or a Redfish UUID's."""

    guid: bytes | None = None
    serial: str = ""
    board_serial: str = ""

    @property
    def uuids(self) -> frozenset[UUID]:
        """Every uuid that the controller may mean by its bytes."""
        return frozenset() if self.guid is None else readings(self.guid)


def readings(guid: bytes) -> frozenset[UUID]:
    """The uuids that 16 bytes of "Get System GUID" may stand for.

    IPMI sends its least byte first. SMBIOS, and controllers that hand its table on, turn only the
    first three fields round. Others send the text from left to right. None says which it does, and
    two servers' uuids that differ by nothing but such a turn do not occur: all three are accepted.
    """
    return frozenset({UUID(bytes=guid), UUID(bytes_le=guid), UUID(bytes=guid[::-1])})


class Bound(Frozen, frozen=True, kw_only=True, tag=True):
    """The controller is that server's. `by` is the value on which both agree."""

    by: str


class NeedsDrill(Frozen, frozen=True, kw_only=True, tag=True):
    """Nothing can be compared: only a live drill can bind the device. `why` is for people."""

    why: str


class Mismatch(Frozen, frozen=True, kw_only=True, tag=True):
    """The controller is another server's, or one of the two lies. Never certify through it."""

    controller: str
    server: str


Binding = Bound | NeedsDrill | Mismatch

_SERIAL, _BOARD, _UUID = "system-serial-number", "baseboard-serial-number", "system-uuid"

# What makers and boards ship where a serial number belongs; the same on thousands of servers.
_FILLER = re.compile(
    r"(to be filled.*|default.*|not (specified|available|applicable|present).*|none|n/?a|null|unknown"
    r"|(system |chassis |base ?board |board |product )?serial( number)?|o\.?e\.?m\.?|invalid|empty"
    r"|(?P<one>[0-9a-z])(?P=one)*|0?123456789.*|[\s.\-_*]*)",
    re.IGNORECASE,
)
_NIL = (UUID(int=0), UUID(int=2**128 - 1))


def bound(
    identity: Identity | None, server: BiosStrings, others: Iterable[BiosStrings] = ()
) -> Binding:
    """Whether the controller that says `identity` is that of the server with these strings.

    `others` are the strings of all other servers of the pool: a value that two of them share
    (nodes of one chassis, boards of a maker without serials) tells nothing.
    """
    if identity is None:
        return NeedsDrill(why="the device does not say which server it switches")
    unique = _unique(server, tuple(others))
    theirs = _uuid(unique.get(_UUID, ""))
    if theirs is not None and theirs in identity.uuids:
        return Bound(by=f"uuid {theirs}")
    for kind, said, name in (
        ("serial number", identity.serial, _SERIAL),
        ("board's serial number", identity.board_serial, _BOARD),
    ):
        if _says(said) and _same(said, unique.get(name, "")):
            return Bound(by=f"{kind} {said.strip()}")
    return _unbound(identity, unique, theirs)


def _unbound(identity: Identity, server: BiosStrings, theirs: UUID | None) -> Binding:
    # Boards are exchanged, and write their own serial in several ways: no equal, no mismatch.
    serial = server.get(_SERIAL, "")
    if _says(identity.serial) and serial:
        return Mismatch(
            controller=f"serial number {identity.serial.strip()}", server=f"serial number {serial}"
        )
    if theirs is not None and identity.uuids.difference(_NIL):
        said = " or ".join(sorted(map(str, identity.uuids)))
        return Mismatch(controller=f"uuid {said}", server=f"uuid {theirs}")
    if not _says(identity.serial):
        return NeedsDrill(why="its controller says no serial number of its own")
    return NeedsDrill(why=f"XenAPI shows no {_SERIAL} that only this server has")


def _unique(server: BiosStrings, others: tuple[BiosStrings, ...]) -> dict[str, str]:
    """The server's values that say something, and that no other server has."""
    return {
        name: server[name].strip()
        for name in (_SERIAL, _BOARD, _UUID)
        if _says(server.get(name, ""))
        and not any(_same(server[name], other.get(name, "")) for other in others)
    }


def _says(value: str) -> bool:
    return _FILLER.fullmatch(value.strip()) is None


def _same(one: str, other: str) -> bool:
    return one.strip().casefold() == other.strip().casefold()


def _uuid(text: str) -> UUID | None:
    try:
        found = UUID(text)
    except ValueError:
        return None
    return None if found in _NIL else found
