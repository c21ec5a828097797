"""From a method's name and raw arguments to its answer: the server's own checks, in its order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from simulator import accessors, sessions, tasks
from simulator.calls import Call, Calls
from simulator.coercion import coerce_arguments
from simulator.database import Row
from simulator.datamodel import Message, data_model
from simulator.machines import Machine
from simulator.pool import Pool
from simulator.registry import OPERATIONS, Operation
from simulator.site import LogEntry
from simulator.values import NULL, ApiError, InEmergency, Unreachable, Value, as_text

_ASYNC = ("Async.", "InternalAsync.")
_NOT_LOGGED = frozenset({"session", "event"})
_LOCAL = frozenset(
    {
        "session.slave_local_login", "session.slave_local_login_with_password",
        "session.local_logout", "pool.emergency_transition_to_master",
        "pool.emergency_reset_master", "pool.is_slave", "host.is_in_emergency_mode",
        "host.ha_xapi_healthcheck", "host.emergency_ha_disable", "host.propose_new_master",
        "host.commit_new_master", "host.abort_new_master", "host.local_assert_healthy",
        "host.local_management_reconfigure", "host.management_disable",
        "host.signal_networking_change", "host.shutdown_agent",
        "host.get_system_status_capabilities",
    }
)  # fmt: skip
"""What every host does by itself: in emergency mode, and whether or not its master answers."""


class Dispatch:
    """Carries out calls on the servers of a site."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._reigns = calls.reigns
        self._site = calls.reigns.site

    async def perform(self, machine: Machine, method: str, args: Sequence[Value]) -> Value:
        """One call as it reaches a server. Raises ApiError; Unreachable if the server goes down."""
        prefix = next((p for p in _ASYNC if method.startswith(p)), "")
        bare = method.removeprefix(prefix)
        if machine.stashed is not None and bare not in _LOCAL:
            raise InEmergency(*machine.stashed.description)
        if bare == "system.listMethods":
            return data_model().method_names()
        message = data_model().message(bare)
        if message is None:
            raise ApiError("MESSAGE_METHOD_UNKNOWN", bare)
        _check_count(message, args)
        session = await self._authorise(machine, message, args) if message.takes_session else None
        call = Call(self._calls, machine, message)
        call.session = session
        call.session_ref = _reference(args) if message.takes_session else ""
        values = coerce_arguments(message, args[1:] if message.takes_session else args)
        if prefix:
            return await self._begin(call, method, values)
        return await self._answer(call, values)

    async def by_itself(self, pool: Pool, method: str, *values: Value) -> Value:
        """What the master of a database does of its own accord, as if somebody had called it."""
        message = data_model().message(method)
        assert message is not None, method
        call = Call(self._calls, pool.master.machine, message)
        return await self._answer(call, list(values))

    async def _authorise(
        self, machine: Machine, message: Message, args: Sequence[Value]
    ) -> Row | None:
        """The pool's session; None for one of this server alone."""
        ref = _reference(args)
        if ref in machine.local_sessions:
            if message.full_name in _LOCAL or machine.is_master:
                return None
            if not accessors.is_read(message):
                raise sessions.slave(self._site, machine)
            await self._database(machine)
            return None
        if machine.stashed is not None:
            raise ApiError("SESSION_INVALID", ref)
        await self._database(machine)
        return sessions.check(self._reigns, machine, ref)

    async def _database(self, machine: Machine) -> None:
        """A slave reads its master's database, and waits for it for ever."""
        epoch = machine.epoch
        while not (machine.is_master or machine.name in self._reigns.of(machine).links.heard):
            await self._site.machines.changed()
            if machine.epoch != epoch:
                raise Unreachable(f"{machine.name} went down")

    async def _answer(self, call: Call, values: list[Value]) -> Value:
        operation = OPERATIONS.get(call.message.full_name)
        if operation is None:
            return await self._access(call, values)
        if operation.tracked:
            label = call.message.full_name
            call.task = tasks.create(call.pool, label, "", allowed=["cancel"])
        job = self._start(call, operation, values)
        # The caller may give up waiting; the operation goes on.
        await _either(job, call.abandoned)
        if call.abandoned.is_set():
            raise Unreachable(f"{call.taken_by.name} went down")
        if call.task is not None:
            call.pool.db.delete(call.task)
        failure = call.failure()
        if failure is not None:
            raise failure
        return job.result()

    async def _begin(self, call: Call, label: str, values: list[Value]) -> Value:
        if not call.message.asynchronous:
            text = f"No async mode for this operation (rpc: {call.message.full_name})"
            raise ApiError("Fault", text)
        operation = OPERATIONS.get(call.message.full_name)
        if operation is None:
            operation = Operation(self._accessor_as_operation(call), tracked=True, changes=True)
        call.task = tasks.create(call.pool, label, "", allowed=["cancel"])
        self._start(call, operation, values)
        await call.take("read")
        return call.task.ref

    def _start(self, call: Call, operation: Operation, values: list[Value]) -> asyncio.Task[Value]:
        if operation.changes:
            self._log(call, values)
        call.job = asyncio.create_task(_run(operation, call, values))
        call.calls.add(call)
        call.job.add_done_callback(lambda _: self._finished(call))
        return call.job

    def _finished(self, call: Call) -> None:
        assert call.job is not None
        failure = call.failure()
        if call.entry is not None:
            call.entry.outcome = _outcome(failure)
        if failure is not None and not isinstance(failure, ApiError | Unreachable):
            _report(failure)
            failure = ApiError("INTERNAL_ERROR", repr(failure))
        if call.task is None:
            return
        if failure is None:
            tasks.succeed(call.pool, call.task, call.job.result())
        elif isinstance(failure, ApiError):
            tasks.fail(call.pool, call.task, failure)
        if call.task_unwanted:
            call.pool.db.delete(call.task)

    async def _access(self, call: Call, values: list[Value]) -> Value:
        access = accessors.find_accessor(call.message)
        if access is None:
            raise ApiError("NOT_IMPLEMENTED", call.message.full_name)
        epoch = call.taken_by.epoch
        if accessors.is_read(call.message):
            await call.work(_read_time(call))
        else:
            await call.take("write")
            self._log(call, values)
        if call.taken_by.epoch != epoch:
            raise Unreachable(f"{call.taken_by.name} went down")
        try:
            answer = access(call.pool, values)
        except ApiError as error:
            if call.entry is not None:
                call.entry.outcome = error.code
            raise
        if call.entry is not None:
            call.entry.outcome = "success"
        return answer

    def _accessor_as_operation(self, call: Call) -> _AccessorHandler:
        access = accessors.find_accessor(call.message)
        if access is None:
            raise ApiError("NOT_IMPLEMENTED", call.message.full_name)
        return _AccessorHandler(access)

    def _log(self, call: Call, values: Sequence[Value]) -> None:
        message = call.message
        if message.cls in _NOT_LOGGED:
            return
        cls, uuid, name = _object(call, values)
        call.entry = LogEntry(
            time=self._site.clock.wall(),
            host=call.taken_by.name,
            originator=call.originator,
            method=message.full_name,
            cls=cls,
            uuid=uuid,
            name=name,
        )
        call.pool.log.append(call.entry)


def _read_time(call: Call) -> float:
    message, latencies = call.message, call.site.latencies
    count = call.pool.db.count(message.cls) if "get_all_records" in message.name else 0
    return latencies.draw("read") + (count * latencies.draw("per_object") if count else 0)


def _object(call: Call, values: Sequence[Value]) -> tuple[str, str, str]:
    """Class, uuid and name of what the call is about, as far as that can be told."""
    message = call.message
    if message.params and message.params[0][1].kind == "ref":
        cls = message.params[0][1].name
        row = call.pool.db.find(cls, as_text(values[0]))
        if row is not None:
            name = row.fields.get("name_label", "")
            return cls, row.text("uuid"), as_text(name)
    return message.cls, "", ""


class _AccessorHandler:
    """A generated method in its Async form."""

    def __init__(self, access: accessors.Accessor) -> None:
        self._access = access

    async def __call__(self, call: Call, *values: Value) -> Value:
        await call.take("write")
        return self._access(call.pool, values)


async def _either(job: asyncio.Task[Value], event: asyncio.Event) -> None:
    """Wait for whichever comes first; the job goes on in any case."""
    told = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait([job, told], return_when=asyncio.FIRST_COMPLETED)
    finally:
        told.cancel()


async def _run(operation: Operation, call: Call, values: list[Value]) -> Value:
    answer = await operation.handler(call, *values)
    return "" if answer is None else answer


def _reference(args: Sequence[Value]) -> str:
    return args[0] if isinstance(args[0], str) else NULL


def _check_count(message: Message, args: Sequence[Value]) -> None:
    got = len(args) - message.takes_session
    too_many = got > len(message.params) and message.required == len(message.params)
    if got < message.required or too_many:
        full_name = message.full_name
        counts = (str(message.required), str(got))
        raise ApiError("MESSAGE_PARAMETER_COUNT_MISMATCH", full_name, *counts)


def _outcome(failure: BaseException | None) -> str:
    if failure is None:
        return "success"
    return failure.code if isinstance(failure, ApiError) else "lost"


def _report(failure: BaseException) -> None:
    """A defect of the simulator itself: loud, whoever else may hear of it."""
    context = {"message": "a simulated operation crashed", "exception": failure}
    asyncio.get_running_loop().call_exception_handler(context)
