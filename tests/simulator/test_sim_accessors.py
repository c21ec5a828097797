"""Generated methods: getters, setters, look-ups, and the types of their arguments."""

from typing import Any

import pytest

from simulator.datamodel import data_model


async def test_setters_of_every_kind(client: Any) -> None:
    vm = await client.vm("web1")
    await client.call("VM.set_name_label", vm, "renamed")
    await client.call("VM.add_tags", vm, "x")
    await client.call("VM.add_tags", vm, "x")
    await client.call("VM.remove_tags", vm, "absent")
    await client.call("VM.add_to_other_config", vm, "k", "v")
    await client.call("VM.remove_from_other_config", vm, "absent")
    await client.call("VM.set_affinity", vm, client.host("xen3"))
    record = await client.call("VM.get_record", vm)
    assert (record["name_label"], record["tags"]) == ("renamed", ["web", "x"])
    assert (record["other_config"]["k"], record["affinity"]) == ("v", client.host("xen3"))
    duplicate = await client.refused("VM.add_to_other_config", vm, "k", "w")
    assert duplicate == ["MAP_DUPLICATE_KEY", "VM", "other_config", vm, "k"]
    await client.call("VM.remove_from_other_config", vm, "k")
    assert "k" not in await client.call("VM.get_other_config", vm)


async def test_look_ups(client: Any) -> None:
    record = await client.record("web1")
    assert await client.call("VM.get_by_uuid", record["uuid"]) == await client.vm("web1")
    nobody = "00000000-0000-0000-0000-000000000000"
    assert await client.refused("VM.get_by_uuid", nobody) == ["UUID_INVALID", "VM", nobody]
    assert await client.call("VM.get_by_name_label", "nobody") == []


@pytest.mark.parametrize("ref", ["OpaqueRef:NULL", "xyz", "OpaqueRef:deadbeef"])
async def test_a_reference_to_nothing(client: Any, ref: str) -> None:
    assert await client.refused("VM.get_record", ref) == ["HANDLE_INVALID", "VM", ref]


async def test_back_references_follow(client: Any) -> None:
    vm = await client.vm("web1")
    host = await client.call("VM.get_resident_on", vm)
    assert vm in await client.call("host.get_resident_VMs", host)
    for vbd in await client.call("VM.get_VBDs", vm):
        assert await client.call("VBD.get_VM", vbd) == vm
    await client.call("VM.hard_shutdown", vm)
    assert vm not in await client.call("host.get_resident_VMs", host)


QUERIES = {
    'field "power_state" = "Running" and field "is_control_domain" = "false"': {
        "web1", "mute", "deaf",
    },
    'field "name_label" = "web1" or field "name_label" = "web2"': {"web1", "web2"},
    'not (field "is_a_template" = "false") and not field "is_a_snapshot" = "true"': {"tmpl"},
    "true and false": set(),
    '"Running" = field "power_state" and (field "name_label" = "mute")': {"mute"},
}  # fmt: skip


@pytest.mark.parametrize("query", QUERIES)
async def test_queries(client: Any, query: str) -> None:
    records = await client.call("VM.get_all_records_where", query)
    assert {record["name_label"] for record in records.values()} == QUERIES[query]
    assert await client.call("VM.get_all_where", query) == list(records)


@pytest.mark.parametrize("query", ["((", "", 'field "x"', 'field "a" = "b" extra', "field = "])
async def test_bad_queries(client: Any, query: str) -> None:
    refusal = await client.refused("VM.get_all_records_where", query)
    assert refusal[:2] == ["INVALID_VALUE", query]


async def test_arguments_are_typed(client: Any) -> None:
    vm, internal = await client.vm("web1"), "INTERNAL_ERROR"
    cases: list[tuple[str, list[Any], str]] = [
        ("VM.get_by_name_label", [5], "Failure(\"Expected string, got 'I(5)'\")"),
        (
            "VM.set_is_a_template",
            ["OpaqueRef:NULL", "yes"],
            "Failure(\"Expected bool, got 'S(yes)'\")",
        ),
        ("VM.set_start_delay", [vm, "soon"], "Failure(\"Expected int64, got 'S(soon)'\")"),
        ("VM.set_tags", [vm, "x"], "Failure(\"Expected list, got 'S(x)'\")"),
        ("VM.set_other_config", [vm, ["x"]], "Failure(\"Expected dictionary, got '[S(x)]'\")"),
        ("VM.set_start_delay", [vm, True], "Failure(\"Expected int64, got 'B(true)'\")"),
    ]
    for method, args, text in cases:
        assert await client.refused(method, *args) == [internal, text]
    for number in (5, "5"):
        await client.call("VM.set_start_delay", vm, number)
        assert await client.call("VM.get_start_delay", vm) == 5


async def test_an_enum_value_that_does_not_exist(client: Any) -> None:
    vm = await client.vm("web1")
    refusal = await client.refused("VM.set_actions_after_shutdown", vm, "bogus")
    assert refusal[0] == "INTERNAL_ERROR"
    assert await client.call("VM.get_actions_after_shutdown", vm) == "destroy"


async def test_what_is_not_simulated_says_so(client: Any) -> None:
    vm = await client.vm("web1")
    assert await client.refused("VM.send_sysrq", vm, "k") == ["NOT_IMPLEMENTED", "VM.send_sysrq"]
    assert await client.call("GPU_group.get_all_records") == {}


async def test_the_list_of_methods(client: Any) -> None:
    methods = await client.world.call("xen1", "system.listMethods", [])
    assert {"VM.get_all_records", "VM.get_all_records_where", "pool.is_slave"} <= set(methods)
    assert not [name for name in methods if name.startswith("Async.")]
    assert len(methods) == len(set(methods))
    named = {name for name, model in data_model().classes.items() if model.messages}
    assert {name.partition(".")[0] for name in methods} == named


async def test_log_has_changes_and_no_looks(client: Any) -> None:
    vm = await client.vm("web1")
    await client.call("VM.set_name_label", vm, "new")
    await client.refused("VM.start", vm, False, False)
    entries = [(e.method, e.cls, e.name, e.originator, e.host, e.outcome) for e in client.world.log]
    assert entries == [
        ("VM.set_name_label", "VM", "web1", "tests", "xen1", "success"),
        ("VM.start", "VM", "new", "tests", "xen1", "VM_BAD_POWER_STATE"),
    ]
