"""What a served pool shows of itself, how events tell a story, and that nonsense does not hurt it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tests.wire.served import Session, post, request, served

POOL = (Path(__file__).parent / "cases" / "pool.yaml").read_text()


async def test_the_pool_knows_the_certificates_that_its_hosts_show(tmp_path: Path) -> None:
    async with served(tmp_path, POOL) as running:
        session = await Session.login(running.hosts[0].url)
        records = (await session.call("Certificate.get_all_records")).values()
        hosts = await session.call("host.get_all_records")
        pems = {
            record["name_label"]: await session.call("host.get_server_certificate", ref)
            for ref, record in hosts.items()
        }
        kept = {path.stem: path.read_text() for path in (tmp_path / "state/tls").glob("*.pem")}
    shown = {hosts[record["host"]]["name_label"]: record for record in records}
    for host in running.hosts:
        assert shown[host.name]["fingerprint_sha256"] == host.fingerprint
        assert shown[host.name]["type"] == "host"
        assert pems[host.name] in kept[host.name]


async def test_events_tell_of_a_start_in_its_order(tmp_path: Path) -> None:
    async with served(tmp_path, POOL, speed=6) as running:
        session = await Session.login(running.hosts[0].url)
        (vm,) = await session.call("VM.get_by_name_label", "db1")
        token = (await session.call("event.from", ["*"], "", 1.0))["token"]
        task = await session.call("Async.VM.start", vm, False, False)
        story = await _story(session, vm, task, token)
    assert story[0] == ("Halted", ["start"])
    assert story[-1] == ("Running", [])
    # It runs before the operation is over: who waits for the end must look at the operation.
    assert ("Running", ["start"]) in story
    assert [state for state, _ in story] == sorted(state for state, _ in story)


async def _story(session: Session, vm: str, task: str, token: str) -> list[tuple[str, list[str]]]:
    """Each state in which events show the VM, until its task has ended and nothing follows."""
    story: list[Any] = []
    while True:
        batch = await session.call("event.from", ["VM", "task"], token, 1.0)
        token = batch["token"]
        for event in batch["events"]:
            if event["ref"] == vm:
                record = event["snapshot"]
                state = (record["power_state"], sorted(record["current_operations"].values()))
                story += [state] if story[-1:] != [state] else []
        if not batch["events"] and await session.call("task.get_status", task) != "pending":
            return story


async def test_nonsense_gets_an_answer_and_the_server_goes_on(tmp_path: Path) -> None:
    chance = random.Random(8)
    call = "<methodCall><methodName>VM.get_all</methodName><params><param/></params></methodCall>"
    whole = '{"jsonrpc":"2.0","method":"VM.get_record","params":[["a"],{},1e3,null],"id":1}'
    async with served(tmp_path, POOL) as running:
        url = running.hosts[0].url
        for _ in range(60):
            path, body = chance.choice([("/", call), ("/jsonrpc", whole)])
            at = chance.randrange(len(body))
            spoilt = (
                body[:at] + chance.choice(["", "<", "}", "\x00", "\u00e9", body]) + body[at + 1 :]
            )
            answer = await post(url, path, spoilt)
            assert answer.status in ("HTTP/1.1 200 OK", "HTTP/1.1 500 Internal Error")
        session = await Session.login(url)
        odd: list[list[Any]] = [[[]], [{}], [1.5], [True], [["x"], "y"], ["a", ["*"], "", "soon"]]
        for params in odd:
            for method in ("VM.get_all", "VM.start", "event.from", "session.logout"):
                answer = await post(url, "/jsonrpc", request(method, params))
                assert answer.status == "HTTP/1.1 200 OK", f"{method}{params}"
        assert len(await session.call("host.get_all")) == 2
