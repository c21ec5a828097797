"""What the heart is told, and what it asks for: events in, ordered effects out."""

from __future__ import annotations

from membership.roster import Candidacy, Roster
from membership.view import Standing, View
from schema.model import Frozen


class Instant(Frozen, frozen=True, kw_only=True):
    """CLOCK_BOOTTIME and CLOCK_MONOTONIC, seconds."""

    boot_s: float
    mono_s: float


class Memory(Frozen, frozen=True, kw_only=True):
    """What must outlive the daemon. `generation` is one more at each start."""

    generation: int
    term: int = 0
    voted_for: str = ""
    disk_id: str = ""


class Machine(Frozen, frozen=True, kw_only=True):
    """The machine that the daemon runs on: the kernel's boot id, and the machine's own uuid."""

    boot_id: str
    uuid: str = ""


class Heard(Frozen, frozen=True, kw_only=True):
    """A datagram came on a channel: 0 is `net1`."""

    channel: int
    data: bytes


class SlotsRead(Frozen, frozen=True, kw_only=True):
    """The shared disk as it was read after our own slot was written; `began_s` is when that began."""

    began_s: float
    header: bytes
    slots: tuple[bytes, ...]


class DiskFailed(Frozen, frozen=True, kw_only=True):
    reason: str


class HandOver(Frozen, frozen=True, kw_only=True):
    to: str


class RosterChanged(Frozen, frozen=True, kw_only=True):
    roster: Roster


class KeysChanged(Frozen, frozen=True, kw_only=True):
    """The first key signs, all of them verify."""

    keys: tuple[bytes, ...]


class Granted(Frozen, frozen=True, kw_only=True):
    """What an engine of its own says of leadership; times are CLOCK_BOOTTIME."""

    standing: Standing


class Leaving(Frozen, frozen=True, kw_only=True):
    """A clean stop."""


class Tick(Frozen, frozen=True, kw_only=True):
    """The deadline has come."""


Event = (
    Heard
    | SlotsRead
    | DiskFailed
    | Candidacy
    | HandOver
    | RosterChanged
    | KeysChanged
    | Granted
    | Leaving
    | Tick
)


class Send(Frozen, frozen=True, kw_only=True):
    peer: str
    channel: int
    data: bytes


class WriteSlot(Frozen, frozen=True, kw_only=True):
    """Write this slot, then read the whole disk: `SlotsRead`, or `DiskFailed`."""

    slot: int
    data: bytes


class Remember(Frozen, frozen=True, kw_only=True):
    """Durable before the next effect."""

    memory: Memory


class Push(Frozen, frozen=True, kw_only=True):
    """Tell everybody who listens at the socket. Times are CLOCK_BOOTTIME."""

    view: View


class Stand(Frozen, frozen=True, kw_only=True):
    """Whether this node wants to lead, for an engine of its own; the term must be above `floor`."""

    wants: bool
    floor: int


Effect = Send | WriteSlot | Remember | Push | Stand
