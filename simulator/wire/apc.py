"""Power distribution units on the network: a real ``snmpd`` for each, which asks the world.

It says that it is an APC Switched Rack PDU, the kind that ``fence_apc_snmp`` knows best.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from simulator.bmc import Bmcs
from simulator.spec import OutletSpec
from simulator.wire.children import Agent, Child

COMMUNITY = "private"
_CHANGED_COMMUNITY = "changed"

_SWITCHED_RACK_PDU = ".1.3.6.1.4.1.318.1.3.4.5"
_OUTLETS = ".1.3.6.1.4.1.318.1.1.12.3"
_SYS_OBJECT_ID = bytes.fromhex("300c06082b060102010102000500")


class Pdu:
    """One unit with its outlets, at one address. ``wires`` is the socket at which it asks."""

    def __init__(
        self, outlets: Sequence[OutletSpec], where: tuple[str, int], folder: Path, wires: Path
    ) -> None:
        self._outlets = outlets
        self._where = where
        self._folder = folder
        self._wires = wires
        command = ("snmpd", "-f", "-C", "-c", "snmpd.conf", "-Lo", "-I", "-smux")
        self._child = Child(command, folder, "snmpd")
        self._community = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Its outlets."""
        return tuple(outlet.name for outlet in self._outlets)

    def agents(self) -> dict[str, Agent]:
        """By outlet, how it is reached."""
        address, port = self._where
        unit = {
            "ip": address,
            "ipport": str(port),
            "snmp_version": "2c",
            "community": COMMUNITY,
        }
        return {
            outlet.name: Agent("fence_apc_snmp", {**unit, "plug": str(outlet.number)})
            for outlet in self._outlets
        }

    async def settle(self, bmcs: Bmcs) -> None:
        """Be as the world has it: a unit is one machine, and fails as one. Raises CannotPlay."""
        lives = all(map(bmcs.lives, self.names))
        shown = _CHANGED_COMMUNITY if any(map(bmcs.refuses, self.names)) else COMMUNITY
        community = shown if lives else ""
        if community != self._community or (lives and not self._child.runs):
            await self.silence()
            self._community = community
            if lives:
                self._write()
                await self._child.start()
                await self._child.answers(self._where, _question(community))
        self._child.freeze(any(map(bmcs.hangs, self.names)))

    async def silence(self) -> None:
        """Kill it: what it was about to say remains unsaid."""
        await self._child.kill()

    def _write(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        address, port = self._where
        (self._folder / "snmpd.conf").write_text(
            # Relative to its folder: it splits a path at spaces.
            "[snmp] persistentDir .\n"
            f"agentaddress udp:{address}:{port}\nrwcommunity {self._community} default\n"
            f"sysObjectID {_SWITCHED_RACK_PDU}\npass_persist {_OUTLETS} ./outlets\n",
            encoding="utf-8",
        )
        program = Path(__file__).with_name("outlets.py")
        devices = [f"{outlet.number}={outlet.name}" for outlet in self._outlets]
        words = (sys.executable, "-I", "-S", str(program), str(self._wires), *devices)
        start = self._folder / "outlets"
        start.write_text(f"#!/bin/sh\nexec {shlex.join(words)}\n", encoding="utf-8")
        start.chmod(0o700)


def _question(community: str) -> bytes:
    """What kind of device are you, in SNMP version 1."""
    asked = bytes.fromhex("020101020100020100") + _sequence(0x30, _SYS_OBJECT_ID)
    message = bytes.fromhex("020100") + _sequence(0x04, community.encode()) + _sequence(0xA0, asked)
    return _sequence(0x30, message)


def _sequence(tag: int, content: bytes) -> bytes:
    return bytes([tag, len(content)]) + content
