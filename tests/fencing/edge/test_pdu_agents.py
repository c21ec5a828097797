"""fence_apc_snmp against outlets behind snmpd: those that exist, those that do not, two supplies."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fencing.devices import DeviceUse
from fencing.edge.agent import Agents
from fencing.ladder import Power
from tests.fencing.edge.bmcs import bound_udp, free_port
from tests.fencing.edge.conftest import soon

COMMUNITY = "wr1te-c0mmunity"


class Pdu:
    """An snmpd that says it is an APC PDU with outlets 1 to 4, all on."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        folder.mkdir()
        for number in range(1, 5):
            self._outlet(number).write_text("1")
        script = Path(__file__).with_name("pdu_outlets.py")
        (folder / "snmpd.conf").write_text(
            f"rwcommunity {COMMUNITY} 127.0.0.1\nsysobjectid .1.3.6.1.4.1.318.1.3.4.5\n"
            f"pass_persist .1.3.6.1.4.1.318 {sys.executable} {script} {folder}\n"
        )
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["/usr/sbin/snmpd", "-f", "-Lo", "-C", "-c", "snmpd.conf", *self._own()],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"SNMP_PERSISTENT_DIR": str(folder), "PATH": "/usr/sbin:/usr/bin"},
            )
        while not bound_udp(self.port):
            assert self._process.poll() is None, (folder / "log").read_text()
            time.sleep(0.01)

    def _own(self) -> tuple[str, ...]:
        return "-I", "-smux", "-p", "pid", "-x", "agentx.sock", f"udp:127.0.0.1:{self.port}"

    def _outlet(self, number: int) -> Path:
        return self._folder / f"outlet.{number}"

    def on(self, number: int) -> bool:
        return self._outlet(number).read_text() == "1"

    def be(self, mood: str, text: str = "") -> None:
        (self._folder / mood).write_text(text)

    def use(self, plug: str, version: str = "2c") -> DeviceUse:
        options = {"ip": "127.0.0.1", "ipport": str(self.port), "snmp_version": version}
        return DeviceUse(
            device="pdu-a",
            node="xen1",
            agent="fence_apc_snmp",
            plug=plug,
            options=options,
            credentials_ref="community",
            power_s=3.0,
        )

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


NewPdu = Callable[[str], Pdu]


@pytest.fixture
def new_pdu(tmp_path: Path) -> Iterator[NewPdu]:
    made: list[Pdu] = []

    def one(name: str) -> Pdu:
        made.append(Pdu(tmp_path / name))
        return made[-1]

    yield one
    for pdu in made:
        pdu.stop()


@pytest.fixture
def pdu(new_pdu: NewPdu) -> Pdu:
    return new_pdu("pdu")


async def test_one_outlet_is_switched_and_read_back(agents: Agents, pdu: Pdu) -> None:
    use = pdu.use("3")
    assert await agents.plugs(use, soon()) == frozenset("1234")
    assert (await agents.read_power(use, soon())).power is Power.ON
    assert (await agents.power_off(use, soon())).ok
    assert [pdu.on(number) for number in range(1, 5)] == [True, True, False, True]
    assert (await agents.read_power(use, soon())).power is Power.OFF
    assert (await agents.power_on(use, soon())).ok
    assert pdu.on(3)


async def test_an_outlet_that_does_not_exist_is_not_off(agents: Agents, pdu: Pdu) -> None:
    use = pdu.use("9")
    believed = await agents.power_off(use, soon())
    assert believed.ok
    assert believed.message == "Success: Already OFF"
    reading = await agents.read_power(use, soon())
    assert reading.power is Power.UNKNOWN
    assert 'it has no plug "9", so off means nothing; it lists 1, 2, 3, 4' in reading.message


async def test_version_1_has_an_error_for_it(agents: Agents, pdu: Pdu) -> None:
    attempt = await agents.power_off(pdu.use("9", version="1"), soon())
    assert not attempt.ok
    assert "noSuchName" in attempt.message


async def test_an_outlet_that_vanishes_when_switched_is_not_off(agents: Agents, pdu: Pdu) -> None:
    pdu.be("amnesia", "name state")
    use = pdu.use("3")
    assert (await agents.read_power(use, soon())).power is Power.ON
    assert (await agents.power_off(use, soon())).ok
    assert (await agents.read_power(use, soon())).power is Power.UNKNOWN


async def test_a_strip_that_does_not_switch_is_not_believed(agents: Agents, pdu: Pdu) -> None:
    pdu.be("deaf")
    use = pdu.use("3")
    assert not (await agents.power_off(use, soon())).ok
    assert (await agents.read_power(use, soon())).power is Power.ON


async def test_a_node_with_two_supplies_is_off_when_both_are(
    agents: Agents, new_pdu: NewPdu
) -> None:
    level = [new_pdu("a").use("1"), new_pdu("b").use("4")]
    assert (await agents.power_off(level[0], soon())).ok
    powers = [(await agents.read_power(use, soon())).power for use in level]
    assert powers == [Power.OFF, Power.ON]
    assert (await agents.power_off(level[1], soon())).ok
    powers = [(await agents.read_power(use, soon())).power for use in level]
    assert powers == [Power.OFF, Power.OFF]


async def test_a_strip_that_is_gone_says_nothing(agents: Agents, pdu: Pdu) -> None:
    pdu.stop()
    use = pdu.use("3")
    assert (await agents.read_power(use, soon(2.0))).power is Power.UNKNOWN
    attempt = await agents.power_off(use, soon())
    assert not attempt.ok
    assert COMMUNITY not in attempt.message
    assert await agents.plugs(use, soon(2.0)) is None
