"""message.*: alerts."""

from collections.abc import Iterable

from simulator.calls import Call
from simulator.datamodel import data_model
from simulator.messages import Alert
from simulator.registry import look, operation
from simulator.values import ApiError, DateTime, Value


def _by_ref(alerts: Iterable[Alert]) -> Value:
    return {alert.ref: alert.record for alert in alerts}


@operation("message.create")
async def create(call: Call, name: str, priority: int, cls: str, obj_uuid: str, body: str) -> Value:
    stored = data_model().lower.get(cls.lower(), cls)
    if not any(row.text("uuid") == obj_uuid for row in call.pool.db.rows(stored)):
        raise ApiError("UUID_INVALID", cls, obj_uuid)
    return call.pool.messages.create(name, priority, cls, obj_uuid, body)


@operation("message.destroy")
async def destroy(call: Call, ref: str) -> None:
    call.pool.messages.destroy(ref)


@operation("message.destroy_many")
async def destroy_many(call: Call, refs: list[str]) -> None:
    for ref in refs:
        call.pool.messages.destroy(ref)


@look("message.get")
async def get(call: Call, cls: str, obj_uuid: str, since: DateTime) -> Value:
    found = call.pool.messages.since(since)
    about = {"cls": cls, "obj_uuid": obj_uuid}
    return _by_ref(alert for alert in found if about.items() <= alert.record.items())


@look("message.get_since")
async def get_since(call: Call, since: DateTime) -> Value:
    return _by_ref(call.pool.messages.since(since))


@look("message.get_all")
async def get_all(call: Call) -> Value:
    return [alert.ref for alert in call.pool.messages.listed()]


@look("message.get_all_records")
async def get_all_records(call: Call) -> Value:
    return _by_ref(call.pool.messages.listed())


@look("message.get_all_records_where")
async def get_all_records_where(call: Call, expr: str) -> Value:
    if expr != "true":
        raise ApiError("NOT_IMPLEMENTED", "message.get_all_records_where")
    return _by_ref(call.pool.messages.listed())


@look("message.get_record")
async def get_record(call: Call, ref: str) -> Value:
    return call.pool.messages.get(ref).record


@look("message.get_by_uuid")
async def get_by_uuid(call: Call, uuid: str) -> Value:
    return call.pool.messages.by_uuid(uuid).ref
