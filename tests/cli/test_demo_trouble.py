"""A pool, a hook, an approval that do not come: what is told, and that nothing is done meanwhile."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.demos import Demo, running, until

pytestmark = pytest.mark.xdist_group("trouble")

_STALE_AFTER_S = 15.0


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with running(tmp_path_factory.mktemp("t") / "demo") as up:
        yield up


def elsewhere(demo: Demo, name: str) -> str:
    """A host on which the VM does not run; not xen4, where one VM has a disk that nobody else sees."""
    here = demo.sim(f"vm {name}")["host"]
    return next(host for host in ("xen2", "xen3") if host != here)


def write(demo: Demo, file: str, text: str) -> None:
    """Put this at the end of a file of the working copy."""
    path = demo.folder / "wc" / file
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def drop(demo: Demo, file: str, key: str) -> None:
    """Take a line that begins so out of a file of the working copy."""
    path = demo.folder / "wc" / file
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith(key)), encoding="utf-8")


def migrations(demo: Demo, name: str) -> int:
    """How often the simulator was asked to move this VM, by anybody."""
    calls = [(row["method"], row["object"]["name"]) for row in demo.sim("log")["entries"]]
    return calls.count(("VM.pool_migrate", name))


def converged(demo: Demo) -> None:
    done = demo.sh("cxm wait all --timeout 60s")
    assert done.returncode == 0, done.stderr


def test_a_commit_is_seen_through_the_hook_and_not_by_polling(demo: Demo) -> None:
    write(demo, "cluster.yaml", "source: {poll: 10m}\n")
    demo.commit("the hook tells")
    converged(demo)
    converged(demo)  # This wait's look is the first after which nothing is due for ten minutes.
    looks = demo.json("cxm status")["data"]["source"]["looks"]
    write(demo, "vms/ci1.yaml", "description: builds by day\n")
    revision = demo.commit("a word about ci1")
    assert until(lambda: demo.json("cxm status")["data"]["revision"]["target"] == revision, 30)
    assert demo.json("cxm status")["data"]["source"]["looks"] == looks + 1
    converged(demo)


def test_a_pool_that_does_not_answer_is_unknown_and_left_alone(demo: Demo) -> None:
    host = elsewhere(demo, "dns1")
    assert demo.sh("cxm sim ctl fault start api-hang for=25s").returncode == 0
    write(demo, "vms/dns1.yaml", f"placement: {{only: [{host}]}}\n")
    demo.commit("dns1 moves, as soon as the pool can be seen")
    told: list[dict[str, Any]] = []

    def unknown() -> bool:
        told.append(demo.json("cxm status"))
        return bool(told[-1]["exit"] == 6)

    assert until(unknown, 30)
    assert told[-1]["verdict"] == "unknown"
    assert told[-1]["observation"]["age_s"] > _STALE_AFTER_S
    assert told[-1]["observation"]["complete"] is False
    assert all(row["observation"]["age_s"] <= _STALE_AFTER_S for row in told[:-1])
    text = demo.sh("cxm status")
    assert "unknown, last seen" in text.stdout
    assert "nothing is done until it is" in text.stdout
    assert demo.sh("cxm diff").returncode == 6
    assert migrations(demo, "dns1") == 0
    converged(demo)
    assert demo.sim("vm dns1")["host"] == host
    assert migrations(demo, "dns1") == 1


def test_a_bad_revision_that_got_in_is_told_with_its_author_and_changes_nothing(
    demo: Demo,
) -> None:
    hook = demo.folder / "repository" / "hooks" / "pre-commit"
    before = len(demo.sim("log")["entries"])
    in_force = demo.json("cxm status")["data"]["revision"]["target"]
    write(demo, "vms/web2.yaml", "placment: {only: [xen1]}\n")
    assert demo.sh("svn commit -q -m 'quick fix' $WC").returncode == 1
    hook.rename(hook.with_suffix(".away"))
    bad = demo.commit("quick fix")
    ended = demo.sh("cxm wait all --timeout 30s")
    assert ended.returncode == 3
    assert 'did you mean "placement"?' in ended.stderr
    status = demo.json("cxm status")
    assert (status["exit"], status["verdict"]) == (3, "invalid")
    revision = status["data"]["revision"]
    assert (revision["head"], revision["target"]) == (bad, in_force)
    assert revision["author"] == getpass.getuser()
    assert f'r{bad} ({getpass.getuser()}, "quick fix") is rejected' in demo.sh("cxm diff").stdout
    assert len(demo.sim("log")["entries"]) == before
    hook.with_suffix(".away").rename(hook)
    drop(demo, "vms/web2.yaml", "placment:")
    demo.commit("mend the quick fix")
    converged(demo)
    assert demo.sh("cxm diff").returncode == 0


def test_a_head_that_waits_is_shown_and_approved_exactly_as_it_was_read(demo: Demo) -> None:
    drop(demo, "cluster.yaml", "mode:")
    write(demo, "cluster.yaml", "mode: gated\n")
    in_force = demo.commit("from now on a person agrees")
    converged(demo)
    host = elsewhere(demo, "web1")
    write(demo, "vms/web1.yaml", f"placement: {{only: [{host}]}}\n")
    head = demo.commit("web1 moves")
    assert until(lambda: demo.json("cxm diff")["data"]["proposed"] is not None, 30)
    found = demo.json("cxm diff --out $WC/../plan.json")
    assert (found["exit"], found["data"]["actions"]) == (2, [])
    assert found["data"]["planned"] == in_force
    assert found["data"]["proposed"]["revision"] == head
    assert [row["object"] for row in found["data"]["proposed"]["actions"]] == ["vm/web1"]
    assert (
        f'r{head} ({getpass.getuser()}, "web1 moves"), which waits for cxm apply'
        in demo.sh("cxm diff").stdout
    )
    assert demo.sh("cxm apply --no-input").returncode == 4
    assert migrations(demo, "web1") == 0
    write(demo, "vms/web3.yaml", "memory: 5GiB\n")
    demo.commit("web3 grows, too")
    stale = demo.json("cxm apply $WC/../plan.json --yes")
    assert (stale["exit"], stale["errors"][0]["code"]) == (7, "StalePlan")
    assert demo.json("cxm status")["data"]["revision"]["target"] == in_force
    assert until(lambda: _proposes(demo) == ["vm/web1", "vm/web3"], 30)
    assert demo.sh("cxm diff --out $WC/../plan.json").returncode == 2
    done = demo.sh("cxm apply $WC/../plan.json --yes --timeout 60s")
    assert done.returncode == 0, done.stderr
    assert demo.sim("vm web1")["host"] == host
    assert migrations(demo, "web1") == 1
    assert demo.sim("corruption")["count"] == 0


def _proposes(demo: Demo) -> list[str]:
    proposed = demo.json("cxm diff")["data"]["proposed"] or {"actions": []}
    return sorted(row["object"] for row in proposed["actions"])
