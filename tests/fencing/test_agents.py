"""What is written to an agent, and what its answer is taken for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencing.agents import (
    Ended,
    Said,
    attempt,
    faults,
    guarded,
    plugs,
    power_said,
    redacted,
    request,
    secrets,
)
from fencing.devices import Action
from fencing.ladder import Power
from fencing.metadata import metadata
from tests.fencing.agent_texts import CREDENTIALS, IPMILAN, use

KNOWN = metadata(IPMILAN)
ON, OFF = "Status: ON\n", "Status: OFF\n"


def test_a_request_says_the_action_first_and_secrets_last() -> None:
    asked = use(ip="10.0.1.1", lanplus="1")
    assert request(asked, Action.OFF, KNOWN, CREDENTIALS).decode() == (
        "action=off\npower_timeout=20\nip=10.0.1.1\nlanplus=1\npassword=hunter2\nusername=admin\n"
    )


@pytest.mark.parametrize(
    ("default", "value", "said"),
    [("0", "0", False), ("0", "no", False), ("1", "0", True), ("0", "1", True), ("1", "1", True)],
)
def test_a_no_is_said_where_it_changes_something(default: str, value: str, said: bool) -> None:
    """Said elsewhere, some agents take it for a yes."""
    known = metadata(
        IPMILAN.replace(b'"boolean" default="0"', f'"boolean" default="{default}"'.encode())
    )
    asked = request(use(ip="10.0.1.1", lanplus=value), Action.OFF, known, CREDENTIALS)
    assert (f"lanplus={value}\n" in asked.decode()) is said


def test_a_program_of_ones_own_is_told_the_node_and_all_options() -> None:
    asked = use("exec", plug="7", program="cut", site="lyon")
    assert request(asked, Action.STATUS, None, {"token": "x"}).decode() == (
        "action=status\nnode=xen1\nplug=7\nlogin_timeout=5\npower_timeout=20\nsite=lyon\ntoken=x\n"
    )


@pytest.mark.parametrize(
    "password",
    ["x7\ny", "x7\r", "x7\x00y", "x7\u2028y", "x7\x85y", " x7", "x7 ", '"x7"', "x7\taction=on"],
)
def test_a_value_that_would_be_read_as_another_is_not_written(password: str) -> None:
    with pytest.raises(ValueError, match='"password"') as raised:
        request(use(ip="10.0.1.1"), Action.OFF, KNOWN, {**CREDENTIALS, "password": password})
    assert "x7" not in str(raised.value)


@given(st.text(max_size=20))
def test_a_value_never_makes_a_second_line(password: str) -> None:
    try:
        said = request(use(ip="10.0.1.1"), Action.OFF, KNOWN, {"password": password})
    except ValueError:
        return
    lines = said.decode().splitlines()
    assert [line for line in lines if line.startswith("action=")] == ["action=off"]
    assert lines[-1] == f"password={password}"


def test_nothing_speaks_against_what_fits() -> None:
    assert faults(use(ip="10.0.1.1", lanplus="1"), KNOWN, CREDENTIALS) == ()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lanpuls": "1"}, 'no option "lanpuls"; did you mean "lanplus"?'),
        ({"method": "onoff"}, 'no option "method"; it has action, ip, ipport, lanplus, password,'),
        ({"lanplus": "maybe"}, 'option "lanplus" of fence_ipmilan: "maybe" is not 0 or 1'),
        ({"privlvl": "root"}, '"root" is not one of user, administrator'),
        ({"ipaddr": "10.0.1.1"}, 'option "ipaddr" of fence_ipmilan is an old name; write ip'),
        ({"method": "cycle"}, "only onoff reads the power back"),
        ({"ipmitool_path": "/tmp/x"}, "a commit would run programs"),
    ],
)
def test_what_an_agent_would_ignore_is_refused(options: dict[str, str], said: str) -> None:
    found = faults(use(**{"ip": "10.0.1.1", **options}), KNOWN, CREDENTIALS)
    assert any(said in fault for fault in found), found


def test_what_an_agent_needs_is_told() -> None:
    found = faults(use(), KNOWN, {"password": "x"})
    assert found == (
        'fence_ipmilan needs the option "ip"',
        'fence_ipmilan needs the option "username"',
    )


def test_a_secret_of_the_wrong_form_is_not_shown() -> None:
    found = faults(use(ip="10.0.1.1"), KNOWN, {**CREDENTIALS, "privlvl": "hunter2"})
    assert len(found) == 1
    assert "hunter2" not in found[0]


@pytest.mark.parametrize(
    ("ended", "power"),
    [
        (Ended(code=0, out=ON), Power.ON),
        (Ended(code=2, out=OFF), Power.OFF),
        # A shell with a syntax error, a Python without its program: both end with 2.
        (Ended(code=2, err="sh: 3: Syntax error"), Power.UNKNOWN),
        (Ended(code=2, out=ON), Power.UNKNOWN),
        (Ended(code=0, out=OFF), Power.UNKNOWN),
        (Ended(code=0), Power.UNKNOWN),
        (Ended(code=1, out=OFF), Power.UNKNOWN),
        (Ended(code=2, out=OFF + ON), Power.UNKNOWN),
        (Ended(code=2, out="last Status: OFF was yesterday"), Power.UNKNOWN),
        (Ended(code=124, out=OFF), Power.UNKNOWN),
        (Ended(code=137, out=OFF), Power.UNKNOWN),
        (Ended(code=-9, out=OFF), Power.UNKNOWN),
    ],
)
def test_a_status_counts_where_code_and_words_agree(ended: Ended, power: Power) -> None:
    assert power_said(ended).power is power


def test_why_it_is_unknown_is_said() -> None:
    assert power_said(Ended(code=2, err="no such file")).message == (
        "code 2 means off, but it says nothing: no such file"
    )
    assert power_said(Ended(code=124, err="a\nb\n\n")).message == "killed at its deadline: a; b"
    assert power_said(Ended(code=139)).message == "ended by signal 11"


def test_an_attempt_is_what_the_agent_says() -> None:
    assert attempt(Ended(code=0, out="Success: Powered OFF\n")).ok
    failed = attempt(Ended(code=1, err="ERROR: Timed out waiting to power OFF\n"))
    assert not failed.ok
    assert failed.message == "failed with code 1: ERROR: Timed out waiting to power OFF"
    assert not attempt(Ended(code=2, out=OFF)).ok


def test_plugs_that_are_listed() -> None:
    assert plugs(Ended(code=0, out="1,Outlet 1\n2,\n1:3,a,b\n")) == frozenset({"1", "2", "1:3"})
    assert plugs(Ended(code=0, out="N/A\n")) is None
    assert plugs(Ended(code=1, out="1,Outlet 1\n")) is None


def test_off_counts_for_a_plug_that_is_there() -> None:
    off = Said(power=Power.OFF, message="status is off")
    strip = use("fence_apc_snmp", plug="9", ip="10.0.2.1")
    assert guarded(off, strip, frozenset({"8", "9"})) == off
    missing = guarded(off, strip, frozenset({"7", "8"}))
    assert missing.power is Power.UNKNOWN
    assert 'no plug "9", so off means nothing; it lists 7, 8' in missing.message
    assert guarded(off, strip, None).power is Power.UNKNOWN


def test_the_name_of_who_logs_in_is_no_secret() -> None:
    assert secrets({**CREDENTIALS, "empty": ""}) == ("hunter2",)


@pytest.mark.parametrize(
    ("secret", "written"),
    [
        ("hunter2", "hunter2"),
        ("it's 1$", "'it'\"'\"'s 1$'"),
        ("it's 1$", "it%27s%201%24"),
        ("a/b c", "a/b%20c"),
        ("caf\u00e9", '"caf\\u00e9"'),
        ("a\\b", "'a\\\\b'"),
    ],
)
def test_a_secret_is_hidden_in_every_spelling(secret: str, written: str) -> None:
    shown = redacted(f"-P {written} failed", [secret], cut=False)
    assert shown.replace('"[secret]"', "[secret]").replace("'[secret]'", "[secret]") == (
        "-P [secret] failed"
    )


def test_what_was_cut_off_does_not_end_in_half_a_secret() -> None:
    assert "hunter" not in redacted("log: password is hunter", ["hunter2"], cut=True)
    assert redacted("log: all", ["hunter2"], cut=False) == "log: all"
