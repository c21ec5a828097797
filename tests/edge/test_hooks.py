"""The hooks in real repositories, refused and accepted by real svn clients."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path, PurePath

import pytest

from cli.hooks.templates import hook_script, rendered
from tests.edge.repositories import Repository, run

CXM = Path(sys.executable).with_name("cxm")
CLUSTER = """apiVersion: cxm/v1
kind: Cluster
name: NAME
id: 7d0c1f6e-3b0e-4a52-9f57-0c6d2a1f9b11
mode: observe
"""
BOLD = CLUSTER.replace("NAME", "lyon").replace("observe", "bold")
VM = """apiVersion: cxm/v1
kind: VM
name: NAME
manage: observe
match: {uuid: 0b7f2b52-5c7f-42f4-8f1b-1f0e7a9d7cNN}
"""


def cluster(name: str) -> str:
    return CLUSTER.replace("NAME", name)


def vm(name: str, number: int, more: str = "") -> str:
    return VM.replace("NAME", name).replace("NN", f"{number:02}") + more


def lyon(vms: int = 1) -> dict[str, str | bytes]:
    files: dict[str, str | bytes] = {"lyon/cluster.yaml": cluster("lyon")}
    for number in range(1, vms + 1):
        files[f"lyon/vms/vm{number}.yaml"] = vm(f"vm{number}", number)
    return files


@pytest.fixture
def guarded(repository: Repository) -> Repository:
    """A repository with the pre-commit hook in place."""
    install(repository, "pre-commit", hook_script("pre-commit", CXM, PurePath("/nonexistent")))
    return repository


def install(repository: Repository, name: str, script: str) -> None:
    hook = repository.path / "hooks" / name
    hook.write_text(script)
    hook.chmod(0o755)


def refused(repository: Repository, message: str = "m") -> str:
    before = run("svnlook", "youngest", repository.path)
    said = repository.commit(message, fails=True)
    assert run("svnlook", "youngest", repository.path) == before
    return said


def test_a_good_tree_passes(guarded: Repository) -> None:
    assert guarded.committed("the tree", lyon(3)) == 1
    assert guarded.committed("grows", {"lyon/vms/vm1.yaml": vm("vm1", 1, "memory: 4GiB\n")}) == 2


def test_a_bad_file_is_refused_with_the_text_of_validate(guarded: Repository) -> None:
    guarded.committed("the tree", lyon(2))
    guarded.put({"lyon/vms/vm2.yaml": vm("vm2", 2, "memroy: 4GiB\n")})
    said = refused(guarded)
    told = subprocess.run(
        [CXM, "validate", guarded.wc / "lyon"], capture_output=True, text=True, check=False
    )
    text = (told.stdout + told.stderr).strip()
    assert re.search(r'vms/vm2\.yaml:6:1: error\[V003\] .*did you mean "memory"', said)
    assert text
    assert text in said


def test_the_whole_tree_is_judged_not_only_what_changed(guarded: Repository) -> None:
    guarded.committed("the tree", lyon(1))
    guarded.put({"lyon/vms/vm9.yaml": vm("vm9", 1)})
    assert "V023" in refused(guarded)


def test_text_is_ascii_whatever_the_file_holds(guarded: Repository) -> None:
    guarded.committed("the tree", lyon(1))
    guarded.put({"lyon/vms/vm1.yaml": vm("vm1", 1, "priority: größer\n")})
    said = refused(guarded, "schöner")
    assert "gr\\xf6\\xdfer" in said
    assert said.isascii()


def test_text_of_people_beyond_ascii_passes(guarded: Repository) -> None:
    files = lyon(1)
    files["lyon/vms/vm1.yaml"] = vm("vm1", 1, 'description: "größer"\n')
    assert guarded.committed("schöner", files) == 1


def test_a_commit_elsewhere_is_not_cxms_business(guarded: Repository) -> None:
    guarded.committed("the tree", lyon(1))
    assert guarded.committed("notes", {"notes/todo.yaml": "a: [\n", "x y.txt": "é"}) == 2


def test_removals_beyond_the_limit_need_their_line(guarded: Repository) -> None:
    guarded.committed("the tree", lyon(4))
    guarded.do("rm", "-q", "lyon/vms/vm1.yaml", "lyon/vms/vm2.yaml")
    said = refused(guarded, "clean up")
    (line,) = re.findall(r"^Cxm-Accept: .*$", said, re.MULTILINE)
    assert line == "Cxm-Accept: removals=vm/vm1,vm/vm2"
    guarded.commit(f"clean up\n\n{line}")
    assert run("svnlook", "youngest", guarded.path) == "2\n"


def test_a_consent_to_something_else_does_not_count(guarded: Repository) -> None:
    guarded.committed("the tree", lyon(4))
    guarded.do("rm", "-q", "lyon/vms/vm1.yaml", "lyon/vms/vm2.yaml")
    assert "removals=vm/vm1,vm/vm2" in refused(guarded, "x\n\nCxm-Accept: removals=vm/vm1,vm/vm3")


def test_another_uuid_needs_its_line(guarded: Repository) -> None:
    guarded.committed("the tree", lyon(2))
    guarded.put({"lyon/vms/vm1.yaml": vm("vm1", 77)})
    assert "Cxm-Accept: uuid=vm/vm1" in refused(guarded)


def test_several_clusters_in_one_commit(guarded: Repository) -> None:
    files = {**lyon(1), "paris/cluster.yaml": cluster("paris")}
    guarded.committed("two", files)
    guarded.put({"lyon/vms/vm1.yaml": "kind: VM\n", "paris/cluster.yaml": BOLD})
    said = refused(guarded)
    assert said.index("in lyon/\n") < said.index("in paris/\n")
    assert "V016" in said


def test_only_the_cluster_that_is_touched(guarded: Repository) -> None:
    """One broken before the hook came does not hold up the others."""
    hook = guarded.path / "hooks/pre-commit"
    hook.rename(hook.with_suffix(".off"))
    guarded.committed("broken", {**lyon(1), "paris/cluster.yaml": BOLD})
    hook.with_suffix(".off").rename(hook)
    assert guarded.committed("fine", {"lyon/vms/vm2.yaml": vm("vm2", 2)}) == 2


def test_a_cluster_that_is_the_whole_repository(guarded: Repository) -> None:
    guarded.committed("root", {"cluster.yaml": cluster("lyon"), "vms/vm1.yaml": vm("vm1", 1)})
    guarded.put({"vms/vm1.yaml": vm("vm2", 1)})
    assert "V021" in refused(guarded)


def test_cluster_yaml_alone_cannot_be_removed(guarded: Repository) -> None:
    guarded.committed("the tree", lyon(1))
    guarded.do("rm", "-q", "lyon/cluster.yaml")
    assert "V027" in refused(guarded)


def test_a_whole_cluster_can_be_removed(guarded: Repository) -> None:
    """No daemon takes a missing folder for an empty cluster: nothing happens to any VM."""
    guarded.committed("the tree", lyon(3))
    guarded.do("rm", "-q", "lyon")
    guarded.commit("gone")
    assert run("svnlook", "youngest", guarded.path) == "2\n"


def test_a_copied_cluster_is_judged_too(guarded: Repository) -> None:
    """Of a copy only its top folder is listed as changed."""
    hook = guarded.path / "hooks/pre-commit"
    hook.rename(hook.with_suffix(".off"))
    guarded.committed("broken", {"old/lyon/cluster.yaml": BOLD})
    hook.with_suffix(".off").rename(hook)
    guarded.do("cp", "-q", "old", "new")
    assert "V016" in refused(guarded)


def test_renames_keep_their_content(guarded: Repository) -> None:
    guarded.committed("the tree", lyon(3))
    guarded.do("mv", "-q", "lyon/vms", "lyon/machines")
    guarded.commit("rename the folder")
    guarded.do("mv", "-q", "lyon", "lyon2")
    guarded.commit("rename the cluster's folder")
    guarded.put({"lyon2/machines/vm1.yaml": vm("vm1", 1, "memory: 8GB\n")})
    assert "write 8GiB" in refused(guarded)


def test_the_wish_in_force_is_what_a_mend_is_compared_with(guarded: Repository) -> None:
    """Somebody got past the hook with rubbish; the commit that mends it must not remove VMs unasked."""
    guarded.committed("the tree", lyon(4))
    hook = guarded.path / "hooks/pre-commit"
    hook.rename(hook.with_suffix(".off"))
    guarded.committed("rubbish", {"lyon/vms/vm1.yaml": "rubbish\n"})
    hook.with_suffix(".off").rename(hook)
    guarded.do("rm", "-q", "lyon/vms/vm1.yaml", "lyon/vms/vm2.yaml")
    assert "removals=vm/vm1,vm/vm2" in refused(guarded)


def test_a_link_is_not_followed(guarded: Repository) -> None:
    files = lyon(1)
    guarded.put(files)
    (guarded.wc / "lyon/vms/vm2.yaml").symlink_to("/etc/passwd")
    guarded.put({})
    said = refused(guarded)
    assert "vms/vm2.yaml" in said
    assert "root:" not in said


def test_names_like_options_and_with_spaces(guarded: Repository) -> None:
    guarded.committed(
        "odd", {"-t/cluster.yaml": cluster("lyon"), "a @b/cluster.yaml": cluster("x")}
    )
    guarded.put({"-t/cluster.yaml": BOLD})
    assert "V016" in refused(guarded)
    guarded.put({"-t/cluster.yaml": cluster("lyon"), "a @b/cluster.yaml": BOLD})
    assert "V016" in refused(guarded)


def test_at_most_twenty_errors_are_shown(guarded: Repository) -> None:
    files = lyon(0)
    for number in range(1, 31):
        files[f"lyon/vms/vm{number}.yaml"] = vm(f"vm{number}", number, "memroy: 1GiB\n")
    guarded.put(files)
    said = refused(guarded)
    assert said.count("error[V003]") == 20
    assert "10 more" in said


def test_by_svnserve_the_text_arrives_at_the_client(
    guarded: Repository, served: str, tmp_path: Path
) -> None:
    words = ("--non-interactive", "--config-dir", tmp_path / "c", "--username", "reader")
    login = (*words, "--password", "correct horse", "--no-auth-cache")
    remote = tmp_path / "remote"
    run("svn", "checkout", "-q", *login, served, remote)
    (remote / "cluster.yaml").write_text(BOLD)
    run("svn", "add", "-q", remote / "cluster.yaml")
    said = run("svn", "commit", "-q", *login, "-m", "m", remote, fails=True)
    assert run("svnlook", "youngest", guarded.path) == "0\n"
    assert "cluster.yaml:5:7: error[V016]" in said


def test_a_hook_that_cannot_read_refuses(guarded: Repository, tmp_path: Path) -> None:
    script = (guarded.path / "hooks/pre-commit").read_text()
    (tmp_path / "none").mkdir()
    install(guarded, "pre-commit", script.replace("--trans", f"--svn-bin {tmp_path}/none --trans"))
    guarded.put(lyon(1))
    assert "could not check this commit, so it is refused" in refused(guarded)


# --- post-commit ----------------------------------------------------------------------------------


class Daemon:
    """Takes one request on a Unix socket and keeps its first line; `mute` gives no answer."""

    def __init__(self, path: Path, *, mute: bool = False) -> None:
        self.path = path
        self.heard: list[bytes] = []
        self._mute = mute
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(path))
        self._door.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        line, _ = self._door.accept()
        self.heard.append(line.recv(4096).partition(b"\r\n")[0])
        if self._mute:
            line.recv(1)
            return
        line.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{"accepted":true}')
        line.close()

    def wait(self) -> list[bytes]:
        self._thread.join(10)
        return self.heard


def test_a_commit_is_told_to_the_daemon(repository: Repository, tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "cxmd.sock")
    install(repository, "post-commit", hook_script("post-commit", CXM, daemon.path))
    repository.committed("m", {"x.txt": "x"})
    assert daemon.wait() == [b"POST /v1/look HTTP/1.1"]


def test_a_daemon_that_is_mute_holds_up_no_commit(repository: Repository, tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "cxmd.sock", mute=True)
    install(repository, "post-commit", hook_script("post-commit", CXM, daemon.path))
    started = time.monotonic()
    repository.committed("m", {"x.txt": "x"})
    assert time.monotonic() - started < 2.0


@pytest.mark.parametrize("mute", [True, False])
def test_telling_ends_in_time_and_always_well(tmp_path: Path, mute: bool) -> None:
    path = tmp_path / "cxmd.sock"
    if mute:
        Daemon(path, mute=True)
    started = time.monotonic()
    done = subprocess.run(
        [CXM, "hook", "post-commit", "--socket", path, "/repo", "7"],
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert time.monotonic() - started < 4.0


def test_usage_is_still_an_error() -> None:
    done = subprocess.run([CXM, "hook", "post-commit"], capture_output=True, check=False)
    assert done.returncode == 64
    assert b"--socket" in done.stderr


# --- scripts --------------------------------------------------------------------------------------


def test_paths_are_quoted_for_the_shell() -> None:
    text = rendered("@CXM@ --socket @SOCKET@\n", PurePath("/opt/my cxm"), PurePath("/run/$x"))
    assert text == "'/opt/my cxm' --socket '/run/$x'\n"


def test_the_command_prints_the_script(tmp_path: Path) -> None:
    words: list[str | Path] = [CXM, "hook", "script", "post-commit", "--socket", tmp_path / "s"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == hook_script("post-commit", CXM, tmp_path / "s")


def test_packaging_ships_the_same_scripts() -> None:
    folder = Path(__file__).parents[2] / "packaging/hooks"
    for name in ("pre-commit", "post-commit"):
        assert (folder / name).read_text().startswith("#!/bin/sh\n# Subversion hook: ")
