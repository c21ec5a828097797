"""What goes to fence devices and comes back: effects and events of guarding."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import field

from fencing.binding import Identity
from fencing.devices import DeviceUse
from schema.model import Frozen


class DeviceFound(Frozen, frozen=True, kw_only=True):
    """What one device said when it was looked at. `power` is on, off or unknown; an outlet that the
    device does not list is unknown."""

    device: str
    power: str
    identity: Identity | None = None
    message: str = ""


class PowerLooked(Frozen, frozen=True, kw_only=True):
    """All devices of one look have answered, or were given up. `round` as in `LookAtPower`."""

    node: str
    round: int
    found: tuple[DeviceFound, ...]


class PowerSwitched(Frozen, frozen=True, kw_only=True):
    """All devices of one `off` or `on` have answered, were given up, or were not asked any more. It
    proves nothing: `messages` are for people, by device."""

    node: str
    round: int
    messages: Mapping[str, str] = field(default_factory=dict)


class LookAtPower(Frozen, frozen=True, kw_only=True):
    """Read identity and state of these devices of `node`, at the same time, and come back with
    `PowerLooked`. Changes nothing anywhere."""

    node: str
    round: int
    devices: tuple[DeviceUse, ...]


class PowerOff(Frozen, frozen=True, kw_only=True):
    """Power `node` off by all of these devices at the same time, and come back with `PowerSwitched`.

    Not begun where too few voters know what was shared before, nor outside of the lease; and whatever was
    begun is ended where the lease ends first.
    """

    node: str
    round: int
    devices: tuple[DeviceUse, ...]


class PowerOn(Frozen, frozen=True, kw_only=True):
    """Give `node` its power back by all of these devices at the same time, and come back with
    `PowerSwitched`. A hold does not forbid it: what was switched off ends in a known state."""

    node: str
    round: int
    devices: tuple[DeviceUse, ...]
