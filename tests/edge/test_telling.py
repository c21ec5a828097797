"""Ways of telling people: real programs, a real server, a mail as sendmail gets it."""

from __future__ import annotations

import asyncio
import email
import json
import time
from collections.abc import AsyncIterator
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from reconciler.edge import telling
from reconciler.edge.telling import Tellers
from reconciler.paging import Page, Severity, over
from reconciler.paging import test as trial
from schema.settings import Notify
from tests.edge.repositories import free_port

PAGE = Page(
    key="peer/xen2",
    severity=Severity.CRITICAL,
    title="node xen2 is silent on every channel",
    text="Look at cxm members.\nÄnderung folgt",
)


def program(folder: Path, body: str, name: str = "pager") -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def tellers(*ways: Notify) -> Tellers:
    return Tellers(ways, "xen1", "c-1")


async def told(*ways: Notify, page: Page = PAGE) -> tuple[str, ...]:
    return await tellers(*ways).tell(page)


def by_exec(path: str, severity: str = "warning") -> Notify:
    return Notify(way="exec", target=path, severity=severity)


def running() -> set[int]:
    """Every process that there is, ended ones that nobody asked for yet too."""
    return {int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()}


def alive(pid: int) -> bool:
    """Whether a process runs: one that ended and that nobody asked for yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def gone(pid: int) -> bool:
    end_s = time.monotonic() + 5.0
    while alive(pid) and time.monotonic() < end_s:
        await asyncio.sleep(0.02)
    return not alive(pid)


# --- programs -------------------------------------------------------------------------------------


async def test_a_program_gets_the_page_as_json_in_a_clean_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "hush")
    path = program(tmp_path, f"cat >{tmp_path}/page; env >{tmp_path}/environment; echo noise")
    assert await told(by_exec(path)) == (f"exec {path}: told",)
    lines = (tmp_path / "page").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {
            "format": "cxm.page/1.0",
            "cluster_id": "c-1",
            "node": "xen1",
            "key": "peer/xen2",
            "severity": "critical",
            "title": PAGE.title,
            "text": PAGE.text,
        }
    ]
    environment = (tmp_path / "environment").read_text().splitlines()
    names = {line.partition("=")[0] for line in environment} - {"PWD", "_", "OLDPWD", "SHLVL"}
    assert names == {"PATH", "LC_ALL"}


async def test_a_program_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    path = program(tmp_path, "echo first >&2; echo no such pager >&2; exit 3")
    silent = program(tmp_path, "exit 4", "silent")
    assert await told(by_exec(path), by_exec(silent)) == (
        f"exec {path}: exit 3: no such pager",
        f"exec {silent}: exit 4",
    )


async def test_a_program_need_not_read_what_it_is_given(tmp_path: Path) -> None:
    path = program(tmp_path, "exec <&-; exit 0")
    large = Page(key="k", severity=Severity.CRITICAL, title="t", text="x" * 1_000_000)
    assert await told(by_exec(path), page=large) == (f"exec {path}: told",)


async def test_of_a_flood_of_words_the_end_is_kept(tmp_path: Path) -> None:
    path = program(
        tmp_path, "head -c 5000000 /dev/zero | tr '\\0' x >&2; echo; echo end >&2; exit 1"
    )
    (line,) = await told(by_exec(path))
    assert line.startswith(f"exec {path}: exit 1: xxx")
    assert line.endswith("xend")
    assert len(line) < 5000


async def test_a_program_that_is_not_there_or_not_ours_to_run(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.write_text("#!/bin/sh\n")
    missing, refused = await told(by_exec(str(tmp_path / "none")), by_exec(str(locked)))
    assert missing.startswith(f"exec {tmp_path}/none: ")
    assert "No such file" in missing
    assert "Permission denied" in refused


async def test_one_that_hangs_is_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "WITHIN_S", 0.5)
    path = program(tmp_path, f"sleep 600 & echo $! $$ >{tmp_path}/pids; wait")
    begun_s = time.monotonic()
    assert await told(by_exec(path)) == (f"exec {path}: no end within 0.5 s",)
    assert time.monotonic() - begun_s < 3.0
    child, own = map(int, (tmp_path / "pids").read_text().split())
    assert await gone(child)
    assert await gone(own)


async def test_children_of_one_that_ended_do_not_outlast_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "WITHIN_S", 0.5)
    path = program(tmp_path, f"sleep 600 & echo $! >{tmp_path}/pid")
    assert await told(by_exec(path)) == (f"exec {path}: no end within 0.5 s",)
    assert await gone(int((tmp_path / "pid").read_text()))


async def test_one_that_hangs_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "WITHIN_S", 2.0)
    slow = program(tmp_path, "sleep 600", "slow")
    quick = program(tmp_path, f"touch {tmp_path}/quick-done", "quick")
    telling_all = asyncio.create_task(told(by_exec(slow), by_exec(quick)))
    await asyncio.sleep(1.0)
    assert not telling_all.done()
    assert (tmp_path / "quick-done").exists()
    assert [line.partition(": ")[2] for line in await telling_all] == [
        "no end within 2 s",
        "told",
    ]


# --- webhooks -------------------------------------------------------------------------------------


class Hook:
    """A server that keeps what it gets and answers with `status`."""

    def __init__(self) -> None:
        self.status = 204
        self.got: list[tuple[str, Any, str]] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.got.append((request.method, await request.json(), request.headers["Content-Type"]))
        headers = {"Location": "/elsewhere"} if 300 <= self.status < 400 else {}
        return web.Response(status=self.status, headers=headers)

    async def elsewhere(self, request: web.Request) -> web.Response:
        self.got.append((request.method, None, ""))
        return web.Response()

    async def never(self, _request: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    made = Hook()
    app = web.Application()
    app.router.add_post("/page", made.answer)
    app.router.add_route("*", "/elsewhere", made.elsewhere)
    app.router.add_post("/never", made.never)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    made.url = f"http://127.0.0.1:{port}"
    yield made
    await runner.cleanup()


def by_hook(url: str) -> Notify:
    return Notify(way="webhook", target=url)


async def test_a_webhook_gets_the_same_object(hook: Hook) -> None:
    url = f"{hook.url}/page"
    assert await told(by_hook(url)) == (f"webhook {url}: told",)
    ((method, body, kind),) = hook.got
    assert (method, kind) == ("POST", "application/json")
    assert (body["key"], body["severity"], body["text"]) == ("peer/xen2", "critical", PAGE.text)


@pytest.mark.parametrize("status", [500, 404, 302, 307])
async def test_a_webhook_that_does_not_take_it_is_told(hook: Hook, status: int) -> None:
    hook.status = status
    url = f"{hook.url}/page"
    assert await told(by_hook(url)) == (f"webhook {url}: HTTP {status}",)
    assert [method for method, _, _ in hook.got] == ["POST"]


async def test_a_webhook_that_refuses_or_is_none() -> None:
    port = free_port()
    refused, wrong = await told(by_hook(f"http://127.0.0.1:{port}/x"), by_hook("http://"))
    assert refused.startswith(f"webhook http://127.0.0.1:{port}/x: ")
    assert str(port) in refused.partition("/x: ")[2]
    assert wrong.startswith("webhook http://: ")
    assert not wrong.endswith(": told")


async def test_a_webhook_that_never_answers(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "WITHIN_S", 0.3)
    url = f"{hook.url}/never"
    assert await told(by_hook(url)) == (f"webhook {url}: no end within 0.3 s",)


# --- mail -----------------------------------------------------------------------------------------


@pytest.fixture
def outbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = program(tmp_path, f'echo "$@" >{tmp_path}/words; cat >{tmp_path}/mail', "sendmail")
    monkeypatch.setattr(telling, "SENDMAIL", path)
    return tmp_path


def by_mail(to: str = "ops@example.org") -> Notify:
    return Notify(way="mail", target=to)


async def test_a_mail_goes_to_sendmail(outbox: Path) -> None:
    assert await told(by_mail()) == ("mail ops@example.org: told",)
    assert (outbox / "words").read_text() == "-i -t\n"
    mail = email.message_from_bytes((outbox / "mail").read_bytes(), policy=default)
    assert mail["To"] == "ops@example.org"
    assert mail["Subject"] == f"[cxm critical] {PAGE.title}"
    text = mail.get_content()
    assert text == f"{PAGE.title}\n\n{PAGE.text}\n\n-- \ncxm on xen1\n"


@pytest.mark.parametrize(
    ("title", "subject"),
    [
        ("held: größer\nnow", "held: größer now"),
        ("held:\r\n\u2028now\x85", "held: now"),
        ("held\n\nTo: all@example.org\n", "held To: all@example.org"),
    ],
)
async def test_a_title_of_several_lines_is_one_subject(
    outbox: Path, title: str, subject: str
) -> None:
    """The reason of a hold is whatever somebody wrote."""
    page = Page(key="hold/H-1", severity=Severity.CRITICAL, title=title, text="t")
    assert await told(by_mail(), page=page) == ("mail ops@example.org: told",)
    mail = email.message_from_bytes((outbox / "mail").read_bytes(), policy=default)
    assert mail["Subject"] == f"[cxm critical] {subject}"
    assert mail.get_all("To") == ["ops@example.org"]


async def test_a_mail_that_is_not_taken(outbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = program(outbox, "echo queue is full >&2; exit 75", "broken")
    monkeypatch.setattr(telling, "SENDMAIL", broken)
    assert await told(by_mail()) == ("mail ops@example.org: exit 75: queue is full",)


# --- severities -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "by"),
    [
        (PAGE, ["warning", "critical"]),
        (Page(key="k", severity=Severity.WARNING, title="t", text=""), ["warning"]),
        (Page(key="k", severity=Severity.UNKNOWN, title="t", text=""), ["warning"]),
        (over("k", "t"), ["warning", "critical"]),
        (trial("xen1", "alice"), ["warning", "critical"]),
    ],
)
async def test_each_way_is_told_of_what_it_wants(tmp_path: Path, page: Page, by: list[str]) -> None:
    paths = {name: program(tmp_path, "exit 0", name) for name in ("warning", "critical")}
    ways = [by_exec(path, name) for name, path in paths.items()]
    assert await told(*ways, page=page) == tuple(f"exec {paths[name]}: told" for name in by)


async def test_where_there_is_no_way_nothing_is_told() -> None:
    assert await told() == ()


async def test_no_program_is_left_without_somebody_who_waits_for_it(tmp_path: Path) -> None:
    path = program(tmp_path, f"echo $$ >{tmp_path}/pid")
    await told(by_exec(path))
    assert int((tmp_path / "pid").read_text()) not in running()
