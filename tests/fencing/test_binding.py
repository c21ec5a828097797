"""Which controller is whose, by what it and XenAPI say."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencing.binding import Bound, Identity, Mismatch, NeedsDrill, bound, readings

SERVER = {"system-serial-number": "CZ3106X8QK", "baseboard-serial-number": "PFARA0123"}
OTHER = {"system-serial-number": "CZ3106X8QL", "baseboard-serial-number": "PFARA0124"}
GUID = UUID("4c4c4544-0051-3610-8052-b4c04f4d3132")


def test_a_serial_number_binds() -> None:
    found = bound(Identity(serial="CZ3106X8QK "), SERVER, [OTHER])
    assert found == Bound(by="serial number CZ3106X8QK")


def test_a_boards_serial_number_binds_too() -> None:
    found = bound(Identity(board_serial="pfara0123"), SERVER, [OTHER])
    assert found == Bound(by="board's serial number pfara0123")


def test_the_controller_of_another_server_is_told_with_both_values() -> None:
    assert bound(Identity(serial="CZ3106X8QL"), SERVER, [OTHER]) == Mismatch(
        controller="serial number CZ3106X8QL", server="serial number CZ3106X8QK"
    )


def test_an_exchanged_board_is_no_mismatch() -> None:
    found = bound(Identity(board_serial="PFARA9999"), SERVER, [OTHER])
    assert isinstance(found, NeedsDrill)


@pytest.mark.parametrize(
    "filler",
    [
        *("", "  ", "To Be Filled By O.E.M.", "Default string", "0123456789", "123456789ABC"),
        *("Not Specified", "None", "N/A", "00000000", "XXXXXXX", "System Serial Number", "....."),
    ],
)
def test_what_makers_leave_unfilled_binds_nothing(filler: str) -> None:
    assert isinstance(bound(Identity(serial=filler), {"system-serial-number": filler}), NeedsDrill)
    assert isinstance(bound(Identity(serial=filler), SERVER), NeedsDrill)
    shown = bound(Identity(serial="CZ3106X8QK"), {"system-serial-number": filler})
    assert isinstance(shown, NeedsDrill)


@pytest.mark.parametrize("serial", ["CZ3106X8QK", "7XK5S12", "S123", "A1", "VMware-56 4d 1f"])
def test_a_real_serial_number_is_not_taken_for_filling(serial: str) -> None:
    assert bound(Identity(serial=serial), {"system-serial-number": serial}) == Bound(
        by=f"serial number {serial}"
    )


def test_a_number_that_two_servers_share_binds_neither() -> None:
    chassis = {"system-serial-number": "CH77"}
    assert isinstance(bound(Identity(serial="CH77"), chassis, [dict(chassis)]), NeedsDrill)


def test_a_device_that_does_not_say_needs_a_drill() -> None:
    assert isinstance(bound(None, SERVER), NeedsDrill)
    assert isinstance(bound(Identity(guid=GUID.bytes), SERVER), NeedsDrill)


@pytest.mark.parametrize("sent", [GUID.bytes, GUID.bytes_le, GUID.bytes[::-1]])
def test_a_uuid_binds_in_each_order_of_its_bytes(sent: bytes) -> None:
    shown = {"system-uuid": str(GUID).upper()}
    assert bound(Identity(guid=sent), shown) == Bound(by=f"uuid {GUID}")


def test_another_uuid_is_a_mismatch() -> None:
    other = UUID(int=GUID.int + 1)
    found = bound(Identity(guid=other.bytes), {"system-uuid": str(GUID)})
    assert isinstance(found, Mismatch)
    assert str(GUID) in found.server
    assert str(other) in found.controller


@pytest.mark.parametrize("nothing", [UUID(int=0), UUID(int=2**128 - 1)])
def test_a_uuid_of_nothing_binds_nothing(nothing: UUID) -> None:
    found = bound(Identity(guid=nothing.bytes), {"system-uuid": str(nothing)})
    assert isinstance(found, NeedsDrill)
    found = bound(Identity(guid=nothing.bytes), {"system-uuid": str(GUID)})
    assert isinstance(found, NeedsDrill)


@given(st.binary(min_size=16, max_size=16))
def test_whatever_order_is_sent_the_meant_uuid_is_among_the_readings(guid: bytes) -> None:
    meant = UUID(bytes=guid)
    assert all(meant in readings(way) for way in (guid, meant.bytes_le, guid[::-1]))
