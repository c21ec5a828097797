"""The simulated pool as one object: calls come in, power and faults are switched, all is seen.

The in-process face of the simulator. The wire face serves the same object over the network.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simulator import guests
from simulator.agent import FenceAgent
from simulator.bmc import Bmcs
from simulator.build import build
from simulator.calls import Calls
from simulator.clock import Clock
from simulator.database import Row
from simulator.datamodel import Type, data_model
from simulator.dispatch import Dispatch
from simulator.domains import CorruptionCase
from simulator.faults import Fault, FaultTable
from simulator.pool import HostState, LogEntry, Pool
from simulator.resync import Hosts
from simulator.spec import PoolSpec
from simulator.supply import Supply
from simulator.values import ApiError, Unreachable, Value, as_text


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
        self.pool = Pool(spec, clock, self.faults)
        build(self.pool, dict(addresses))
        self._calls = Calls()
        self._dispatch = Dispatch(self.pool, self._calls)
        self._hosts = Hosts(self.pool, self._calls)
        self._supply = Supply(self.pool, self._hosts)
        self.bmcs = Bmcs(self.pool, self._supply)
        self.agent = FenceAgent(self.pool, self.bmcs)

    @property
    def corruption(self) -> list[CorruptionCase]:
        """Every double run and double writer since the beginning. Must be empty for ever."""
        return self.pool.domains.corruption

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
        state = self.pool.hosts[host]
        if not state.reachable:
            raise Unreachable(f"{host} does not answer")
        return await self._dispatch.perform(state, method, args)

    async def act(self, method: str, vm_name: str, *args: Value) -> Value:
        """Do something to a VM as some other client would, by a session of its own.

        ``vm_name`` is a name or a uuid; hosts are given by name; what is left out is false or
        empty. Raises as ``call`` does.
        """
        master = self.pool.master
        user, password = next(iter(self.pool.spec.users.items()))
        login = [user, password, "1.0", "another client"]
        session = await self.call(master.name, "session.login_with_password", login)
        try:
            given = self._fill(method, self._vm(vm_name), args)
            return await self.call(master.name, method, [session, *given])
        finally:
            if master.reachable:
                await self.call(master.name, "session.logout", [session])

    def power_off(self, host: str) -> None:
        """Pull the host's plug. What ran on it is gone; the database stays as it was. A fence device
        that lives on the host's own supplies is gone, too."""
        self._supply.feed(host, on=False)
        self.bmcs.notify()

    def power_on(self, host: str) -> None:
        """Give the host power: it boots and, minutes later, answers again. Without effect while all
        of its outlets are off."""
        self._supply.feed(host, on=True)
        self._supply.press(host, on=True)
        self.bmcs.notify()

    def restart_toolstack(self, host: str) -> None:
        """The host's API goes away for a moment; sessions and tasks of the master are lost."""
        guests.in_background(self.pool, self._hosts.restart_toolstack(self.pool.hosts[host]))

    def reachable(self, host: str) -> bool:
        """Whether the host answers at all."""
        return self.pool.hosts[host].reachable

    def running_on(self, vm: str) -> Whereabouts:
        """Where a VM, by name or uuid, really runs; the state as reality has it."""
        row = self._vm(vm)
        found = self.pool.domains.running(row.text("uuid"))
        believed = row.text("power_state")
        state = "Suspended" if believed == "Suspended" else "Halted"
        if found:
            state = "Paused" if all(domain.paused for domain in found) else "Running"
        hosts = tuple(sorted(domain.host for domain in found))
        return Whereabouts(row.text("name_label"), row.text("uuid"), hosts, state)

    def guest_powers_off(self, vm: str) -> None:
        """The guest shuts itself down: no call, no task."""
        guests.stop_itself(self.pool, self._vm(vm), crashed=False)

    def guest_crashes(self, vm: str) -> None:
        """The guest crashes."""
        guests.stop_itself(self.pool, self._vm(vm), crashed=True)

    def _fault_began(self, fault: Fault) -> None:
        self.bmcs.notify()
        if fault.name == "host-off":
            self.power_off(self._host_of(fault).name)
        elif fault.name == "api-restart":
            self._hosts.stop_toolstack(self._host_of(fault))

    def _fault_ended(self, fault: Fault) -> None:
        self.bmcs.notify()
        if fault.name == "host-off":
            self.power_on(self._host_of(fault).name)
        elif fault.name == "api-restart":
            self._hosts.start_toolstack(self._host_of(fault))

    def _host_of(self, fault: Fault) -> HostState:
        return self.pool.hosts[fault.scope.get("host", self.pool.master.name)]

    def _vm(self, name: str) -> Row:
        rows = self.pool.db.rows("VM")
        found = [row for row in rows if name in (row.text("uuid"), row.text("name_label"))]
        if len(found) != 1:
            raise LookupError(f"{len(found)} VMs are called {name!r}")
        return found[0]

    def _fill(self, method: str, vm: Row, args: Sequence[Value]) -> list[Value]:
        message = data_model().message(method.removeprefix("Async."))
        if message is None:
            raise ApiError("MESSAGE_METHOD_UNKNOWN", method)
        filled: list[Value] = [vm.ref]
        for index, (_, kind) in enumerate(message.params[1 : message.required]):
            filled.append(self._argument(kind, args[index]) if args[index:] else _empty(kind))
        return filled

    def _argument(self, kind: Type, value: Value) -> Value:
        if kind.kind == "ref" and kind.name == "host" and value in self.pool.hosts:
            return self.pool.hosts[as_text(value)].row.ref
        if kind.kind == "bool" and isinstance(value, str):
            return value == "true"
        return value


def _empty(kind: Type) -> Value:
    empty: dict[str, Value] = {"bool": False, "map": {}, "set": [], "int": 0, "float": 0.0}
    return empty.get(kind.kind, "")
