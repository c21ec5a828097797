"""event.from as recorded: tokens, coalescing, blocking, order, odd arguments."""

import asyncio
from typing import Any

import pytest

from simulator.datamodel import data_model

START = "0" * 20


async def take(client: Any, classes: list[str], token: str, limit: float = 5.0) -> Any:
    return await client.call("event.from", classes, token, limit)


def short(batch: Any) -> list[tuple[str, str]]:
    return [(event["class"], event["operation"]) for event in batch["events"]]


async def test_an_empty_token_gives_everything_as_added(client: Any) -> None:
    batch = await take(client, ["VM", "Host"], "")
    vms = await client.call("VM.get_all_records")
    hosts = await client.call("host.get_all_records")
    assert {e["ref"]: e["snapshot"] for e in batch["events"]} == {**vms, **hosts}
    assert {e["operation"] for e in batch["events"]} == {"add"}
    assert {e["class"] for e in batch["events"]} == {"vm", "host"}
    assert {e["timestamp"] for e in batch["events"]} == {"0.0"}


async def test_counts_are_of_all_classes_in_lower_case(client: Any) -> None:
    counts = (await take(client, ["pool"], ""))["valid_ref_counts"]
    assert set(counts) == {name.lower() for name in data_model().classes} | {"diagnostics"}
    assert (counts["host"], counts["pool"], counts["session"]) == (3, 1, 1)
    assert counts["message"] == 0


async def test_the_token_is_two_padded_numbers_of_the_asked_classes(client: Any) -> None:
    pools = (await take(client, ["pool"], ""))["token"]
    everything = (await take(client, ["*"], ""))["token"]
    left, _, right = pools.partition(",")
    assert (len(left), len(right), right) == (20, 20, START)
    assert left < everything.partition(",")[0]


async def test_nothing_new_waits_and_gives_the_same_token(client: Any) -> None:
    clock = client.world.pool.clock
    token = (await take(client, ["VM"], ""))["token"]
    before = clock.now()
    batch = await take(client, ["VM"], token, 2.0)
    assert (batch["events"], batch["token"]) == ([], token)
    assert clock.now() - before == pytest.approx(2.0, abs=0.06)
    before = clock.now()
    assert (await take(client, ["VM"], token, 0.0))["events"] == []
    assert clock.now() - before == pytest.approx(0.05, abs=0.01)


async def test_many_changes_are_one_event_with_the_last_state(client: Any) -> None:
    token = (await take(client, ["*"], ""))["token"]
    vm = await client.vm("web1")
    for name in ("a", "b", "c"):
        await client.call("VM.set_name_label", vm, name)
    batch = await take(client, ["VM"], token)
    (event,) = batch["events"]
    assert (event["operation"], event["ref"], event["snapshot"]["name_label"]) == ("mod", vm, "c")
    assert (await take(client, ["VM"], batch["token"], 0.0))["events"] == []


async def test_created_and_changed_is_added_created_and_destroyed_is_nothing(client: Any) -> None:
    token = (await take(client, ["*"], ""))["token"]
    copy = await client.call("VM.clone", await client.vm("tmpl"), "copy")
    await client.call("VM.set_name_label", copy, "changed")
    added = [e for e in (await take(client, ["VM"], token))["events"] if e["ref"] == copy]
    assert [(e["operation"], e["snapshot"]["name_label"]) for e in added] == [("add", "changed")]
    await client.call("VM.destroy", copy)
    assert copy not in [e["ref"] for e in (await take(client, ["VM"], token))["events"]]


async def test_deleted_objects_have_no_snapshot(client: Any) -> None:
    vm = await client.vm("tied")
    token = (await take(client, ["*"], ""))["token"]
    await client.call("VM.destroy", vm)
    gone = [e for e in (await take(client, ["vm"], token))["events"] if e["operation"] == "del"]
    assert [(e["ref"], "snapshot" in e) for e in gone] == [(vm, False)]


async def test_it_blocks_until_something_changes(client: Any) -> None:
    clock = client.world.pool.clock
    token = (await take(client, ["VM"], ""))["token"]
    waiting = asyncio.create_task(take(client, ["VM"], token, 60.0))
    await clock.sleep(7)
    assert not waiting.done()
    before = clock.now()
    await client.call("VM.set_name_label", await client.vm("web1"), "new")
    assert short(await waiting) == [("vm", "mod")]
    assert clock.now() - before < 1


async def test_other_classes_do_not_wake_it(client: Any) -> None:
    token = (await take(client, ["host"], ""))["token"]
    waiting = asyncio.create_task(take(client, ["host"], token, 10.0))
    await client.call("VM.set_name_label", await client.vm("web1"), "new")
    assert (await waiting)["events"] == []


async def test_a_token_from_the_future_is_given_back(client: Any) -> None:
    batch = await take(client, ["VM"], "99999999999,99999", 1.0)
    assert (batch["events"], batch["token"]) == ([], f"{99999999999:020d},{START}")


async def test_zero_token_is_like_the_empty_one(client: Any) -> None:
    assert short(await take(client, ["pool"], f"{START},{START}")) == [("pool", "add")]


async def test_unknown_or_no_classes_wait_and_stay_at_zero(client: Any) -> None:
    for classes in (["nosuch"], []):
        batch = await take(client, classes, "", 1.0)
        assert (batch["events"], batch["token"]) == ([], f"{START},{START}")


async def test_a_single_object_can_be_watched(client: Any) -> None:
    web1, web2 = await client.vm("web1"), await client.vm("web2")
    token = (await take(client, ["*"], ""))["token"]
    for vm in (web1, web2):
        await client.call("VM.set_name_label", vm, "new")
    batch = await take(client, [f"VM/{web1}"], token)
    assert [event["ref"] for event in batch["events"]] == [web1]


async def test_bad_tokens_and_subscriptions(client: Any) -> None:
    garbage = await client.refused("event.from", ["VM"], "garbage", 1.0)
    assert garbage == ["EVENT_FROM_TOKEN_PARSE_FAILURE", "garbage"]
    slashes = await client.refused("event.from", ["VM/a/b"], "", 1.0)
    assert slashes == ["EVENT_SUBSCRIPTION_PARSE_FAILURE", "VM/a/b"]


async def test_a_negative_limit_waits_for_ever(client: Any) -> None:
    token = (await take(client, ["pool"], ""))["token"]
    waiting = asyncio.create_task(take(client, ["pool"], token, -1.0))
    await client.world.pool.clock.sleep(1e5)
    assert not waiting.done()
    waiting.cancel()


async def test_logout_ends_a_blocked_call(client: Any) -> None:
    token = (await take(client, ["pool"], ""))["token"]
    waiting = asyncio.create_task(client.refused("event.from", ["pool"], token, 60.0))
    await client.world.pool.clock.sleep(1)
    await client.call("session.logout")
    assert await waiting == ["SESSION_INVALID", client.session]


async def test_inject_is_a_barrier(client: Any) -> None:
    pool = (await client.call("pool.get_all"))[0]
    token = await client.call("event.inject", "pool", pool)
    batch = await take(client, ["pool"], token)
    assert short(batch) == [("pool", "mod")]
    assert (await take(client, ["pool"], batch["token"], 0.0))["events"] == []


async def test_a_start_is_seen_in_the_recorded_order(client: Any) -> None:
    """Task; VM still Halted but held; devices; Running but still held; guest metrics; free."""
    vm, seen = await client.vm("web2"), []
    classes = ["VM", "task", "VM_metrics", "VM_guest_metrics", "VBD", "VIF"]
    token = (await take(client, classes, ""))["token"]
    task = await client.call("Async.VM.start_on", vm, client.host("xen1"), False, False)
    while ("task", "mod", "success") not in seen:
        batch = await take(client, classes, token)
        token = batch["token"]
        events = sorted(batch["events"], key=lambda event: int(event["id"]))
        seen += [what for event in events if (what := _told(event, vm)) not in seen]
    assert (await client.call("task.get_status", task)) == "success"
    order = [
        ("task", "add", "pending"),
        ("vm", "mod", "Halted", "held"),
        ("vif", "mod", True),
        ("vm", "mod", "Running", "held"),
        ("vm_guest_metrics", "add"),
        ("vm", "mod", "Running", "free"),
        ("task", "mod", "success"),
    ]
    assert [what for what in seen if what in order] == order


def _told(event: Any, vm: str) -> tuple[Any, ...]:
    snapshot, head = event.get("snapshot", {}), (event["class"], event["operation"])
    if event["ref"] == vm:
        held = "held" if snapshot["current_operations"] else "free"
        return (*head, snapshot["power_state"], held)
    if event["class"] == "task" and snapshot:
        return (*head, snapshot["status"])
    return (*head, snapshot["currently_attached"]) if event["class"] == "vif" else head


async def test_messages_come_as_events_of_their_own_counter(client: Any) -> None:
    token = (await take(client, ["*"], ""))["token"]
    uuid = (await client.record("web1"))["uuid"]
    ref = await client.call("message.create", "TEST", 3, "VM", uuid, "body")
    batch = await take(client, ["message"], token)
    assert [(e["operation"], e["ref"]) for e in batch["events"]] == [("add", ref)]
    assert batch["token"].endswith(",00000000000000000001")
    assert (await take(client, ["message"], batch["token"], 0.0))["events"] == []


async def test_a_message_that_is_destroyed_is_told_of(client: Any) -> None:
    uuid = (await client.record("web1"))["uuid"]
    ref = await client.call("message.create", "TEST", 3, "VM", uuid, "body")
    token = (await take(client, ["message"], ""))["token"]
    fleeting = await client.call("message.create", "TEST", 3, "VM", uuid, "body")
    for gone in (ref, fleeting):
        await client.call("message.destroy", gone)
    batch = await take(client, ["message"], token)
    assert [(e["operation"], e["ref"]) for e in batch["events"]] == [("del", ref)]
    assert "snapshot" not in batch["events"][0]
    assert (await take(client, ["message"], batch["token"], 0.0))["events"] == []


async def test_a_message_is_about_something_that_exists(client: Any) -> None:
    pool = client.world.pool.row.text("uuid")
    assert await client.call("message.create", "TEST", 3, "Pool", pool, "body")
    for cls, uuid in (("Pool", "nothing"), ("VM", pool)):
        refused = await client.refused("message.create", "TEST", 3, cls, uuid, "body")
        assert refused == ["UUID_INVALID", cls, uuid]


async def test_the_old_way(client: Any) -> None:
    assert (await client.refused("event.next"))[0] == "SESSION_NOT_REGISTERED"
    await client.call("event.register", ["VM"])
    waiting = asyncio.create_task(client.call("event.next"))
    await client.world.pool.clock.sleep(1)
    assert not waiting.done()
    await client.call("VM.set_name_label", await client.vm("web1"), "new")
    (event,) = await waiting
    assert (event["class"], event["operation"]) == ("vm", "mod")
    assert event["timestamp"].endswith(".")
    await client.call("event.unregister", ["VM"])
    forlorn = asyncio.create_task(client.call("event.next"))
    await client.world.pool.clock.sleep(100)
    assert not forlorn.done()
    forlorn.cancel()
    assert await client.call("event.get_current_id") == 0


async def test_sessions_make_no_events(client: Any) -> None:
    token = (await take(client, ["*"], ""))["token"]
    await client.world.call("xen1", "session.login_with_password", ["root", "secret"])
    assert (await take(client, ["*"], token, 0.0))["events"] == []
