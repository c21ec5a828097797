"""Whether a host answers its master, and what it costs to find out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.values import ApiError

if TYPE_CHECKING:
    from simulator.calls import Call
    from simulator.pool import HostState


async def answers(call: Call, host: HostState) -> bool:
    """Ask it. A closed port refuses at once, a server without power or a cut network costs TCP's
    patience, and one that hangs is waited for without limit."""
    site, machine, asking = call.site, host.machine, call.at
    while True:
        if not (machine.powered and site.machines.linked(asking, machine)):
            await call.sleep(site.latencies.draw_tcp_patience())
            return site.machines.hears(asking, machine)
        if not machine.toolstack:
            return False
        stuck = site.faults.active("api-hang", host=host.name, method="pool.is_slave")
        if not (stuck or site.machines.hung(machine)):
            return True
        await site.machines.changed()


async def assert_dead(call: Call, host: HostState) -> None:
    """HOST_IS_LIVE if it is not. Once the database has it as not live, nobody is asked."""
    if call.pool.is_live(host.row) and await answers(call, host):
        raise ApiError("HOST_IS_LIVE", host.row.ref)
