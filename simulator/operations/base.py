"""Sessions, tasks and events as methods."""

from simulator import events, sessions, tasks
from simulator.calls import Call
from simulator.datamodel import data_model
from simulator.registry import look, operation
from simulator.values import Value


@look("session.login_with_password")
async def login(call: Call, user: str, password: str, *options: str) -> Value:
    """``options``: the version, which nobody reads, and the originator."""
    originator = options[1] if options[1:] else ""
    return await sessions.login(call.calls.reigns, call.taken_by, user, password, originator)


@look("session.slave_local_login_with_password")
async def local_login(call: Call, user: str, password: str) -> Value:
    return await sessions.local_login(call.calls.reigns, call.taken_by, user, password)


@look("session.logout", "session.local_logout")
async def logout(call: Call) -> None:
    sessions.logout(call.pool, call.taken_by, call.session_ref)


@operation("task.create")
async def create_task(call: Call, label: str, description: str) -> Value:
    return tasks.create(call.pool, label, description, allowed=[]).ref


@operation("task.destroy")
async def destroy_task(call: Call, ref: str) -> None:
    """Free a task. One that still runs goes when it is finished."""
    task = call.pool.db.row("task", ref)
    for running in call.calls.running():
        if running.task is task:
            running.task_unwanted = True
            return
    call.pool.db.delete(task)


@operation("task.cancel")
async def cancel_task(call: Call, ref: str) -> None:
    call.pool.db.row("task", ref)
    call.calls.cancel(ref)


@look("event.from")
async def event_from(call: Call, classes: list[str], token: str, limit: float) -> Value:
    return await events.from_token(call.pool, call.session, classes, token, limit)


@look("event.inject")
async def inject(call: Call, cls: str, ref: str) -> Value:
    return events.inject(call.pool, cls, ref)


@look("event.register")
async def register(call: Call, classes: list[str]) -> None:
    call.calls.registrations.register(call.pool, call.session, classes)


@look("event.unregister")
async def unregister(call: Call, classes: list[str]) -> None:
    call.calls.registrations.unregister(call.session, classes)


@look("event.next")
async def next_event(call: Call) -> Value:
    return await call.calls.registrations.next(call.pool, call.session)


@look("event.get_current_id")
async def current_id(_call: Call) -> Value:
    return 0


@look("host.list_methods")
async def list_methods(_call: Call) -> Value:
    return data_model().method_names()
