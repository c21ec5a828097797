"""`cxm locks`."""

from __future__ import annotations

from cli import asking
from cli.envelope import Finding
from cli.options import cxm_command, invocation
from cli.render.recovery import lock_lines, locks_data


@cxm_command("locks")
def command() -> Finding:
    """Disks that bear the mark of a server that their VM is not on.

    Such a VM does not start until the mark is gone. Exit 0: there is none; 2: there are some.
    """
    run = invocation()
    status = asking.current_status(run)
    verdict = "differs" if status.locks else "converged"
    data = {"locks": locks_data(status.locks)}
    rows = lock_lines(status.locks)
    return Finding(verdict, data, rows, status.cluster, status.observation)
