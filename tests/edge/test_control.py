"""The control socket: who may what, what is understood, and how it is answered."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from cli.client import Control as Client
from cli.envelope import Failure
from reconciler.edge import callers, control
from reconciler.edge.callers import Caller, caller
from reconciler.edge.control import Control
from reconciler.edge.journal_file import JournalFile
from reconciler.messages import (
    Ask,
    AskApply,
    AskDrain,
    AskFreeze,
    AskHold,
    AskInvite,
    AskLook,
    AskRelease,
    AskRetry,
    AskThaw,
    AskUndrain,
    Progress,
    Reply,
    Request,
)
from reconciler.records import HeadSeen, Record
from reconciler.status import Condition, Status, Verdict
from reconciler.whatif import WhatIf
from reconciler.why import Why

STATUS = Status(
    cluster="lyon",
    cluster_id="c",
    node="n",
    version="1",
    mode="auto",
    verdict=Verdict.CONVERGED,
    condition=Condition.READY,
)


class Answering:
    """A daemon that keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.reply = Reply(accepted=True, notes=("noted",))
        self.waits_for: tuple[str, ...] = ()
        self.invited: list[str] = []

    async def status(self) -> Status:
        return STATUS

    async def why(self, obj: str) -> Why:
        return Why(object=obj, known=False)

    async def what_if(self, down: Sequence[str]) -> WhatIf | Reply:
        if list(down) == ["nobody"]:
            return Reply(accepted=False, reason="UnknownObject")
        return WhatIf(down=tuple(down), nodes=(), vms=())

    async def request(self, ask: Request) -> Reply:
        self.asked.append(ask)
        return self.reply

    async def bring(
        self, ask: AskHold | AskRelease, told: Callable[[Progress], Awaitable[None]]
    ) -> Reply:
        self.asked.append(ask)
        await told(Progress(id="H-1"))
        for what in self.waits_for:
            await told(Progress(waiting=what))
        return self.reply

    async def invite(self, ask: AskInvite) -> Reply:
        self.invited.append(ask.name)
        return Reply(accepted=False, reason="Alone")


def record(seq: int) -> Record:
    return Record(seq=seq, at_s=float(seq), entry=HeadSeen(revision=seq, author="a", summary="s"))


class Served:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "cxmd.sock"
        self.daemon = Answering()
        self.journal = JournalFile(folder / "journal")
        self.control = Control(self.path, self.daemon, self.journal)

    async def get(self, path: str) -> tuple[int, Any]:
        return await self.ask("GET", path)

    async def ask(self, method: str, path: str, body: str | None = None) -> tuple[int, Any]:
        status, text = await asyncio.to_thread(exchange, self.path, method, path, body)
        return status, json.loads(text)


def exchange(socket_path: Path, method: str, path: str, body: str | None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("x")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(socket_path))
    connection.request(method, path, body)
    response = connection.getresponse()
    return response.status, response.read().decode()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    made = Served(tmp_path)
    await made.control.open()
    yield made
    await made.control.close()


def called_by(monkeypatch: pytest.MonkeyPatch, *groups: str, uid: int = 4711) -> None:
    """As if the kernel named this user."""
    who = Caller(uid=uid, name="alice", groups=frozenset(groups))
    monkeypatch.setattr(control, "caller", lambda _connection: who)


async def test_a_hold_is_answered_in_lines_until_it_counts(served: Served) -> None:
    served.daemon.waits_for = ("n2 to store it", "n3, which leads, to store it")
    told: list[str] = []
    ask = AskHold(reason="smoke", by="")
    reply = await asyncio.to_thread(Client(served.path).hold, ask, told.append)
    assert reply == served.daemon.reply
    assert told == [
        f"the hold H-1 is in force on this node; waiting for {what}"
        for what in served.daemon.waits_for
    ]
    (asked,) = served.daemon.asked
    assert isinstance(asked, AskHold)
    assert (asked.reason, bool(asked.by)) == ("smoke", True)


async def test_a_hold_that_is_refused_is_told_so(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = AskHold(reason="", by="")
    served.daemon.reply = Reply(accepted=False, reason="NoReason", message="say why")
    with pytest.raises(Failure, match="say why"):
        await asyncio.to_thread(Client(served.path).hold, ask, print)
    called_by(monkeypatch, "cxm")
    with pytest.raises(Failure, match="not in group cxm-admin"):
        await asyncio.to_thread(Client(served.path).hold, ask, print)
    assert len(served.daemon.asked) == 1


async def test_one_model_for_status_and_diff(served: Served) -> None:
    status, body = await served.get("/v1/status")
    assert (status, body["cluster"], body["verdict"]) == (200, "lyon", "converged")
    assert await served.get("/v1/diff") == (status, body)
    assert await served.get("/v1/plan") == (200, body["plan"])


async def test_an_object_is_named_with_its_slash(served: Served) -> None:
    _, body = await served.get("/v1/why/vm/web1")
    assert body["object"] == "vm/web1"


async def test_what_if_names_nodes(served: Served) -> None:
    status, body = await served.get("/v1/what-if/xen1+xen2")
    assert (status, body["down"]) == (200, ["xen1", "xen2"])
    status, body = await served.get("/v1/what-if/nobody")
    assert (status, body["reason"]) == (409, "UnknownObject")


@pytest.mark.parametrize(
    ("path", "body", "ask"),
    [
        ("look", "", AskLook()),
        ("look", "{}", AskLook()),
        ("apply", '{"revision": 7}', AskApply(revision=7, by="alice")),
        (
            "freeze",
            '{"objects": ["vm/a"], "scopes": ["intent"], "for_s": 60, "reason": "r"}',
            AskFreeze(objects=("vm/a",), scopes=("intent",), for_s=60.0, reason="r", by="alice"),
        ),
        ("thaw", '{"objects": ["all"]}', AskThaw(objects=("all",), by="alice")),
        (
            "drain",
            '{"node": "n", "for_s": null, "reason": "r"}',
            AskDrain(node="n", for_s=None, reason="r", by="alice"),
        ),
        ("undrain", '{"node": "n"}', AskUndrain(node="n", by="alice")),
        ("retry", '{"objects": ["vm/a"]}', AskRetry(objects=("vm/a",), by="alice")),
    ],
)
async def test_a_request_bears_the_name_of_who_is_connected(
    served: Served, monkeypatch: pytest.MonkeyPatch, path: str, body: str, ask: Ask
) -> None:
    called_by(monkeypatch, "cxm-admin")
    status, reply = await served.ask("POST", f"/v1/{path}", body)
    assert (status, reply["notes"]) == (200, ["noted"])
    assert served.daemon.asked == [ask]


async def test_nobody_speaks_in_anothers_name(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    called_by(monkeypatch, "cxm-admin")
    await served.ask("POST", "/v1/apply", '{"revision": 7, "by": "mallory"}')
    assert served.daemon.asked == [AskApply(revision=7, by="alice")]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ('{"revision": "seven"}', "Expected `int`, got `str` - at `$.revision`"),
        ('{"revison": 7}', "apply knows no revison"),
        ("{}", "missing required field `revision`"),
        ("[", "apply: "),
        ("[]", "Expected `object`, got `array`"),
    ],
)
async def test_what_is_not_understood_is_told(served: Served, body: str, told: str) -> None:
    status, reply = await served.ask("POST", "/v1/apply", body)
    assert (status, reply["accepted"]) == (400, False)
    assert told in reply["message"]
    assert served.daemon.asked == []


async def test_a_refusal_of_the_reconciler_is_a_conflict(served: Served) -> None:
    served.daemon.reply = Reply(accepted=False, reason="WouldGoBack", message="no")
    status, reply = await served.ask("POST", "/v1/apply", '{"revision": 7}')
    assert (status, reply["reason"]) == (409, "WouldGoBack")


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/nope"), ("GET", "/")])
async def test_what_is_not_there_is_told_in_the_same_form(
    served: Served, method: str, path: str
) -> None:
    status, reply = await served.ask(method, path)
    assert (status, reply["accepted"], reply["reason"]) == (404, False, "NotFound")


@pytest.mark.parametrize(
    ("groups", "uid", "reads", "looks", "changes"),
    [
        ((), 0, True, True, True),
        ((), os.geteuid(), True, True, True),
        (("cxm-admin", "staff"), 4711, True, True, True),
        (("cxm",), 4711, True, True, False),
        (("staff",), 4711, False, False, False),
        ((), 4711, False, False, False),
    ],
)
async def test_credentials_decide(
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    groups: tuple[str, ...],
    uid: int,
    reads: bool,
    looks: bool,
    changes: bool,
) -> None:
    called_by(monkeypatch, *groups, uid=uid)
    got = [
        (await served.get("/v1/status"))[0],
        (await served.get("/v1/events"))[0] if not reads else 200,
        (await served.ask("POST", "/v1/look", "{}"))[0],
        (await served.ask("POST", "/v1/apply", '{"revision": 1}'))[0],
    ]
    assert got == [200 if may else 403 for may in (reads, reads, looks, changes)]
    assert len(served.daemon.asked) == looks + changes


def test_the_kernel_names_this_process() -> None:
    here, there = socket.socketpair()
    with here, there:
        found = caller(here)
    assert found.uid == os.geteuid()
    gids = {os.getegid(), *os.getgroups()}
    assert found.groups == {callers._group(gid) for gid in gids}


def test_the_kernel_names_other_groups_too(tmp_path: Path) -> None:
    """Those of the process, which may be none of the user's in the database."""
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(tmp_path / "s"))
    door.listen()
    script = f"import socket; socket.socket(socket.AF_UNIX).connect({str(tmp_path / 's')!r})"
    changed = {"group": 60, "extra_groups": [20, 29]} if os.geteuid() == 0 else {}
    with subprocess.Popen([sys.executable, "-c", script], **changed):  # type: ignore[call-overload]
        connection, _ = door.accept()
        found = caller(connection)
    connection.close()
    door.close()
    gids = {60, 20, 29} if changed else {os.getegid(), *os.getgroups()}
    assert found.groups == {callers._group(gid) for gid in gids}


async def test_the_socket_is_not_the_worlds(served: Served) -> None:
    mode = stat.S_IMODE(served.path.stat().st_mode)
    assert mode & 0o007 == 0


async def test_a_socket_left_over_is_taken_away(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "cxmd.sock"))
    left.close()
    served = Served(tmp_path)
    await served.control.open()
    assert (await served.get("/v1/status"))[0] == 200
    await served.control.close()
    assert not served.path.exists()


# --- events ---------------------------------------------------------------------------------------


async def test_events_from_a_number_on(served: Served) -> None:
    served.journal.append([record(n) for n in range(1, 6)])
    _, text = await asyncio.to_thread(exchange, served.path, "GET", "/v1/events?from=4", None)
    assert [json.loads(row)["seq"] for row in text.splitlines()] == [4, 5]


async def test_events_from_no_number_are_told(served: Served) -> None:
    status, reply = await served.get("/v1/events?from=x")
    assert status == 400
    assert "from=x" in reply["message"]


async def test_followers_get_the_news_and_end_with_the_daemon(served: Served) -> None:
    served.journal.append([record(1), record(2)])
    rows = Client(served.path, timeout_s=5.0).follow(2, quiet_s=5.0)

    def read() -> list[int]:
        return [json.loads(next(rows))["seq"] for _ in range(3)]

    reading = asyncio.create_task(asyncio.to_thread(read))
    await asyncio.sleep(0.2)
    served.journal.append([record(3)])
    await asyncio.sleep(0.05)
    served.journal.append([record(4)])
    assert await reading == [2, 3, 4]
    await asyncio.wait_for(served.control.close(), 5)
    assert await asyncio.to_thread(lambda: list(rows)) == []


async def test_a_follower_that_leaves_is_let_go(served: Served) -> None:
    _, writer = await asyncio.open_unix_connection(str(served.path))
    writer.write(b"GET /v1/events?from=1&follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(0.1)
    before = len(asyncio.all_tasks())
    writer.close()
    await asyncio.sleep(0.2)
    assert len(asyncio.all_tasks()) < before
