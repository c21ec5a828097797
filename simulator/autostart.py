"""auto_poweron: after every boot of a host the flagged VMs of the whole pool are started, anywhere."""

from contextlib import suppress

from simulator.dispatch import Dispatch
from simulator.pool import HostState
from simulator.values import ApiError, Unreachable

FLAG = "auto_poweron"


def begin(host: HostState, dispatch: Dispatch) -> None:
    """Start them, if the pool says so."""
    if host.pool.row.map("other_config").get(FLAG) == "true":
        host.pool.site.in_background(_start_all(host, dispatch))


async def _start_all(host: HostState, dispatch: Dispatch) -> None:
    pool = host.pool
    for vm in pool.db.rows("VM"):
        flagged = vm.map("other_config").get(FLAG) == "true" and not vm.flag("is_a_template")
        if flagged and vm.text("power_state") == "Halted":
            with suppress(ApiError, Unreachable):
                await dispatch.by_itself(pool, "VM.start", vm.ref, False, False)
