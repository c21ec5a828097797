"""Runs one program and ends it in time, even where nobody is left who would.

    warden.py PARENT UNTIL_S PROGRAM [ARGUMENT...]

A process of its own between the daemon and an agent, since the daemon may be killed, stopped or
asleep while the agent is about to switch a server off. Whatever the program started ends with it,
in another session or orphaned too. It is run by its path, alone: it imports nothing of cxm.

UNTIL_S is an instant of CLOCK_BOOTTIME, no duration: a caller that is stopped just before it starts
this one gains no time by that.

Ends with the program's own code; 124 where it was killed at its deadline or because PARENT died;
127 where it could not be started; 128 and the signal where one ended it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

DEADLINE, NO_PROGRAM, SIGNALLED = 124, 127, 128
_PARENT_DEATH, _SUBREAPER = 1, 36  # PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER of <sys/prctl.h>
_LOOK_S = 0.25
_ENDING_S = 5.0
_RETRY_S = 0.01
_NEVER_IGNORED = {signal.SIGKILL, signal.SIGSTOP}
_WATCHED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def _control(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _now_s() -> float:
    """Goes on while the machine sleeps: what wakes up late is late."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _started(program: list[str]) -> int:
    own = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        os.setpgid(0, 0)
        _control(_PARENT_DEATH, signal.SIGKILL)
        if os.getppid() == own:
            # What Python ignores for itself, or whoever started us for us, stays so in a new program.
            for number in signal.valid_signals() - _NEVER_IGNORED:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.execv(program[0], program)  # noqa: S606 - that is what this is for
    except OSError as error:
        sys.stderr.write(f"{program[0]}: {error.strerror}\n")
        sys.stderr.flush()
    os._exit(NO_PROGRAM)


def _ended(child: int) -> int | None:
    """Takes leave of whatever has ended; the code of `child`, where it is among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            code = os.waitstatus_to_exitcode(status)


def _watched(child: int, until_s: float) -> int:
    while True:
        code = _ended(child)
        if code is not None:
            return code if code >= 0 else SIGNALLED - code
        left_s = until_s - _now_s()
        if left_s <= 0:
            return DEADLINE
        told = signal.sigtimedwait(_WATCHED, min(left_s, _LOOK_S))
        if told is not None and told.si_signo != signal.SIGCHLD:
            return DEADLINE


def _children() -> list[int]:
    """Processes whose parent is this one: those it started, and orphans of theirs."""
    own, found = os.getpid(), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == own:
                found.append(int(entry.name))
    return found


def _end_all() -> None:
    """Kills what is left, generation by generation: a killed process's children become ours."""
    until_s = _now_s() + _ENDING_S
    while (left := _children()) and _now_s() < until_s:
        for pid in left:
            with suppress(PermissionError):  # a program that is set to another user's id
                os.kill(pid, signal.SIGKILL)
        time.sleep(_RETRY_S)
        _ended(0)


def main(arguments: list[str]) -> int:
    parent, until_s, program = int(arguments[1]), float(arguments[2]), arguments[3:]
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    _control(_SUBREAPER, 1)
    _control(_PARENT_DEATH, signal.SIGTERM)
    # The caller may have died before that could be said.
    if os.getppid() != parent or _now_s() >= until_s:
        return DEADLINE
    child = _started(program)
    try:
        return _watched(child, until_s)
    finally:
        _end_all()


if __name__ == "__main__":
    sys.exit(main(sys.argv))
