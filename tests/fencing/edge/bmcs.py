"""Management controllers to fence through: real IPMI over UDP, whose power a test holds."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from fencing.devices import DeviceUse

PASSWORD = "s3cret-of-bmc"
GUID = "00112233445566778899aabbccddeeff"
"""Without one ipmi_sim lets nobody in: it is part of the session's key."""

# What ipmi_sim asks when it is told to do something to the chassis.
CHASSIS = """\
#!/bin/sh
# chassis get power | chassis set power 0
cd "{folder}" || exit 1
echo "$*" >> asked
. ./mood
case "$2 $3" in
    "get power") echo "power:$(cat power)" ;;
    "set power") [ "$lies" ] || echo "$4" > power ;;
esac
"""


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def bound_udp(port: int) -> bool:
    """Whether some process has that UDP port."""
    rows = Path("/proc/net/udp").read_text().splitlines()[1:]
    return any(int(row.split()[1].rpartition(":")[2], 16) == port for row in rows)


class SimulatedBmc:
    """One ipmi_sim process. Its power is a file, so that a test knows what the device only says."""

    def __init__(self, folder: Path, guid: str = GUID, serial: str = "") -> None:
        self.folder = folder
        self.port = free_port()
        folder.mkdir()
        (folder / "power").write_text("1\n")
        (folder / "mood").write_text("lies=\n")
        chassis = folder / "chassis"
        chassis.write_text(CHASSIS.format(folder=folder))
        chassis.chmod(0o755)
        (folder / "lan.conf").write_text(_lan_conf(chassis, self.port, guid))
        (folder / "commands").write_text(_commands(serial))
        self._process = self._started()
        while not bound_udp(self.port):
            assert self._process.poll() is None, (folder / "log").read_text()
            time.sleep(0.01)

    def _started(self) -> subprocess.Popen[bytes]:
        command = ["/usr/bin/ipmi_sim", "-n", "-c", "lan.conf", "-f", "commands", "-s", "state"]
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def on(self) -> bool:
        return (self.folder / "power").read_text().strip() == "1"

    @property
    def asked(self) -> list[str]:
        """What its chassis was told, one line a command."""
        log = self.folder / "asked"
        return log.read_text().splitlines() if log.exists() else []

    def lie(self) -> None:
        """From now on it says that it has switched, and does not."""
        (self.folder / "mood").write_text("lies=1\n")

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def lose_power(self) -> None:
        """The controller hangs on the server's own supply: both are gone."""
        (self.folder / "power").write_text("0\n")
        self.stop()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def _lan_conf(chassis: Path, port: int, guid: str) -> str:
    return f"""\
name "bmc"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 {port}
    priv_limit admin
    allowed_auths_admin none md2 md5 straight
    guid {guid}
  endlan
  chassis_control "{chassis} chassis"
  user 2 true "admin" "{PASSWORD}" admin 10 none md2 md5 straight
"""


def _commands(serial: str) -> str:
    fru = product_fru(serial)
    data = " ".join(f"0x{byte:02x}" for byte in fru)
    return f"""\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02
mc_add_fru_data 0x20 0 {len(fru)} data {data}
mc_enable 0x20
"""


def product_fru(serial: str) -> bytes:
    """A FRU with a product area alone: maker, name, part, version, serial, asset."""
    fields = [b"Xenware", b"X1", b"P1", b"1", serial.encode(), b""]
    body = bytes([1, 0, 25]) + b"".join(bytes([0xC0 | len(text)]) + text for text in fields)
    body += b"\xc1"
    body += bytes(-(len(body) + 1) % 8)
    body = bytes([1, (len(body) + 1) // 8]) + body[2:]
    header = bytes([1, 0, 0, 0, 1, 0, 0])
    return _summed(header) + _summed(body)


def _summed(area: bytes) -> bytes:
    return area + bytes([-sum(area) % 256])


class SecondMakersBmc:
    """A controller of other makers' code (pyghmi), in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._power = folder / "power"
        folder.mkdir()
        self._power.write_text("on")
        script = Path(__file__).with_name("pyghmi_bmc.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), str(self.port), str(self._power), PASSWORD],
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    @property
    def on(self) -> bool:
        return self._power.read_text() == "on"

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def use_of(
    bmc: SimulatedBmc | SecondMakersBmc, node: str = "xen1", power_s: float = 3.0
) -> DeviceUse:
    """How a node whose controller this is would be fenced.

    Neither controller answers "Get Channel Cipher Suites", for which ipmitool waits 10 seconds
    unless it is told the suite.
    """
    options = {"ip": "127.0.0.1", "ipport": str(bmc.port), "lanplus": "1", "cipher": "3"}
    return DeviceUse(
        device=f"bmc/{node}",
        node=node,
        agent="fence_ipmilan",
        options=options,
        credentials_ref="bmc",
        power_s=power_s,
    )


def processes() -> dict[int, tuple[str, str]]:
    """Arguments and environment of every process that may be read, by its id."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                arguments = (entry / "cmdline").read_bytes()
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            found[int(entry.name)] = (
                arguments.replace(b"\0", b" ").decode("utf-8", "replace"),
                environment.replace(b"\0", b" ").decode("utf-8", "replace"),
            )
    return found


def alive(marks: Sequence[str]) -> list[int]:
    """Processes that name one of these in their arguments, this one excepted."""
    return [
        pid
        for pid, (arguments, _) in processes().items()
        if pid != os.getpid() and any(mark in arguments for mark in marks)
    ]
