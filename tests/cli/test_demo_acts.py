"""The acts of `cxm demo`, from a pool that nobody described to one that follows its repository."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cli.demos import BIN, alive

pytestmark = pytest.mark.xdist_group("acts")


@pytest.mark.timeout(400)
def test_the_acts_come_to_their_end_and_leave_nothing_behind(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("a") / "demo"
    done = subprocess.run(
        [str(BIN / "cxm"), "demo", "--peers", "3", "--dir", str(folder)],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The simulator agrees: 12 VMs as desired, corruption 0." in done.stdout
    assert done.stdout.count("$ cxm") >= 15
    assert "error[" not in done.stdout.replace("error[V003]", "")
    assert "node/xen3 is dead, certificate C-" in done.stdout
    assert "HELD by node/xen2 (cxm confirm-off xen2)" in done.stdout
    assert "xen2 is dead by oath of" in done.stdout
    assert not alive(folder)


def test_a_folder_too_deep_for_sockets_is_refused_at_once(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 80)
    done = subprocess.run(
        [str(BIN / "cxm"), "demo", "--dir", str(deep)],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 4
    assert "give a shorter --dir" in done.stderr
    assert not deep.exists()
