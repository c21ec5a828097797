"""Tasks: records, results, errors, cancelling, garbage."""

import itertools
from typing import Any

import pytest

from simulator.tasks import TASKS_KEPT, fragment
from simulator.values import DateTime


async def test_a_pending_and_a_finished_task(client: Any) -> None:
    vm = await client.vm("web2")
    task = await client.call("Async.VM.start", vm, False, False)
    record = await client.call("task.get_record", task)
    assert (record["name_label"], record["status"]) == ("Async.VM.start", "pending")
    assert record["finished"] == "19700101T00:00:00Z"
    assert (record["progress"], record["result"], record["type"]) == (0.0, "", "<none/>")
    record = await client.finished(task)
    assert (record["status"], record["progress"]) == ("success", 1.0)
    assert (record["result"], record["error_info"]) == ("<value></value>", [])
    assert record["allowed_operations"] == []
    assert record["finished"] >= record["created"]


async def test_a_failure_is_in_the_task_even_for_a_bad_reference(client: Any) -> None:
    vm = await client.vm("web1")
    for ref, error in (
        (vm, ["VM_BAD_POWER_STATE", vm, "halted", "running"]),
        ("OpaqueRef:nobody", ["HANDLE_INVALID", "VM", "OpaqueRef:nobody"]),
    ):
        record = await client.finished(await client.call("Async.VM.start", ref, False, False))
        assert (record["status"], record["error_info"]) == ("failure", error)
        assert (record["progress"], record["result"]) == (1.0, "")


async def test_a_reference_result(client: Any) -> None:
    task = await client.call("Async.VM.clone", await client.vm("tmpl"), "copy")
    record = await client.finished(task)
    assert record["result"] == f"<value>{await client.vm('copy')}</value>"


async def test_what_has_no_async_form(client: Any) -> None:
    vm = await client.vm("web1")
    assert await client.refused("Async.VM.nosuch") == ["MESSAGE_METHOD_UNKNOWN", "VM.nosuch"]
    assert await client.refused("Async.VM.start") == [
        "MESSAGE_PARAMETER_COUNT_MISMATCH", "VM.start", "3", "0",
    ]  # fmt: skip
    assert await client.refused("Async.VM.get_record", vm) == [
        "Fault", "No async mode for this operation (rpc: VM.get_record)",
    ]  # fmt: skip


async def test_a_synchronous_operation_has_a_task_while_it_lasts(client: Any) -> None:
    token = (await client.call("event.from", ["task"], "", 0.0))["token"]
    await client.call("VM.start", await client.vm("web2"), False, False)
    assert await client.call("task.get_all") == []
    batch = await client.call("event.from", ["task"], token, 0.0)
    assert batch["events"] == []


async def test_progress_of_a_migration_only_grows(client: Any) -> None:
    vm, clock = await client.vm("web1"), client.world.pool.clock
    task = await client.call("Async.VM.pool_migrate", vm, client.host("xen2"), {})
    seen = []
    while (await client.call("task.get_status", task)) == "pending":
        seen.append((round(clock.now(), 2), await client.call("task.get_progress", task)))
        await clock.sleep(0.2)
    values = [progress for _, progress in seen]
    assert values == sorted(values)
    changes = [at for (at, now), (_, before) in zip(seen[1:], seen, strict=False) if now != before]
    assert len(changes) > 2
    assert min(b - a for a, b in itertools.pairwise(changes)) > 0.75


async def test_cancel_before_the_point_of_no_return(client: Any) -> None:
    vm = await client.vm("web1")
    task = await client.call("Async.VM.pool_migrate", vm, client.host("xen2"), {})
    await client.world.pool.clock.sleep(2)
    assert await client.call("task.get_allowed_operations", task) == ["cancel"]
    await client.call("task.cancel", task)
    record = await client.finished(task)
    assert (record["status"], record["error_info"]) == ("cancelled", ["TASK_CANCELLED", task])
    assert record["progress"] == 1.0
    vm_record = await client.record("web1")
    assert vm_record["resident_on"] == client.host("xen1")
    assert vm_record["scheduled_to_be_resident_on"] == "OpaqueRef:NULL"
    assert vm_record["current_operations"] == {}
    assert client.world.pool.domains.get("xen2", vm_record["uuid"]) is None


async def test_cancel_is_ignored_when_it_is_not_allowed(client: Any) -> None:
    vm = await client.vm("web1")
    task = await client.call("Async.VM.hard_shutdown", vm)
    await client.world.pool.clock.sleep(0.1)
    assert await client.call("task.get_allowed_operations", task) == []
    await client.call("task.cancel", task)
    assert (await client.finished(task))["status"] == "success"
    await client.call("task.cancel", task)


async def test_cancel_of_a_start_leaves_nothing_behind(client: Any) -> None:
    vm = await client.vm("web2")
    task = await client.call("Async.VM.start_on", vm, client.host("xen1"), False, False)
    await client.world.pool.clock.sleep(0.6)
    await client.call("task.cancel", task)
    assert (await client.finished(task))["status"] == "cancelled"
    record = await client.record("web2")
    assert (record["power_state"], record["current_operations"]) == ("Halted", {})
    assert record["scheduled_to_be_resident_on"] == "OpaqueRef:NULL"
    vbds = [await client.call("VBD.get_currently_attached", ref) for ref in record["VBDs"]]
    assert not any(vbds)
    assert client.world.running_on("web2").hosts == ()


async def test_destroy_frees_a_task_at_once_or_when_it_is_done(client: Any) -> None:
    done = await client.call("Async.VM.clone", await client.vm("tmpl"), "copy")
    await client.finished(done)
    await client.call("task.destroy", done)
    assert await client.refused("task.get_record", done) == ["HANDLE_INVALID", "task", done]
    running = await client.call("Async.VM.start", await client.vm("web2"), False, False)
    await client.call("task.destroy", running)
    assert await client.call("task.get_status", running) == "pending"
    await client.world.pool.clock.sleep(60)
    assert await client.refused("task.get_record", running) == ["HANDLE_INVALID", "task", running]
    assert client.world.running_on("web2").power_state == "Running"


async def test_a_tag_finds_the_task_again(client: Any) -> None:
    task = await client.call("Async.VM.start", await client.vm("web2"), False, False)
    await client.call("task.add_to_other_config", task, "cxm:txn", "17")
    assert await client.refused("task.add_to_other_config", task, "cxm:txn", "18") == [
        "MAP_DUPLICATE_KEY", "task", "other_config", task, "cxm:txn",
    ]  # fmt: skip
    record = await client.finished(task)
    assert record["other_config"]["cxm:txn"] == "17"


async def test_old_tasks_are_collected(client: Any) -> None:
    own = await client.call("task.create", "own", "")
    done = await client.call("Async.VM.clone", await client.vm("tmpl"), "copy")
    await client.finished(done)
    client.world.pool.clock.advance(66 * 60)
    await client.call("task.create", "another", "")
    assert await client.refused("task.get_record", done) == ["HANDLE_INVALID", "task", done]
    assert await client.call("task.get_status", own) == "pending"
    client.world.pool.clock.advance(24 * 3600)
    await client.call("task.create", "another", "")
    assert await client.refused("task.get_record", own) == ["HANDLE_INVALID", "task", own]


async def test_of_too_many_the_oldest_finished_go_first(client: Any) -> None:
    vm = await client.vm("web1")
    first = await client.call("Async.VM.set_start_delay", vm, 0)
    await client.finished(first)
    for _ in range(TASKS_KEPT + 1):
        await client.call("task.create", "filler", "")
    assert await client.refused("task.get_record", first) == ["HANDLE_INVALID", "task", first]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", "<value></value>"),
        ("a<b", "<value>a&lt;b</value>"),
        (5, "<value>5</value>"),
        (True, "<value><boolean>1</boolean></value>"),
        (0.5, "<value><double>0.5</double></value>"),
        (
            DateTime("20260822T10:15:30Z"),
            "<value><dateTime.iso8601>20260822T10:15:30Z</dateTime.iso8601></value>",
        ),
        (["a"], "<value><array><data><value>a</value></data></array></value>"),
        (
            {"k": "v"},
            "<value><struct><member><name>k</name><value>v</value></member></struct></value>",
        ),
    ],
)
def test_results_are_fragments_of_xml_rpc(value: Any, text: str) -> None:
    assert fragment(value) == text
