"""One call of the API while it is carried out, and the table of all that are.

An operation runs as a job of its own. Two things end a job early: its task is cancelled, or the
host that carries it out goes down. If the toolstack that took the call goes down while another host
carries it out, the call is abandoned: nobody will hear of it, and it goes on to its end in the dark.

A host that merely loses its power says nothing to anybody: what it carried out for another host
stands still until TCP gives up, or until somebody writes the host or the VM off.
"""

from __future__ import annotations

import asyncio

from simulator.database import Row
from simulator.datamodel import Message
from simulator.events import Registrations
from simulator.machines import Machine
from simulator.pool import HostState
from simulator.reigns import Reigns
from simulator.site import LogEntry
from simulator.values import ApiError, Unreachable, Value


class Call:
    """A call in progress. ``at`` is the server that carries it out, at first the one that took it;
    ``pool`` is the database that it is about."""

    def __init__(self, calls: Calls, machine: Machine, message: Message) -> None:
        self.calls = calls
        self.site = calls.reigns.site
        self.pool = calls.reigns.of(machine)
        self.taken_by = machine
        self.at = machine
        self.message = message
        self._boots = machine.boots
        self._host_ref = ""
        self.session: Row | None = None
        self.session_ref = ""
        self.task: Row | None = None
        self.entry: LogEntry | None = None
        self.job: asyncio.Task[Value] | None = None
        self.task_unwanted = False
        self.interruption: ApiError | Unreachable | None = None
        self.holding: Row | None = None
        self.abandoned = asyncio.Event()

    @property
    def task_ref(self) -> str:
        """The reference by which objects show that this call holds them."""
        return self.task.ref if self.task else ""

    @property
    def originator(self) -> str:
        """Who logged in, as they called themselves."""
        return self.session.text("originator") if self.session else ""

    async def work(self, seconds: float) -> None:
        """Take ``seconds`` at speed 1 over it."""
        await self.sleep(seconds / self.site.clock.speed)

    async def sleep(self, seconds: float) -> None:
        """Wait ``seconds`` of the clock, and for as long as the server at work makes no step."""
        await self.site.clock.sleep(seconds)
        await self.site.machines.progress(self.at, self._boots)

    async def take(self, latency: str) -> None:
        """Take as long as this kind of work takes."""
        await self.work(self.site.latencies.draw(latency))

    async def assert_reachable(self, host: HostState) -> None:
        """CANNOT_CONTACT_HOST if the master does not hear it, after as long as it takes to find
        that out; HOST_OFFLINE at once when it is known already."""
        if host.reachable:
            return
        if not self.pool.is_live(host.row):
            raise ApiError("HOST_OFFLINE", host.row.ref)
        await self.answers(host)
        if not host.reachable:
            raise ApiError("CANNOT_CONTACT_HOST", host.row.ref)

    async def answers(self, host: HostState) -> bool:
        """Ask it. A closed port refuses at once, a server without power or a cut network costs
        TCP's patience, and one that hangs is waited for without limit."""
        site, machine, asking = self.site, host.machine, self.at
        while True:
            if not (machine.powered and site.machines.linked(asking, machine)):
                await self.sleep(site.latencies.draw_tcp_patience())
                return site.machines.hears(asking, machine)
            if not machine.toolstack:
                return False
            stuck = site.faults.active("api-hang", host=host.name, method="pool.is_slave")
            if not (stuck or site.machines.hung(machine)):
                return True
            await site.machines.changed()

    async def assert_dead(self, host: HostState) -> None:
        """HOST_IS_LIVE if it is not. Once the database has it as not live, nobody is asked."""
        if self.pool.is_live(host.row) and await self.answers(host):
            raise ApiError("HOST_IS_LIVE", host.row.ref)

    async def forward(self, host: HostState) -> None:
        """Have the rest done by ``host``. Nothing is waited for if that is reachable."""
        await self.assert_reachable(host)
        self.at, self._boots, self._host_ref = host.machine, host.machine.boots, host.row.ref
        if self.task is not None:
            self.pool.db.update(self.task, resident_on=host.row.ref)

    def no_contact(self) -> ApiError:
        """The failure of a call whose host is gone."""
        return ApiError("CANNOT_CONTACT_HOST", self._host_ref)

    def progress(self, fraction: float) -> None:
        """Show how far it is, 0 to 1; it never goes back."""
        if self.task is not None:
            before = self.task.fields["progress"]
            assert isinstance(before, float | int)
            self.pool.db.update(self.task, progress=max(float(before), fraction))

    def allow_cancel(self, allowed: bool) -> None:
        """Open or close the way for task.cancel."""
        if self.task is not None:
            self.pool.db.update(self.task, allowed_operations=["cancel"] if allowed else [])

    @property
    def cancellable(self) -> bool:
        """Whether a request to cancel is heeded now."""
        return self.task is not None and "cancel" in self.task.list("allowed_operations")

    def interrupt(self, why: ApiError | Unreachable) -> None:
        """End the job early with this failure; the first reason counts."""
        if self.interruption is None and self.job is not None and not self.job.done():
            self.interruption = why
            self.job.cancel()

    def failure(self) -> BaseException | None:
        """Why the finished job failed; None if it did not."""
        assert self.job is not None
        if self.job.cancelled():
            return self.interruption or Unreachable("the world has ended")
        return self.job.exception()


class Calls:
    """All calls that run."""

    def __init__(self, reigns: Reigns) -> None:
        self.reigns = reigns
        self.registrations = Registrations()
        self._running: dict[int, Call] = {}
        self._count = 0

    def add(self, call: Call) -> None:
        """Remember a call until its job is done."""
        assert call.job is not None
        self._count += 1
        number = self._count
        self._running[number] = call
        call.job.add_done_callback(lambda _: self._running.pop(number, None))

    def cancel(self, task: str) -> None:
        """task.cancel: a request, heeded only while the task allows it."""
        for call in self.running():
            if call.task_ref == task and call.cancellable:
                call.interrupt(ApiError("TASK_CANCELLED", task))

    def toolstack_lost(self, machine: Machine) -> None:
        """A toolstack went down: what it took is abandoned, what it carried out fails."""
        for call in self.running():
            if call.taken_by is machine:
                call.abandoned.set()
            if call.at is machine:
                call.interrupt(_lost(call))

    def power_lost(self, machine: Machine) -> list[Call]:
        """The server is dark: what it took is abandoned. Answers what it carried out for others:
        that stands still, until TCP or somebody else gives it up."""
        stranded = []
        for call in self.running():
            if call.taken_by is machine:
                call.abandoned.set()
            if call.at is machine and call.taken_by is machine:
                call.interrupt(_lost(call))
            elif call.at is machine:
                stranded.append(call)
        return stranded

    def abort_at(self, machine: Machine) -> None:
        """Cancel what the server carried out for others; it has come back, or is written off."""
        for call in self.running():
            if call.at is machine and call.taken_by is not machine:
                call.interrupt(ApiError("TASK_CANCELLED", call.task_ref))

    def abort_on(self, vm: Row) -> None:
        """Cancel what holds the VM: its state is being written over."""
        for call in self.running():
            if call.holding is vm:
                call.interrupt(ApiError("TASK_CANCELLED", call.task_ref))

    def in_the_dark(self, vm: Row) -> bool:
        """Whether an abandoned call still works on the VM, unseen in its current_operations."""
        held = (c.holding for c in self.running() if c.abandoned.is_set())
        return any(row is not None and row.ref == vm.ref for row in held)

    def running(self) -> list[Call]:
        """The calls that run, oldest first."""
        return list(self._running.values())


def _lost(call: Call) -> ApiError | Unreachable:
    if call.at is call.taken_by:
        return Unreachable(f"{call.at.name} went down")
    return call.no_contact()
