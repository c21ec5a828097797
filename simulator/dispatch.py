"""From a method's name and raw arguments to its answer: the server's own checks, in its order."""

import asyncio
from collections.abc import Sequence

from simulator import accessors, sessions, tasks
from simulator.calls import Call, Calls
from simulator.coercion import coerce_arguments
from simulator.datamodel import Message, data_model
from simulator.operations import OPERATIONS, Operation
from simulator.pool import HostState, LogEntry, Pool
from simulator.values import NULL, ApiError, Unreachable, Value, as_text

_ASYNC = ("Async.", "InternalAsync.")
_NOT_LOGGED = frozenset({"session", "event"})
_ANY_HOST = frozenset({"host.is_in_emergency_mode", "host.ha_xapi_healthcheck"})


class Dispatch:
    """Carries out calls on a pool."""

    def __init__(self, pool: Pool, calls: Calls) -> None:
        self._pool = pool
        self._calls = calls

    async def perform(self, host: HostState, method: str, args: Sequence[Value]) -> Value:
        """One call as it reaches a host. Raises ApiError; Unreachable if the host goes down."""
        prefix = next((p for p in _ASYNC if method.startswith(p)), "")
        bare = method.removeprefix(prefix)
        if bare == "system.listMethods":
            return data_model().method_names()
        message = data_model().message(bare)
        if message is None:
            raise ApiError("MESSAGE_METHOD_UNKNOWN", bare)
        _check_count(message, args)
        call = Call(self._pool, self._calls, host, message)
        rest = self._authorise(call, args) if message.takes_session else args
        values = coerce_arguments(message, rest)
        if prefix:
            return await self._begin(call, method, values)
        return await self._answer(call, values)

    def _authorise(self, call: Call, args: Sequence[Value]) -> Sequence[Value]:
        ref = args[0] if isinstance(args[0], str) else NULL
        call.session_ref = ref
        call.session = sessions.check(self._pool, call.taken_by, ref)
        message = call.message
        local = call.session is None and call.taken_by is not self._pool.master
        if local and not (
            accessors.is_read(message)
            or message.full_name in _ANY_HOST
            or message.name == "local_logout"
        ):
            raise ApiError("HOST_IS_SLAVE", self._pool.master.address)
        return args[1:]

    async def _answer(self, call: Call, values: list[Value]) -> Value:
        operation = OPERATIONS.get(call.message.full_name)
        if operation is None:
            return await self._access(call, values)
        if operation.tracked:
            label = call.message.full_name
            call.task = tasks.create(self._pool, label, "", allowed=["cancel"])
        job = self._start(call, operation, values)
        # The caller may give up waiting; the operation goes on.
        await _either(job, call.abandoned)
        if call.abandoned.is_set():
            raise Unreachable(f"{call.taken_by.name} went down")
        if call.task is not None:
            self._pool.db.delete(call.task)
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
        call.task = tasks.create(self._pool, label, "", allowed=["cancel"])
        self._start(call, operation, values)
        await call.take("read")
        return call.task.ref

    def _start(self, call: Call, operation: Operation, values: list[Value]) -> asyncio.Task[Value]:
        if operation.changes:
            self._log(call, values)
        call.job = asyncio.create_task(_run(operation, call, values))
        self._calls.add(call)
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
            tasks.succeed(self._pool, call.task, call.job.result())
        elif isinstance(failure, ApiError):
            tasks.fail(self._pool, call.task, failure)
        if call.task_unwanted:
            self._pool.db.delete(call.task)

    async def _access(self, call: Call, values: list[Value]) -> Value:
        access = accessors.find_accessor(call.message)
        if access is None:
            raise ApiError("NOT_IMPLEMENTED", call.message.full_name)
        if accessors.is_read(call.message):
            await call.work(self._read_time(call.message))
        else:
            await call.take("write")
            self._log(call, values)
        if not call.taken_by.reachable:
            raise Unreachable(f"{call.taken_by.name} went down")
        try:
            answer = access(self._pool, values)
        except ApiError as error:
            if call.entry is not None:
                call.entry.outcome = error.code
            raise
        if call.entry is not None:
            call.entry.outcome = "success"
        return answer

    def _accessor_as_operation(self, call: Call) -> "_AccessorHandler":
        access = accessors.find_accessor(call.message)
        if access is None:
            raise ApiError("NOT_IMPLEMENTED", call.message.full_name)
        return _AccessorHandler(access)

    def _read_time(self, message: Message) -> float:
        count = self._pool.db.count(message.cls) if "get_all_records" in message.name else 0
        latencies = self._pool.latencies
        return latencies.draw("read") + (count * latencies.draw("per_object") if count else 0)

    def _log(self, call: Call, values: Sequence[Value]) -> None:
        message = call.message
        if message.cls in _NOT_LOGGED:
            return
        cls, uuid, name = self._object(message, values)
        call.entry = LogEntry(
            time=self._pool.clock.wall(),
            host=call.taken_by.name,
            originator=call.originator,
            method=message.full_name,
            cls=cls,
            uuid=uuid,
            name=name,
        )
        self._pool.log.append(call.entry)

    def _object(self, message: Message, values: Sequence[Value]) -> tuple[str, str, str]:
        """Class, uuid and name of what the call is about, as far as that can be told."""
        if message.params and message.params[0][1].kind == "ref":
            cls = message.params[0][1].name
            row = self._pool.db.find(cls, as_text(values[0]))
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
