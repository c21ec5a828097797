"""`cxm commit` on real working copies: what is committed, refused, and consented to."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconciler.actions import Plan
from reconciler.status import Verdict
from tests.cli import canned
from tests.cli.conftest import Cxm

SAMPLE = Path(__file__).parents[2] / "cluster-config"
NOTHING = replace(canned.DIFFERS, plan=Plan(), in_flight=(), verdict=Verdict.CONVERGED)


def svn(*arguments: object) -> str:
    """The output of svn; raises where it fails."""
    done = subprocess.run(
        ["svn", *map(str, arguments)], check=True, capture_output=True, encoding="utf-8"
    )
    return done.stdout


@pytest.fixture
def repository(tmp_path: Path) -> str:
    path = tmp_path / "repository"
    subprocess.run(["svnadmin", "create", str(path)], check=True)
    url = f"file://{path}/lyon"
    svn("import", "-q", "-m", "the pool as it is", SAMPLE, url)
    return url


@pytest.fixture
def copy(repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: Path) -> Path:
    """A working copy; what the pool would do about it is canned."""
    monkeypatch.setattr("cli.supposing.folder", lambda *_: canned.DIFFERS)
    svn("checkout", "-q", repository, tmp_path / "wc")
    assert config.exists()
    return tmp_path / "wc"


def append(file: Path, text: str) -> None:
    file.write_text(file.read_text(encoding="utf-8") + text, encoding="utf-8")


def test_what_changed_is_shown_and_committed(copy: Path, repository: str, cxm: Cxm) -> None:
    append(copy / "vms" / "mail1.yaml", "vcpus: 2\n")
    new = (copy / "vms" / "dns1.yaml").read_text(encoding="utf-8")
    new = new.replace("dns1", "dns9").replace("44e767f7", "44e767f8")
    (copy / "vms" / "dns9.yaml").write_text(new, encoding="utf-8")
    found = cxm("commit", copy, "-m", "mail1 to two vCPUs; dns9 ü", "-o", "json")
    assert found.exit == 0
    assert found.envelope["data"]["committed"] == 2
    assert "> vm/web2" in found.err
    log = svn("log", "-v", "-r", "HEAD", repository)
    assert "mail1 to two vCPUs; dns9 ü" in log
    assert "A /lyon/vms/dns9.yaml" in log
    assert "M /lyon/vms/mail1.yaml" in log


def test_a_dry_run_commits_nothing(copy: Path, repository: str, cxm: Cxm) -> None:
    append(copy / "vms" / "mail1.yaml", "vcpus: 2\n")
    found = cxm("commit", copy, "-m", "x", "--dry-run")
    assert found.exit == 2
    assert "M vms/mail1.yaml" in found.out
    assert svn("info", "--show-item", "revision", repository).strip() == "1"


def test_without_a_change_nothing_is_committed(
    copy: Path, repository: str, cxm: Cxm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.supposing.folder", lambda *_: NOTHING)
    assert cxm("commit", copy, "-m", "x").exit == 0
    assert svn("info", "--show-item", "revision", repository).strip() == "1"


def test_a_tree_that_is_not_valid_is_not_committed(copy: Path, repository: str, cxm: Cxm) -> None:
    append(copy / "vms" / "mail1.yaml", "placment: {}\n")
    found = cxm("commit", copy, "-m", "x")
    assert found.exit == 3
    assert "vms/mail1.yaml:" in found.out
    assert svn("info", "--show-item", "revision", repository).strip() == "1"


def test_beyond_the_limits_consent_is_asked_for_and_can_be_given(
    copy: Path, repository: str, cxm: Cxm
) -> None:
    for name in ("ci1", "ci2"):
        (copy / "vms" / f"{name}.yaml").unlink()
    refused = cxm("commit", copy, "-m", "the builders go")
    assert refused.exit == 4
    assert "Cxm-Accept: removals=vm/ci1,vm/ci2" in refused.err
    assert svn("info", "--show-item", "revision", repository).strip() == "1"
    assert cxm("commit", copy, "-m", "the builders go", "--accept").exit == 0
    log = svn("log", "-v", "-r", "HEAD", repository)
    assert "the builders go\n\nCxm-Accept: removals=vm/ci1,vm/ci2" in log
    assert "D /lyon/vms/ci1.yaml" in log


def test_a_hook_that_refuses_is_a_refusal_in_its_words(
    copy: Path, tmp_path: Path, cxm: Cxm
) -> None:
    hook = tmp_path / "repository" / "hooks" / "pre-commit"
    hook.write_text("#!/bin/sh\necho 'not on a Friday' >&2\nexit 1\n", encoding="utf-8")
    hook.chmod(0o755)
    append(copy / "vms" / "mail1.yaml", "vcpus: 2\n")
    found = cxm("commit", copy, "-m", "x")
    assert found.exit == 4
    assert "not on a Friday" in found.err


def test_a_folder_that_is_no_working_copy(config: Path, tmp_path: Path, cxm: Cxm) -> None:
    shutil.copytree(SAMPLE, tmp_path / "plain")
    found = cxm("commit", tmp_path / "plain", "-m", "x", "-o", "json")
    assert found.exit == 1
    assert found.envelope["errors"][0]["code"] == "NoWorkingCopy"
    assert config.exists()
