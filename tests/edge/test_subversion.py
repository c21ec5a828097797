"""The child process against real servers: everything that libsvn is known to do to a daemon."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pysvn
import pytest

from reconciler.edge import subversion_child as child
from reconciler.edge.subversion import SourceError, Subversion
from reconciler.edge.subversion_failures import classify, codes_of, text_of
from reconciler.edge.subversion_wire import Access, AskHead, Failed
from tests.edge.repositories import (
    PASSWORD,
    USER,
    MuteServer,
    Repository,
    free_port,
    run,
    until,
)

TREE: dict[str, str | bytes] = {"lyon/cluster.yaml": "a: 1\n", "lyon/vms/web1.yaml": "b: 2\n"}
WRONG = "wr0ng"
Opened = Callable[..., Subversion]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    made: list[Subversion] = []

    def make(**access: Any) -> Subversion:
        given = Access(config_dir=str(tmp_path / "config"), **access)
        made.append(Subversion(lambda: given))
        return made[-1]

    yield make
    for subversion in made:
        await subversion.close()


async def failure(subversion: Subversion, url: str, timeout_s: float = 10.0) -> SourceError:
    with pytest.raises(SourceError) as caught:
        await subversion.head(url, timeout_s)
    return caught.value


async def test_head_is_the_last_change_of_our_path(repository: Repository, opened: Opened) -> None:
    repository.committed("the tree\nand why", TREE)
    repository.committed("noise elsewhere", {"notes.txt": "x"})
    head = await opened().head(f"{repository.url}/lyon", 10)
    assert (head.revision, head.path, head.message) == (1, "lyon", "the tree\nand why")
    assert head.repository == run("svnlook", "uuid", repository.path).strip()
    assert head.author == run("svnlook", "author", "-r", "1", repository.path).strip()
    assert abs(head.committed_epoch_s - time.time()) < 60


async def test_head_without_author_is_unknown_not_empty(
    repository: Repository, opened: Opened
) -> None:
    repository.committed("anonymous", TREE)
    (repository.path / "hooks/pre-revprop-change").write_text("#!/bin/sh\n")
    (repository.path / "hooks/pre-revprop-change").chmod(0o755)
    repository.do("propdel", "-q", "--revprop", "-r", "1", "svn:author", repository.url)
    head = await opened().head(repository.url, 10)
    assert head.author is None


async def test_svnserve_with_password(
    repository: Repository, served: str, opened: Opened, tmp_path: Path
) -> None:
    revision = repository.committed("über alles", TREE)
    subversion = opened(user=USER, password=PASSWORD)
    head = await subversion.head(f"{served}/lyon", 10)
    assert (head.revision, head.message) == (revision, "über alles")
    await subversion.export(f"{served}/lyon", revision, tmp_path / "out", 10)
    assert (tmp_path / "out/vms/web1.yaml").read_text() == "b: 2\n"


async def test_a_wrong_password_is_refused_at_once(served: str, opened: Opened) -> None:
    started = time.monotonic()
    error = await failure(opened(user=USER, password=WRONG), served)
    assert error.reason == "refused"
    assert USER in error.message
    assert WRONG not in error.message
    assert time.monotonic() - started < 5


def test_a_wrong_password_is_asked_for_at_most_twice(served: str, tmp_path: Path) -> None:
    access = Access(config_dir=str(tmp_path / "config"), user=USER, password=WRONG)
    subversion = child.Subversion(pysvn, access)
    answer = subversion.answer(AskHead(url=served))
    assert isinstance(answer, Failed)
    assert answer.reason == "refused"
    assert subversion.login.asked <= 2


async def test_no_password_where_one_is_needed(served: str, opened: Opened) -> None:
    error = await failure(opened(), served)
    assert error.reason == "refused"
    assert "node.yaml" in error.message


async def test_a_changed_password_is_taken_up(
    repository: Repository, served: str, tmp_path: Path
) -> None:
    repository.committed("tree", TREE)
    passwords = ["outdated", PASSWORD]
    subversion = Subversion(
        lambda: Access(config_dir=str(tmp_path / "c"), user=USER, password=passwords.pop(0))
    )
    assert (await failure(subversion, served)).reason == "refused"
    assert (await subversion.head(served, 10)).revision == 1
    await subversion.close()


async def test_a_mute_server_is_given_up_at_the_deadline(
    mute: MuteServer, repository: Repository, opened: Opened
) -> None:
    repository.committed("tree", TREE)
    subversion = opened()
    started = time.monotonic()
    error = await failure(subversion, mute.url, timeout_s=1.0)
    assert error.reason == "unreachable"
    assert 1.0 <= time.monotonic() - started < 3.0
    assert (await subversion.head(repository.url, 10)).revision == 1


async def test_the_loop_lives_while_a_server_is_mute(mute: MuteServer, opened: Opened) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.05)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await failure(opened(), mute.url, timeout_s=1.0)
    ticking.cancel()
    assert ticks >= 10


async def test_a_cancelled_request_leaves_no_answer_behind(
    mute: MuteServer, repository: Repository, opened: Opened
) -> None:
    repository.committed("tree", TREE)
    subversion = opened()
    await subversion.head(repository.url, 10)
    asking = asyncio.create_task(subversion.head(mute.url, 30))
    await asyncio.sleep(0.1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (await subversion.head(repository.url, 10)).revision == 1


async def test_nobody_listens(opened: Opened) -> None:
    error = await failure(opened(), f"svn://127.0.0.1:{free_port()}/x")
    assert error.reason == "unreachable"


async def test_no_such_host(opened: Opened) -> None:
    assert (await failure(opened(), "svn://nowhere.invalid/x")).reason == "unreachable"


async def test_a_password_in_the_url_is_not_told(opened: Opened) -> None:
    error = await failure(opened(), f"svn://me:hush@127.0.0.1:{free_port()}/x")
    assert "hush" not in error.message


@pytest.mark.parametrize("below", ["/nope", "/lyon/cluster.yaml"])
async def test_no_folder_there(repository: Repository, opened: Opened, below: str) -> None:
    repository.committed("tree", TREE)
    assert (await failure(opened(), repository.url + below)).reason == "missing"


async def test_no_repository_there(tmp_path: Path, opened: Opened) -> None:
    assert (await failure(opened(), f"file://{tmp_path}/none")).reason == "missing"


async def test_a_revision_that_is_not_there_any_more(
    repository: Repository, opened: Opened, tmp_path: Path
) -> None:
    repository.committed("tree", TREE)
    with pytest.raises(SourceError) as caught:
        await opened().export(repository.url, 7, tmp_path / "out", 10)
    assert caught.value.reason == "changed"


async def test_export_takes_that_revision_and_not_head(
    repository: Repository, opened: Opened, tmp_path: Path
) -> None:
    first = repository.committed("tree", TREE)
    repository.committed("more", {"lyon/vms/web1.yaml": "b: 3\n"})
    await opened().export(f"{repository.url}/lyon", first, tmp_path / "out", 10)
    assert (tmp_path / "out/vms/web1.yaml").read_text() == "b: 2\n"


async def test_a_folder_under_a_renamed_parent(
    repository: Repository, opened: Opened, tmp_path: Path
) -> None:
    """Its last change is older than its present path, where an export at that revision finds nothing."""
    repository.committed("tree", {"old/lyon/cluster.yaml": "a: 1\n"})
    repository.do("mv", "-q", "old", "new")
    repository.commit("rename")
    subversion, url = opened(), f"{repository.url}/new/lyon"
    head = await subversion.head(url, 10)
    await subversion.export(url, head.revision, tmp_path / "out", 10)
    assert (tmp_path / "out/cluster.yaml").read_text() == "a: 1\n"
    assert (head.revision, head.message) == (1, "tree")


async def test_a_repository_of_which_only_our_folder_may_be_read(
    repository: Repository, served: str, opened: Opened, tmp_path: Path
) -> None:
    """Of a revision that touched other folders too, Subversion then hides the message."""
    repository.committed("mixed", {**TREE, "secret/x": "y"})
    revision = repository.committed("ours", {"lyon/vms/web1.yaml": "b: 3\n"})
    conf = repository.path / "conf"
    with (conf / "svnserve.conf").open("a") as file:
        file.write("authz-db = authz\n")
    (conf / "authz").write_text(f"[/]\n* =\n[/lyon]\n{USER} = r\n")
    subversion, url = opened(user=USER, password=PASSWORD), f"{served}/lyon"
    head = await subversion.head(url, 10)
    await subversion.export(url, head.revision, tmp_path / "out", 10)
    assert (head.revision, head.message) == (revision, "ours")
    authors = (await subversion.authors(url, revision, 10)).files
    assert [authors[path].summary for path in sorted(authors)] == ["", "ours"]
    assert (await failure(subversion, f"{served}/secret")).reason == "refused"


async def test_names_beyond_ascii(repository: Repository, opened: Opened, tmp_path: Path) -> None:
    """Under the C locale such a name breaks the export; the child sets its own."""
    revision = repository.committed("é", {"vms/é.yaml": "ü: 1\n"})
    await opened().export(repository.url, revision, tmp_path / "out", 10)
    assert (tmp_path / "out/vms/é.yaml").read_text() == "ü: 1\n"


async def test_externals_and_keywords_are_left_alone(
    repository: Repository, opened: Opened, tmp_path: Path
) -> None:
    """What they expand to differs by URL and time: two peers would see two trees."""
    repository.committed("tree", {**TREE, "lyon/k.yaml": "# $HeadURL$\n"})
    repository.do("propset", "-q", "svn:keywords", "HeadURL", "lyon/k.yaml")
    repository.do("propset", "-q", "svn:externals", f"{repository.url}/lyon/vms more", "lyon")
    repository.commit("properties")
    await opened().export(f"{repository.url}/lyon", 2, tmp_path / "out", 10)
    assert (tmp_path / "out/k.yaml").read_text() == "# $HeadURL$\n"
    assert not (tmp_path / "out/more").exists()


async def test_authors_name_the_last_change_of_each_file(
    repository: Repository, opened: Opened
) -> None:
    repository.committed("tree", TREE)
    repository.committed("web1 grows\n\nticket 812", {"lyon/vms/web1.yaml": "b: 3\n"})
    repository.committed("later", {"lyon/vms/web1.yaml": "b: 4\n"})
    found = await opened().authors(f"{repository.url}/lyon", 2, 10, since=1)
    assert found.messages == ("web1 grows\n\nticket 812",)
    authors = found.files
    assert {path: (t.revision, t.summary) for path, t in authors.items()} == {
        "cluster.yaml": (1, "tree"),
        "vms/web1.yaml": (2, "web1 grows"),
    }
    assert all(t.author for t in authors.values())


async def test_an_export_onto_something_fails(
    repository: Repository, opened: Opened, tmp_path: Path
) -> None:
    revision = repository.committed("tree", TREE)
    (tmp_path / "out").mkdir()
    with pytest.raises(SourceError) as caught:
        await opened().export(repository.url, revision, tmp_path / "out", 10)
    assert caught.value.reason == "broken"


async def test_one_child_serves_many_requests_and_ends(
    repository: Repository, opened: Opened
) -> None:
    repository.committed("tree", TREE)
    subversion = opened()
    await subversion.head(repository.url, 10)
    first = subversion._child
    await subversion.head(repository.url, 10)
    assert subversion._child is first
    assert first is not None
    await subversion.close()
    assert first.returncode == -signal.SIGKILL


async def test_a_killed_child_is_replaced(repository: Repository, opened: Opened) -> None:
    repository.committed("tree", TREE)
    subversion = opened()
    await subversion.head(repository.url, 10)
    assert subversion._child is not None
    os.kill(subversion._child.pid, signal.SIGKILL)
    assert (await failure(subversion, repository.url)).reason == "unreachable"
    assert (await subversion.head(repository.url, 10)).revision == 1


async def test_nothing_of_root_is_read(
    repository: Repository, tmp_path: Path, opened: Opened
) -> None:
    repository.committed("tree", TREE)
    await opened().head(repository.url, 10)
    assert (tmp_path / "config/servers").read_text().startswith("[global]\nhttp-timeout = 10\n")
    assert not list((tmp_path / "config/auth").rglob("*")) or not [
        path for path in (tmp_path / "config/auth").rglob("*") if path.is_file()
    ]


def test_the_child_dies_with_its_parent(tmp_path: Path) -> None:
    """A parent that was killed cannot say goodbye; a hanging child would stay for ever."""
    script = (
        "import subprocess, sys, os, time\n"
        "child = subprocess.Popen([sys.executable, '-I', '-m', 'reconciler.edge.subversion_child',"
        " str(os.getpid())], stdin=subprocess.PIPE)\n"
        f'child.stdin.write(b\'{{"config_dir": "{tmp_path}/c"}}\\n\'); child.stdin.flush()\n'
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    (tmp_path / "c").mkdir()
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    until((tmp_path / "c/servers").exists)
    parent.kill()
    parent.wait()
    until(lambda: ended(pid))


def ended(pid: int) -> bool:
    """Gone, or a zombie that whoever adopted it has yet to collect."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def test_a_parent_that_is_not_ours_ends_the_child() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-m", "reconciler.edge.subversion_child", "1"],
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=20,
    )
    assert done.returncode == 0


@pytest.mark.parametrize(
    "module",
    [
        SimpleNamespace(__version__="0.1.0"),
        SimpleNamespace(svn_version=(1, 14, 2, ""), Client=object),
        SimpleNamespace(Client=lambda: SimpleNamespace(info2=None)),
    ],
)
def test_another_pysvn_is_not_usable(module: Any) -> None:
    assert not child.usable(module)


def test_another_pysvn_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pysvn", SimpleNamespace())
    answer = child.connect(Access(config_dir=str(tmp_path)))(AskHead(url="file:///x"))
    assert isinstance(answer, Failed)
    assert "python3-svn" in answer.message


@pytest.mark.parametrize(
    ("codes", "reason"),
    [
        ([170013, 111], "unreachable"),
        ([170013, 670002], "unreachable"),
        ([175012], "unreachable"),
        ([200033], "unreachable"),
        ([170013, 170001], "refused"),
        ([170013, 215004], "refused"),
        ([170013, 230001], "refused"),
        ([170013, 210005], "missing"),
        ([170013, 180001], "missing"),
        ([160013], "missing"),
        ([160006], "changed"),
        ([155000], "broken"),
        ([], "broken"),
    ],
)
def test_the_class_that_needs_a_human_wins(codes: list[int], reason: str) -> None:
    assert classify(codes, "some text") == reason


def test_a_missing_callback_has_no_code() -> None:
    args = ("callback_ssl_server_trust_prompt required",)
    assert classify(codes_of(args), text_of(args)) == "refused"


def test_a_server_that_hangs_up(tmp_path: Path) -> None:
    """Closed right after accepting: libsvn reports it without a connection error around it."""
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]

    def hang_up() -> None:
        server.accept()[0].close()

    thread = threading.Thread(target=hang_up)
    thread.start()
    subversion = child.Subversion(pysvn, Access(config_dir=str(tmp_path)))
    answer = subversion.answer(AskHead(url=f"svn://127.0.0.1:{port}/x"))
    thread.join()
    server.close()
    assert isinstance(answer, Failed)
    assert answer.reason == "unreachable"
