"""`cxm init` on a simulated pool: real servers with certificates of their own, a real repository."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schema.settings import read_settings
from tests.cli.conftest import Cxm
from tests.cli.demos import BIN, until

pytestmark = pytest.mark.xdist_group("init")

POOL = Path(__file__).parents[2] / "cli" / "demo" / "pool.yaml"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the simulator says once it is up."""
    folder = tmp_path_factory.mktemp("pool")
    ready = folder / "ready.json"
    command = (BIN / "cxm", "sim", POOL, "--dir", folder / "sim", "--ready-file", ready)
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log)
    try:
        assert until(ready.is_file, 20), (folder / "log").read_text(encoding="utf-8")
        yield dict(json.loads(ready.read_bytes()))
    finally:
        child.terminate()
        child.wait(10)


@pytest.fixture
def words(pool: dict[str, Any], tmp_path: Path) -> list[object]:
    """The command line, for a server that is not the pool master."""
    host = pool["hosts"][1]["url"].removeprefix("https://").rstrip("/")
    password = tmp_path / "password"
    password.write_text("secret\n", encoding="utf-8")
    return [
        *("init", host, "--new-repo", tmp_path / "svn", "--dir", tmp_path / "etc"),
        *("--state-dir", tmp_path / "state", "--run-dir", tmp_path / "run"),
        *("--password-file", password, "--name", "xen1"),
    ]


def svn(*arguments: object) -> str:
    done = subprocess.run(
        ["svn", *map(str, arguments)], check=True, capture_output=True, encoding="utf-8"
    )
    return done.stdout


def results(found: Any) -> set[str]:
    return {step["result"] for step in found.envelope["data"]["steps"]}


def test_from_an_address_to_a_tree_and_settings(
    cxm: Cxm, words: list[object], pool: dict[str, Any], tmp_path: Path
) -> None:
    found = cxm(*words, "--yes", "-o", "json")
    assert found.exit == 0, found.err
    assert results(found) == {"done"}
    settings = read_settings((tmp_path / "etc" / "node.yaml").read_bytes()).settings
    assert settings is not None
    pins = {host["fingerprint"].replace(":", "").lower() for host in pool["hosts"]}
    assert set(settings.xenapi.fingerprints) == pins
    assert len(settings.xenapi.addresses) == len(pool["hosts"])
    assert (settings.node, settings.engine.kind) == ("xen1", "single")
    for name in ("pool", "cluster-key"):
        assert (tmp_path / "etc" / "secrets.d" / name).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "svn" / "hooks" / "pre-commit").stat().st_mode & 0o111
    assert "secret" not in found.out.replace("secret pool", "").replace("secrets.d", "").replace(
        "secret cluster-key", ""
    )
    svn("checkout", "-q", settings.source.url, tmp_path / "wc")
    assert cxm("validate", tmp_path / "wc").exit == 0
    assert cxm("--config", tmp_path / "etc" / "node.yaml", "diff").exit == 0


def test_a_second_run_does_nothing_again(cxm: Cxm, words: list[object], tmp_path: Path) -> None:
    assert cxm(*words, "--yes").exit == 0
    before = {path: path.read_bytes() for path in (tmp_path / "etc").rglob("*") if path.is_file()}
    url = f"file://{tmp_path}/svn"
    head = svn("info", "--show-item", "revision", url)
    again = cxm(*words, "-o", "json")
    assert again.exit == 0, again.err
    after = {path: path.read_bytes() for path in (tmp_path / "etc").rglob("*") if path.is_file()}
    assert after == before
    assert svn("info", "--show-item", "revision", url) == head
    steps = [step for step in again.envelope["data"]["steps"] if "logged in" not in step["step"]]
    assert {step["result"] for step in steps} == {"already"}


def test_what_broke_off_is_gone_on_with(cxm: Cxm, words: list[object], tmp_path: Path) -> None:
    """A commit that a hook refuses: settings are there already, the tree is not."""
    subprocess.run(["svnadmin", "create", str(tmp_path / "svn")], check=True)
    svn("mkdir", "-q", "-m", "a place", f"file://{tmp_path}/svn/lyon")
    hook = tmp_path / "svn" / "hooks" / "pre-commit"
    hook.write_text("#!/bin/sh\necho not today >&2\nexit 1\n", encoding="utf-8")
    hook.chmod(0o755)
    first = cxm(*words, "--yes")
    assert first.exit == 4
    assert "not today" in first.err
    hook.unlink()
    identity = read_settings((tmp_path / "etc" / "node.yaml").read_bytes()).settings
    second = cxm(*words, "--yes")
    assert second.exit == 0, second.err
    assert identity is not None
    assert f"id: {identity.cluster_id}" in svn("cat", f"file://{tmp_path}/svn/lyon/cluster.yaml")


def test_nobody_is_trusted_without_consent(cxm: Cxm, words: list[object], tmp_path: Path) -> None:
    found = cxm(*words)
    assert found.exit == 4
    assert "NotTrusted" in found.err
    assert not (tmp_path / "etc").exists()
    assert not (tmp_path / "svn").exists()


def test_a_wrong_password_leaves_nothing_behind(
    cxm: Cxm, words: list[object], tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("wrong\n", encoding="utf-8")
    found = cxm(*words, "--yes")
    assert found.exit == 6
    assert not (tmp_path / "etc").exists()


def test_a_tree_that_is_there_is_taken_over_with_its_id(
    cxm: Cxm, words: list[object], tmp_path: Path
) -> None:
    assert cxm(*words, "--yes").exit == 0
    url = f"file://{tmp_path}/svn/lyon"
    other = [tmp_path / "etc2" if word == tmp_path / "etc" else word for word in words]
    place = other.index("--new-repo")
    other[place : place + 2] = ["--source", url]
    head = svn("info", "--show-item", "revision", url)
    found = cxm(*other, "--yes", "-o", "json")
    assert found.exit == 0, found.err
    assert svn("info", "--show-item", "revision", url) == head
    one, two = (read_settings((tmp_path / d / "node.yaml").read_bytes()) for d in ("etc", "etc2"))
    assert one.settings is not None
    assert two.settings is not None
    assert one.settings.cluster_id == two.settings.cluster_id


def test_what_to_do_must_be_clear(cxm: Cxm, tmp_path: Path) -> None:
    assert cxm("init").exit == 64
    assert cxm("init", "host", "--join", "peer").exit == 64
    assert cxm("init", "127.0.0.1:1", "--dir", tmp_path / "etc").exit == 64
