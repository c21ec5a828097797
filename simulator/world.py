"""The simulated pool as one object: calls come in, power and faults are switched, all is seen.

The in-process face of the simulator. The wire face serves the same object over the network.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import simulator.operations  # noqa: F401 - declares what can be called
from simulator import guests
from simulator.agent import FenceAgent
from simulator.bmc import Bmcs
from simulator.build import build
from simulator.calls import Calls
from simulator.clock import Clock
from simulator.database import Row
from simulator.dispatch import Dispatch
from simulator.domains import CorruptionCase
from simulator.faults import Fault, FaultTable
from simulator.foreign import ForeignClient, find
from simulator.machines import Machine
from simulator.pool import Pool
from simulator.reigns import Reigns
from simulator.site import LogEntry, Site
from simulator.spec import PoolSpec
from simulator.toolstacks import Toolstacks
from simulator.values import Unreachable, Value

_CONNECTION = ("api-hang", "hang", "net-cut")
"""Faults that change who hears whom."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a VM really runs. ``hosts`` is empty, or one name, or a catastrophe."""

    name: str
    uuid: str
    hosts: tuple[str, ...]
    power_state: str


class World:
    """A pool made of its specification. To be created while the event loop runs.

    ``addresses`` maps each host's name to the address at which it is to be found. ``bmcs`` are the
    fence devices, and ``agent`` a fence agent that speaks to them.
    """

    def __init__(self, spec: PoolSpec, clock: Clock, addresses: Mapping[str, str]) -> None:
        self.faults = FaultTable(clock, self._fault_began, self._fault_ended)
        self.site = Site(spec, clock, self.faults)
        self._reigns = Reigns(self.site)
        calls = Calls(self._reigns)
        self._dispatch, self._toolstacks = Dispatch(calls), Toolstacks(calls)
        build(self._reigns, dict(addresses))
        self.bmcs = Bmcs(self.site, self._toolstacks)
        self.agent = FenceAgent(self.site, self.bmcs)

    @property
    def pool(self) -> Pool:
        """The newest database: of whoever became master last, as the API shows it there."""
        return self._reigns.newest

    @property
    def corruption(self) -> list[CorruptionCase]:
        """Every double run and double writer since the beginning. Must be empty for ever."""
        return self.site.domains.corruption

    @property
    def log(self) -> list[LogEntry]:
        """Every state-changing call since the beginning, oldest first."""
        return self.pool.log

    async def call(self, host: str, method: str, args: Sequence[Value]) -> Value:
        """One API call as it reaches the host of that name.

        ``args`` begin with the session where the method has one. Blocks as the real call does:
        VM.start until the VM runs, event.from until there is something to tell. Raises ApiError
        for what the server refuses and Unreachable if the host does not, or not any more, answer.
        """
        machine = self.site.machines[host]
        epoch = machine.epoch
        await self._passes(machine, epoch)
        try:
            return await self._dispatch.perform(machine, method, args)
        finally:
            await self._passes(machine, epoch)

    async def _passes(self, machine: Machine, epoch: int) -> None:
        """Packets to and from a server that hangs or is cut off are late, or never come."""
        machines = self.site.machines
        while machine.epoch == epoch and (
            machines.hung(machine) or machines.cut_from_clients(machine)
        ):
            await machines.changed()
        if machine.epoch != epoch or not machine.up:
            raise Unreachable(f"{machine.name} does not answer")

    async def act(self, method: str, name: str, *args: Value) -> Value:
        """Do something to a VM, a host or the pool as some other client would, by a session of
        its own.

        ``name`` is a name or a uuid; hosts are given by name; what is left out is false or
        empty. Raises as ``call`` does.
        """
        return await ForeignClient(self._reigns, self.call).act(method, name, args)

    def power_off(self, host: str) -> None:
        """Pull the host's plug. What ran on it is gone; the database stays as it was. A fence device
        that lives on the host's own supplies is gone, too."""
        if self.site.supply.feed(host, on=False):
            self._toolstacks.press(host, on=False)
        self.bmcs.notify()

    def power_on(self, host: str) -> None:
        """Give the host power: it boots and, minutes later, answers again. Without effect while all
        of its outlets are off."""
        self.site.supply.feed(host, on=True)
        self._toolstacks.press(host, on=True)
        self.bmcs.notify()

    def restart_toolstack(self, host: str) -> None:
        """The host's API goes away for a moment; sessions and tasks of a master are lost."""
        self.site.in_background(self._toolstacks.restart(self.site.machines[host]))

    def reachable(self, host: str) -> bool:
        """Whether the host accepts connections at all; it may still be mute."""
        return self.site.machines[host].up

    def powered(self, host: str) -> bool:
        """Whether the host has power: one that has refuses what its toolstack does not take."""
        return self.site.machines[host].powered

    async def changed(self) -> None:
        """Wait for the next change of any host's power, toolstack, role or network."""
        await self.site.machines.changed()

    def running_on(self, vm: str) -> Whereabouts:
        """Where a VM, by name or uuid, really runs; the state as reality has it."""
        row = self._vm(vm)
        found = self.site.domains.running(row.text("uuid"))
        believed = row.text("power_state")
        state = "Suspended" if believed == "Suspended" else "Halted"
        if found:
            state = "Paused" if all(domain.paused for domain in found) else "Running"
        hosts = tuple(sorted(domain.host for domain in found))
        return Whereabouts(row.text("name_label"), row.text("uuid"), hosts, state)

    def guest_powers_off(self, vm: str) -> None:
        """The guest shuts itself down: no call, no task."""
        guests.stop_itself(self._reigns, self._vm(vm).text("uuid"), crashed=False)

    def guest_crashes(self, vm: str) -> None:
        """The guest crashes."""
        guests.stop_itself(self._reigns, self._vm(vm).text("uuid"), crashed=True)

    def _fault_began(self, fault: Fault) -> None:
        self.bmcs.notify()
        toolstacks = self._toolstacks
        if fault.name == "host-off":
            self.power_off(self._struck(fault).name)
        elif fault.name == "api-restart":
            toolstacks.stop(self._struck(fault))
        elif fault.name == "db-rollback":
            toolstacks.roll_back(self._struck(fault))
        elif fault.name in _CONNECTION:
            self._reigns.settle()

    def _fault_ended(self, fault: Fault) -> None:
        self.bmcs.notify()
        toolstacks = self._toolstacks
        if fault.name == "host-off":
            self.power_on(self._struck(fault).name)
        elif fault.name in ("api-restart", "db-rollback"):
            toolstacks.start(self._struck(fault))
        elif fault.name in _CONNECTION:
            self._reigns.settle()

    def _struck(self, fault: Fault) -> Machine:
        """The host of the fault, by default the master of the moment at which it begins."""
        fault.scope = {"host": self.pool.master.name, **fault.scope}
        return self.site.machines[fault.scope["host"]]

    def _vm(self, name: str) -> Row:
        return find(self.pool, "VM", name)
