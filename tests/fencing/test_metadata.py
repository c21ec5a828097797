"""Agents' descriptions of themselves, and what is taken for none."""

from __future__ import annotations

import pytest

from fencing.metadata import LONGEST, MetadataError, Parameter, metadata
from tests.fencing.agent_texts import HEAD, IPMILAN, TAIL


def test_names_types_and_defaults() -> None:
    found = metadata(IPMILAN)
    assert found.name == "fence_ipmilan"
    assert found.actions == {"off", "status"}
    assert found.parameters["ipport"] == Parameter(name="ipport", type="integer", default="623")
    assert found.parameters["privlvl"].choices == ("user", "administrator")
    assert found.parameters["ip"].required
    assert not found.parameters["lanplus"].required


def test_an_old_name_knows_the_new_one() -> None:
    old = metadata(IPMILAN).parameters["passwd"]
    assert old.deprecated
    assert old.name_now == "password"


@pytest.mark.parametrize(
    ("name", "value", "good"),
    [
        ("ipport", "623", True),
        ("ipport", "six", False),
        ("power_wait", "2", True),
        ("power_wait", "2s", False),
        ("lanplus", "true", True),
        ("lanplus", "maybe", False),
        ("privlvl", "user", True),
        ("privlvl", "root", False),
        ("ip", "anything", True),
    ],
)
def test_values_are_of_a_type(name: str, value: str, good: bool) -> None:
    assert metadata(IPMILAN).parameters[name].accepts(value) is good


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"Usage: fence_ack_manual", "no well-formed XML"),
        (b"", "no well-formed XML"),
        (b"<html/>", "begins with <html>"),
        (IPMILAN[: len(IPMILAN) // 2], "no well-formed XML"),
        (
            b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><resource-agent name="&b;"/>',
            "document type",
        ),
        (b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><resource-agent/>', "document type"),
        (HEAD + b" " * LONGEST + TAIL % b"", "longer than"),
    ],
)
def test_what_is_no_description(text: bytes, said: str) -> None:
    with pytest.raises(MetadataError, match=said):
        metadata(text)
