"""The generated methods: getters, setters, look-ups, for every stored class alike."""

from collections.abc import Callable, Mapping, Sequence

from simulator import occupancy, query
from simulator.database import Row
from simulator.datamodel import Field, Message, data_model
from simulator.pool import Pool, without
from simulator.values import ApiError, Value, as_text

Accessor = Callable[[Pool, Sequence[Value]], Value]

_VERBS = ("add_to_", "remove_from_", "add_", "remove_", "get_", "set_")


def find_accessor(message: Message) -> Accessor | None:
    """What carries out a generated method; None if the method is not one of those."""
    if not hasattr(_Whole, message.name):
        return _of_field(message)
    whole: Callable[[Pool, str, Sequence[Value]], Value] = getattr(_Whole, message.name)
    return lambda pool, args: whole(pool, message.cls, args)


def is_read(message: Message) -> bool:
    """Whether the method only looks."""
    return message.name.startswith("get_")


class _Whole:
    """Methods on whole objects, named as the API names them."""

    @staticmethod
    def get_all(pool: Pool, cls: str, _args: Sequence[Value]) -> Value:
        return [row.ref for row in pool.db.rows(cls)]

    @staticmethod
    def get_all_records(pool: Pool, cls: str, _args: Sequence[Value]) -> Value:
        return {row.ref: row.fields for row in pool.db.rows(cls)}

    @staticmethod
    def get_all_where(pool: Pool, cls: str, args: Sequence[Value]) -> Value:
        condition = query.parse(as_text(args[0]))
        return [row.ref for row in pool.db.rows(cls) if condition(row)]

    @staticmethod
    def get_all_records_where(pool: Pool, cls: str, args: Sequence[Value]) -> Value:
        condition = query.parse(as_text(args[0]))
        return {row.ref: row.fields for row in pool.db.rows(cls) if condition(row)}

    @staticmethod
    def get_record(pool: Pool, cls: str, args: Sequence[Value]) -> Value:
        return pool.db.row(cls, as_text(args[0])).fields

    @staticmethod
    def get_by_uuid(pool: Pool, cls: str, args: Sequence[Value]) -> Value:
        return pool.db.by_uuid(cls, as_text(args[0])).ref

    @staticmethod
    def get_by_name_label(pool: Pool, cls: str, args: Sequence[Value]) -> Value:
        return [row.ref for row in pool.db.rows(cls) if row.fields["name_label"] == args[0]]


def _of_field(message: Message) -> Accessor | None:
    fields = data_model().classes[message.cls].fields
    for verb in _VERBS:
        name = message.name.removeprefix(verb)
        if name != message.name and name in fields:
            return _bind(message.cls, verb, fields[name])
    return None


def _bind(cls: str, verb: str, field: Field) -> Accessor:
    act = _ACTS[verb]

    def access(pool: Pool, args: Sequence[Value]) -> Value:
        row = pool.db.row(cls, as_text(args[0]))
        answer = act(pool, row, field.name, args[1:])
        if cls == "VM" and verb != "get_":
            occupancy.refresh(pool, row)
        return answer

    return access


def _get(_pool: Pool, row: Row, field: str, _args: Sequence[Value]) -> Value:
    return row.fields[field]


def _set(pool: Pool, row: Row, field: str, args: Sequence[Value]) -> Value:
    pool.db.update(row, **{field: args[0]})
    return ""


def _add(pool: Pool, row: Row, field: str, args: Sequence[Value]) -> Value:
    items = row.fields[field]
    assert isinstance(items, list)
    if args[0] not in items:
        pool.db.update(row, **{field: [*items, args[0]]})
    return ""


def _remove(pool: Pool, row: Row, field: str, args: Sequence[Value]) -> Value:
    items = row.fields[field]
    assert isinstance(items, list)
    pool.db.update(row, **{field: [item for item in items if item != args[0]]})
    return ""


def _add_to(pool: Pool, row: Row, field: str, args: Sequence[Value]) -> Value:
    mapping, key = row.fields[field], as_text(args[0])
    assert isinstance(mapping, dict)
    if key in mapping:
        raise ApiError("MAP_DUPLICATE_KEY", row.cls, field, row.ref, key)
    pool.db.update(row, **{field: {**mapping, key: args[1]}})
    return ""


def _remove_from(pool: Pool, row: Row, field: str, args: Sequence[Value]) -> Value:
    mapping = row.fields[field]
    assert isinstance(mapping, dict)
    pool.db.update(row, **{field: without(mapping, as_text(args[0]))})
    return ""


_ACTS: Mapping[str, Callable[[Pool, Row, str, Sequence[Value]], Value]] = {
    "get_": _get,
    "set_": _set,
    "add_": _add,
    "remove_": _remove,
    "add_to_": _add_to,
    "remove_from_": _remove_from,
}
