"""What both daemons do alike when they start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from membership.edge import starting
from membership.edge.starting import CannotStart
from membership.edge.state_lock import StateLock
from schema import settings

BIN = Path(sys.executable).parent


def test_the_lock_is_for_one_and_names_who_has_it(tmp_path: Path) -> None:
    lock = StateLock(tmp_path / "lock", "cxmd")
    with pytest.raises(CannotStart, match=rf"another cxmd \(pid {os.getpid()}\)") as caught:
        StateLock(tmp_path / "lock", "cxmd")
    assert caught.value.status == 75
    lock.release()
    StateLock(tmp_path / "lock", "cxmd").release()


@pytest.mark.parametrize("daemon", ["cxmd", "cxm-heartbeatd"])
def test_the_command_line_of_a_daemon(daemon: str, tmp_path: Path) -> None:
    def ends(*words: str) -> tuple[int, str]:
        done = subprocess.run([BIN / daemon, *words], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    assert ends("--version")[0] == 0
    assert ends("--version")[1].startswith(f"{daemon} ")
    assert ends("--confused")[0] == 64
    gone = tmp_path / "none.yaml"
    said = f"{daemon}: {gone}: No such file or directory; give --config FILE\n"
    assert ends("--config", str(gone)) == (78, said)


def test_the_commands_look_where_the_daemons_do() -> None:
    assert str(starting.CONFIG) == settings.PATH
