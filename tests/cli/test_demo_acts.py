"""The acts of `cxm demo`, from a pool that nobody described to one that follows its repository."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cli.demos import BIN, alive

pytestmark = pytest.mark.xdist_group("acts")


@pytest.mark.timeout(400)
def test_the_acts_come_to_their_end_and_leave_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
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
