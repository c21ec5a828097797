"""Management controllers on the network: a real ``ipmi_sim`` for each, which asks the world.

The protocol (RMCP+, ``lanplus``) is that program's; whether the server is on, and what a command
does, is the world's business.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

from simulator.bmc import BmcIdentity, Bmcs
from simulator.wire.children import Agent, Child

USER = "admin"
PASSWORD = "secret"  # noqa: S105 - of controllers that exist on this machine alone
_CHANGED_PASSWORD = "expired"  # noqa: S105 - what a controller has that refuses everybody

_PING = bytes.fromhex("0600ff06000011be80000000")


@dataclass(frozen=True, slots=True)
class Front:
    """What a controller shows: whose it is, and whether the usual password opens it."""

    identity: BmcIdentity
    refuses: bool


class Controller:
    """One controller at one address. ``wires`` is the socket at which it asks for ``name``."""

    def __init__(self, name: str, where: tuple[str, int], folder: Path, wires: Path) -> None:
        self._name = name
        self._where = where
        self._folder = folder
        self._wires = wires
        command = ("ipmi_sim", "-n", "-c", "lan.conf", "-f", "commands", "-s", "state")
        self._child = Child(command, folder, "openipmi")
        self._front: Front | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The one device that it is."""
        return (self._name,)

    def agents(self) -> dict[str, Agent]:
        """By name, how it is reached."""
        address, port = self._where
        options = {
            "ip": address,
            "ipport": str(port),
            "lanplus": "1",
            # ipmi_sim does not tell which cipher suites it has: asked for, it costs ten seconds.
            "cipher": "3",
            "username": USER,
            "password": PASSWORD,
        }
        return {self._name: Agent("fence_ipmilan", options)}

    async def settle(self, bmcs: Bmcs) -> None:
        """Be as the world has it. Raises CannotPlay."""
        name = self._name
        front = Front(bmcs.identity(name), bmcs.refuses(name)) if bmcs.lives(name) else None
        if front != self._front or (front is not None and not self._child.runs):
            await self.silence()
            self._front = front
            if front is not None:
                self._write(front)
                await self._child.start()
                await self._child.answers(self._where, _PING)
        self._child.freeze(bmcs.hangs(name))

    async def silence(self) -> None:
        """Kill it: what it was about to say remains unsaid."""
        await self._child.kill()

    def _write(self, front: Front) -> None:
        """Its files, fresh: a state that was left behind would win against them."""
        shutil.rmtree(self._folder, ignore_errors=True)
        (self._folder / "state").mkdir(parents=True)
        address, port = self._where
        password = _CHANGED_PASSWORD if front.refuses else PASSWORD
        # In the order of SMBIOS, as most makers send it whatever IPMI prescribes.
        guid = uuid.UUID(front.identity.system_uuid).bytes_le.hex()
        (self._folder / "lan.conf").write_text(
            'name "controller"\nset_working_mc 0x20\nstartlan 1\n'
            f"addr {address} {port}\npriv_limit admin\n"
            f"allowed_auths_admin none md2 md5 straight\nguid {guid}\nendlan\n"
            'chassis_control "./chassis"\n'
            f'user 2 true "{USER}" "{password}" admin 10 none md2 md5 straight\n',
            encoding="utf-8",
        )
        fru = _fru(front.identity.serial)
        (self._folder / "commands").write_text(
            "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\n"
            f"mc_add_fru_data 0x20 0 {len(fru)} data {' '.join(f'0x{byte:02x}' for byte in fru)}\n"
            "mc_enable 0x20\n",
            encoding="utf-8",
        )
        words = (sys.executable, "-I", "-S", str(Path(__file__).with_name("chassis.py")))
        ask = shlex.join([*words, str(self._wires), self._name])
        chassis = self._folder / "chassis"
        chassis.write_text(f'#!/bin/sh\nexec {ask} "$@"\n', encoding="utf-8")
        chassis.chmod(0o700)


def _fru(serial: str) -> bytes:
    """The inventory of a server: a product area with its serial number (IPMI FRU, version 1)."""
    fields = ("cxm", "simulated server", "", "1.0", serial, "", "")
    texts = b"".join(bytes([0xC0 | len(text)]) + text.encode("ascii") for text in fields)
    area = bytes([1, 0, 25]) + texts + b"\xc1"
    area += bytes(-(len(area) + 1) % 8)
    area = area[:1] + bytes([(len(area) + 1) // 8]) + area[2:]
    return _summed(bytes([1, 0, 0, 0, 1, 0, 0])) + _summed(area)


def _summed(area: bytes) -> bytes:
    return area + bytes([-sum(area) & 0xFF])
