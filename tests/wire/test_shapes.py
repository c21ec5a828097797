"""The comparison itself can see: each way of being wrong is found, and being right is not."""

from __future__ import annotations

import copy
import xmlrpc.client
from collections.abc import Callable
from typing import Any

import pytest

from tests.wire.shapes import differences

REF = "OpaqueRef:00000000-0000-4000-8000-{:012d}"
RECORDED: Any = {
    "Status": "Success",
    "Value": {
        "events": [
            {
                "id": "7",
                "class": "vm",
                "operation": "mod",
                "ref": REF.format(1),
                "snapshot": {
                    "uuid": "00000000-0000-4000-8000-000000000009",
                    "name_label": "web1",
                    "power_state": "Running",
                    "is_a_template": False,
                    "memory_static_max": "268435456",
                    "HVM_shadow_multiplier": 1.0,
                    "snapshot_time": xmlrpc.client.DateTime("19700101T00:00:00Z"),
                    "resident_on": REF.format(2),
                    "other_config": {"a": "b"},
                    "tags": ["x"],
                },
            }
        ],
        "valid_ref_counts": {"vm": 1, "host": 2},
        "token": "00000000000000000007,00000000000000000000",
    },
}
FAILED: Any = {"Status": "Failure", "ErrorDescription": ["HANDLE_INVALID", "VM", REF.format(3)]}


def record(answer: Any) -> Any:
    return answer["Value"]["events"][0]["snapshot"]


def test_the_same_shape_with_other_names_is_no_difference() -> None:
    ours = copy.deepcopy(RECORDED)
    ours["Value"]["token"] = "00000000000000000099,00000000000000000000"
    ours["Value"]["events"][0]["ref"] = REF.format(8)
    record(ours).update(
        memory_static_max="1", resident_on=REF.format(5), other_config={}, tags=[], name_label="x"
    )
    assert list(differences(RECORDED, ours)) == []
    other = ["HANDLE_INVALID", "VM", REF.format(4)]
    assert list(differences(FAILED, {**FAILED, "ErrorDescription": other})) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda ours: ours.update(Status="Failure") or ours.pop("Value"),
        lambda ours: ours["Value"].pop("token"),
        lambda ours: ours["Value"].update(token="7"),
        lambda ours: ours["Value"].update(events=[]),
        lambda ours: ours["Value"]["events"][0].update(id=7),
        lambda ours: ours["Value"]["events"][0].pop("snapshot"),
        lambda ours: ours["Value"]["valid_ref_counts"].update(vm="1"),
        lambda ours: ours["Value"]["valid_ref_counts"].pop("host"),
        lambda ours: record(ours).pop("tags"),
        lambda ours: record(ours).update(extra=1),
        lambda ours: record(ours).update(uuid=record(ours).pop("uuid")),
        lambda ours: record(ours).update(uuid="web1"),
        lambda ours: record(ours).update(power_state="Halted"),
        lambda ours: record(ours).update(is_a_template=True),
        lambda ours: record(ours).update(is_a_template="false"),
        lambda ours: record(ours).update(memory_static_max=268435456),
        lambda ours: record(ours).update(HVM_shadow_multiplier=1),
        lambda ours: record(ours).update(snapshot_time="19700101T00:00:00Z"),
        lambda ours: record(ours).update(resident_on="OpaqueRef:NULL"),
        lambda ours: record(ours).update(resident_on="xen1"),
        lambda ours: record(ours).update(other_config=[]),
        lambda ours: record(ours).update(other_config={"a": 1}),
        lambda ours: record(ours).update(tags=[1]),
    ],
)
def test_every_way_of_being_wrong_is_found(spoil: Callable[[Any], Any]) -> None:
    ours = copy.deepcopy(RECORDED)
    spoil(ours)
    assert list(differences(RECORDED, ours)) != []


@pytest.mark.parametrize(
    "description",
    [
        ["UUID_INVALID", "VM", REF.format(3)],
        ["HANDLE_INVALID", "host", REF.format(3)],
        ["HANDLE_INVALID", "VM"],
        ["HANDLE_INVALID", "VM", "xyz"],
        ["HANDLE_INVALID", REF.format(3), "VM"],
    ],
)
def test_failures_are_compared_to_the_last_parameter(description: list[str]) -> None:
    assert list(differences(FAILED, {**FAILED, "ErrorDescription": description})) != []
