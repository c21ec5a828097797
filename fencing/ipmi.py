"""How an IPMI controller is asked which server it is in, and what its answers mean."""

from __future__ import annotations

import re

from fencing.binding import Identity
from fencing.devices import DeviceUse

PROGRAM = "ipmitool"

_GUID_REQUEST = ("raw", "0x06", "0x37")
"""Get System GUID. As raw bytes: `mc guid` prints one of three readings of them, by a guess."""

_SWITCHES = {"ipport": "-p", "cipher": "-C", "privlvl": "-L", "auth": "-A", "target": "-t"}
_TRUE = ("1", "yes", "on", "true")
_LANPLUS = ("fence_ilo3", "fence_ilo4", "fence_ilo5", "fence_ipmilanplus")
"""Agents that take IPMI 2.0 unless they are told otherwise."""


def questions(use: DeviceUse, username: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Arguments of ipmitool: for the GUID, and for the FRU. The password is on standard input.

    The options are those of the fence agent, so that both speak to the controller alike.
    """
    chosen = use.options.get("lanplus", "1" if use.agent in _LANPLUS else "0")
    lanplus = chosen.lower() in _TRUE
    start = ["-I", "lanplus" if lanplus else "lan", "-H", use.options.get("ip", "")]
    for option, switch in _SWITCHES.items():
        if option in use.options:
            start += [switch, use.options[option]]
    if username:
        start += ["-U", username]
    start += ["-f", "/dev/stdin"]
    return (*start, *_GUID_REQUEST), (*start, "fru", "print", "0")


_HEX = re.compile(r"(?:\s*[0-9a-f]{2}){16}\s*")
_FIELD = re.compile(r"^\s*(Product Serial|Board Serial)\s*:\s*(.*?)\s*$", re.MULTILINE)


def identity(guid: str, fru: str) -> Identity | None:
    """What the two answers say; None where they say nothing."""
    fields = dict(_FIELD.findall(fru))
    found = Identity(
        guid=bytes.fromhex("".join(guid.split())) if _HEX.fullmatch(guid) else None,
        serial=fields.get("Product Serial", ""),
        board_serial=fields.get("Board Serial", ""),
    )
    return None if found == Identity() else found
