"""How ipmitool is asked for a controller's identity."""

from __future__ import annotations

from fencing import ipmi
from fencing.binding import Identity
from tests.fencing.agent_texts import use

GUID = " a1 23 45 67 89 ab cd ef a1 23 45 67 89 ab cd ef\n"
FRU = """\
 Board Mfg             : Xenware
 Board Serial          : B-17
 Product Serial        : SN 0042
 Product Asset Tag     :
"""


def test_it_is_asked_as_the_agent_asks() -> None:
    guid, fru = ipmi.questions(use(ip="10.0.1.1", ipport="6230", lanplus="1", cipher="17"), "admin")
    asked = "-I lanplus -H 10.0.1.1 -p 6230 -C 17 -U admin -f /dev/stdin"
    assert " ".join(guid) == f"{asked} raw 0x06 0x37"
    assert " ".join(fru) == f"{asked} fru print 0"


def test_an_agents_own_default_of_the_protocol_is_kept() -> None:
    assert ipmi.questions(use(ip="h"), "")[0][1] == "lan"
    assert ipmi.questions(use("fence_ilo4", ip="h"), "")[0][1] == "lanplus"
    assert ipmi.questions(use("fence_ilo4", ip="h", lanplus="0"), "")[0][1] == "lan"


def test_what_the_answers_say() -> None:
    guid = bytes.fromhex("a123456789abcdefa123456789abcdef")
    assert ipmi.identity(GUID, FRU) == Identity(guid=guid, serial="SN 0042", board_serial="B-17")
    assert ipmi.identity("", FRU) == Identity(serial="SN 0042", board_serial="B-17")
    assert ipmi.identity(GUID, " Device not present") == Identity(guid=guid)
    assert ipmi.identity("Error: Unable to establish session", "") is None
