"""Task records: made when a call begins, finished when it ends, collected as garbage later."""

from collections.abc import Mapping
from xml.sax.saxutils import escape

from simulator.database import Row
from simulator.pool import Pool
from simulator.values import NEVER, ApiError, DateTime, Value

FINISHED_KEPT_S = 65 * 60.0
PENDING_KEPT_S = 24 * 3600.0
TASKS_KEPT = 200


def create(pool: Pool, label: str, description: str, allowed: list[str]) -> Row:
    """A pending task on the master."""
    _collect(pool)
    return pool.db.insert(
        "task",
        name_label=label,
        name_description=description,
        allowed_operations=allowed,
        created=pool.clock.date(),
        finished=NEVER,
        status="pending",
        resident_on=pool.master.row.ref,
        type="<none/>",
        backtrace="()",
    )


def succeed(pool: Pool, task: Row, value: Value) -> None:
    """The call came to a good end."""
    _finish(pool, task, status="success", result=fragment(value))


def fail(pool: Pool, task: Row, error: ApiError) -> None:
    """The call failed or was cancelled. Progress is 1 then, too."""
    status = "cancelled" if error.code == "TASK_CANCELLED" else "failure"
    _finish(pool, task, status=status, error_info=error.description)


def forget_all(pool: Pool) -> None:
    """The master's toolstack restarts: no task survives it."""
    for task in pool.db.rows("task"):
        pool.db.delete(task)


def fragment(value: Value) -> str:
    """A result as the text of an XML-RPC value, as task.result holds it."""
    return f"<value>{_inner(value)}</value>"


def _finish(pool: Pool, task: Row, **fields: Value) -> None:
    now = pool.clock.date()
    pool.db.update(task, finished=now, progress=1.0, allowed_operations=[], **fields)


def _inner(value: Value) -> str:
    if isinstance(value, bool):
        return f"<boolean>{int(value)}</boolean>"
    if isinstance(value, float):
        return f"<double>{value:.16g}</double>"
    if isinstance(value, DateTime):
        return f"<dateTime.iso8601>{value}</dateTime.iso8601>"
    if isinstance(value, Mapping):
        members = (
            f"<member><name>{escape(key)}</name>{fragment(item)}</member>"
            for key, item in value.items()
        )
        return f"<struct>{''.join(members)}</struct>"
    if isinstance(value, str | int):
        return escape(str(value))
    return f"<array><data>{''.join(map(fragment, value))}</data></array>"


def _collect(pool: Pool) -> None:
    """Finished tasks go after 65 min, pending ones after a day, the oldest finished above 200."""
    now = pool.clock.wall()
    finished = [task for task in pool.db.rows("task") if task.text("finished") != NEVER]
    surplus = max(0, pool.db.count("task") - TASKS_KEPT)
    for number, task in enumerate(finished):
        if number < surplus or now - _epoch(task, "finished") > FINISHED_KEPT_S:
            pool.db.delete(task)
    for task in pool.db.rows("task"):
        if task.text("finished") == NEVER and now - _epoch(task, "created") > PENDING_KEPT_S:
            pool.db.delete(task)


def _epoch(task: Row, field: str) -> float:
    return DateTime(task.text(field)).epoch
