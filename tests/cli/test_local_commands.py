"""Commands that need no daemon: trees, fields, codes; and how a command line itself can be wrong."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from cli.main import COMMANDS
from schema.fields import KINDS
from tests.cli.conftest import Cxm, Script

SAMPLE = Path(__file__).parents[2] / "cluster-config"
PROGRAM = (sys.executable, "-c", "from cli.main import main; main()")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAMPLE, tmp_path / "tree"))


@pytest.fixture
def bad_tree(tree: Path) -> Path:
    file = tree / "vms" / "web1.yaml"
    file.write_text(file.read_text(encoding="utf-8") + "placment: {}\n", encoding="utf-8")
    return tree


def test_validate_a_good_tree_from_inside(
    tree: Path, cxm: Cxm, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cxm("validate", tree).exit == 0
    monkeypatch.chdir(tree / "vms")
    assert cxm("validate").exit == 0


def test_validate_tells_place_code_and_what_was_meant(bad_tree: Path, cxm: Cxm) -> None:
    found = cxm("validate", bad_tree)
    assert found.exit == 3
    assert "vms/web1.yaml:" in found.out
    assert 'error[V003] unknown key "placment"; did you mean "placement"?' in found.out
    assert found.err == ""
    fault = cxm("validate", bad_tree, "-o", "json").envelope["errors"][0]
    assert (fault["code"], fault["path"]) == ("V003", "vms/web1.yaml")
    assert fault["line"] > 1


def test_validate_what_is_no_folder(cxm: Cxm, tmp_path: Path) -> None:
    assert cxm("validate", tmp_path / "none").exit == 1


def test_strict_takes_warnings_for_errors(tree: Path, cxm: Cxm) -> None:
    cluster = tree / "cluster.yaml"
    text = cluster.read_text(encoding="utf-8").replace("restart: now", "restart: window")
    cluster.write_text(text, encoding="utf-8")
    assert cxm("validate", tree).exit == 0
    assert cxm("validate", tree, "--strict").exit == 3


def test_diff_of_a_tree_that_is_not_valid(bad_tree: Path, config: Path, cxm: Cxm) -> None:
    found = cxm("diff", "--wc", bad_tree)
    assert found.exit == 3
    assert "V003" in found.out
    assert config.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_schema_of_each_kind(kind: str, cxm: Cxm) -> None:
    document = json.loads(cxm("schema", kind.lower()).out)
    assert document["$schema"].endswith("2020-12/schema")
    assert cxm("schema", kind, "-o", "json").envelope["data"]["kind"] == kind


def test_schema_of_no_kind(cxm: Cxm) -> None:
    found = cxm("schema", "nod")
    assert found.exit == 1
    assert "did you mean Node?" in found.err


def test_explain_a_field_and_whether_it_acts_yet(cxm: Cxm) -> None:
    assert "Hard" in cxm("explain", "VM.placement.only").out
    assert "not yet effective" not in cxm("explain", "vm.placement").out
    assert "not yet effective" in cxm("explain", "Cluster.balance").out
    assert cxm("explain", "Node.bmc", "-o", "json").envelope["data"]["effective"] is True
    idle = cxm("explain", "FencingPolicy.delay", "-o", "json")
    assert idle.envelope["data"]["effective"] is False
    near = cxm("explain", "VM.placment")
    assert near.exit == 1
    assert 'did you mean "placement"?' in near.err


def test_explain_a_code(cxm: Cxm) -> None:
    assert "not a size" in cxm("explain", "v012").out
    assert cxm("explain", "V999").exit == 1


def test_explain_an_object_with_the_place_of_each_value(
    tree: Path, cxm: Cxm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree)
    rows = cxm("explain", "vm/web1", "--resolved", "-o", "json").envelope["data"]["fields"]
    places = {row["field"]: row["path"] for row in rows}
    assert places["memory"] == "vms/web1.yaml"
    assert places["start.wave"] == "profiles/web.yaml"
    assert places["restart"] == "cluster.yaml"
    assert places["priority"] is None
    short = cxm("explain", "vm/web1", "-o", "json").envelope["data"]["fields"]
    assert "priority" not in {row["field"] for row in short}
    assert cxm("explain", "vm/wbe1").exit == 1


@pytest.mark.parametrize("name", list(COMMANDS))
def test_each_command_says_in_the_table_what_it_says_itself(name: str, cxm: Cxm) -> None:
    module, summary = COMMANDS[name]
    command = import_module(f"cli.commands.{module}").command
    if name not in ("sim",):
        assert (command.help or "").splitlines()[0] == summary
    assert cxm(name, "--help").exit == 0


@pytest.mark.parametrize(
    "line",
    [
        (),
        ("statu",),
        ("stat",),
        ("--no-such",),
        ("status", "--no-such"),
        ("diff", "-r", "x"),
        ("diff", "-r", "1", "--wc", "."),
        ("-o", "yaml", "status"),
        ("why",),
    ],
)
def test_misuse_exits_64_and_says_where_to_look(line: tuple[str, ...], cxm: Cxm) -> None:
    found = cxm(*line)
    assert (found.exit, found.out) == (64, "")
    assert "error[Usage]" in found.err
    assert "--help" in found.err


def test_misuse_is_an_envelope_too(cxm: Cxm) -> None:
    for line in (("-ojson", "stauts"), ("stauts", "--output=json"), ("stauts", "-o", "json")):
        found = cxm(*line)
        assert found.exit == 64
        assert found.envelope["verdict"] == "usage"
        assert 'did you mean "status"?' in found.envelope["errors"][0]["message"]


def test_version_and_help_start_in_a_third_of_a_second_of_cpu() -> None:
    for word in ("version", "--help"):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*PROGRAM, word], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        assert used_s < 0.3, word


def test_the_usual_commands_load_nothing_heavy(daemon: Script, config: Path) -> None:
    code = (
        "import sys; from cli.main import run; "
        "codes = [run(line.split()) for line in ('status', 'diff', 'events', 'wait all -r 1')]; "
        "heavy = {'aiohttp', 'asyncio', 'xapi'} & sys.modules.keys(); "
        "sys.exit(f'{codes} {heavy}' if any(codes) or heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "CXM_CONFIG": str(config)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(daemon.asked) >= 4


def test_ctrl_c_detaches(daemon: Script, config: Path) -> None:
    child = subprocess.Popen(
        [*PROGRAM, "wait", "all", "-r", "999", "-o", "json"],
        env={**os.environ, "CXM_CONFIG": str(config)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    until_s = time.monotonic() + 10
    while not daemon.asked and time.monotonic() < until_s:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=10)
    assert child.returncode == 130
    assert json.loads(out)["verdict"] == "interrupted"


def test_a_reader_who_has_gone_is_no_error(daemon: Script, config: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        done = subprocess.run(
            [*PROGRAM, "status"],
            env={**os.environ, "CXM_CONFIG": str(config)},
            stdout=pipe,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")
    assert daemon.asked == ["/v1/status"]
