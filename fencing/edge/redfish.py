"""What a Redfish controller says of its system: one GET, as fence_redfish would ask it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from uuid import UUID

import aiohttp
import msgspec

from fencing.binding import Identity
from fencing.devices import DeviceUse

LONGEST = 256 * 1024
"""Bytes of one resource; those of real systems have some kilobytes."""

_TRUE = ("1", "yes", "on", "true")


class _System(msgspec.Struct, rename="pascal"):
    uuid: str | None = msgspec.field(default=None, name="UUID")
    serial_number: str | None = None


async def identity(
    use: DeviceUse, credentials: Mapping[str, str], within_s: float
) -> Identity | None:
    """UUID and serial number of the system at `systems_uri`; None where it gives no answer."""
    options = use.options
    host = options.get("ip", "")
    host = f"[{host}]" if ":" in host else host
    url = f"https://{host}:{options.get('ipport', '443')}{options.get('systems_uri', '')}"
    login = f"{credentials.get('username', '')}:{credentials.get('password', '')}".encode()
    headers = {"Authorization": f"Basic {base64.b64encode(login).decode()}"}
    insecure = options.get("ssl_insecure", "0").lower() in _TRUE
    limit = aiohttp.ClientTimeout(total=max(0.001, within_s))  # 0 would be for ever
    try:
        async with (
            aiohttp.ClientSession(headers=headers, timeout=limit, trust_env=False) as session,
            session.get(url, ssl=not insecure, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                return None
            return _identity(await _bounded(answer.content))
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None


async def _bounded(stream: aiohttp.StreamReader) -> bytes:
    content = b""
    async for chunk in stream.iter_any():
        content += chunk
        if len(content) > LONGEST:
            raise ValueError(f"longer than {LONGEST} bytes")
    return content


def _identity(content: bytes) -> Identity | None:
    system = msgspec.json.decode(content, type=_System)
    guid = UUID(system.uuid).bytes if system.uuid else None
    found = Identity(guid=guid, serial=system.serial_number or "")
    return None if found == Identity() else found
