"""Arguments as they came become values of the declared types, or the server's complaint."""

from collections.abc import Callable, Mapping, Sequence

from simulator.datamodel import Message, Type, data_model
from simulator.values import ApiError, DateTime, Record, Value


def coerce_arguments(message: Message, args: Sequence[Value]) -> list[Value]:
    """The arguments after the session, typed; surplus ones of a method with options are dropped."""
    return [coerce(kind, arg) for (_, kind), arg in zip(message.params, args, strict=False)]


def coerce(kind: Type, value: Value) -> Value:
    """``value`` as ``kind``. Ints may come as digits, floats as ints; nothing else is bent."""
    reader = _READERS.get(kind.kind, _string)
    return reader(kind, value)


def coerce_record(cls: str, fields: Record) -> Record:
    """The constructor argument of ``cls``: what is missing and has no default is complained of."""
    record = {}
    for field in data_model().classes[cls].fields.values():
        if not field.constructed:
            continue
        if field.name in fields:
            record[field.name] = coerce(field.type, fields[field.name])
        elif not field.has_default:
            fault = f'Server_helpers.Dispatcher_FieldNotFound("{field.name}")'
            raise ApiError("INTERNAL_ERROR", fault)
    return record


def _refuse(expected: str, value: Value) -> ApiError:
    return ApiError("INTERNAL_ERROR", f"Failure(\"Expected {expected}, got '{_sketch(value)}'\")")


def _string(_kind: Type, value: Value) -> Value:
    if not isinstance(value, str):
        raise _refuse("string", value)
    return value


def _int(_kind: Type, value: Value) -> Value:
    if type(value) is int:
        return value
    if isinstance(value, str) and value.removeprefix("-").isdecimal():
        return int(value)
    raise _refuse("int64", value)


def _float(_kind: Type, value: Value) -> Value:
    if isinstance(value, bool) or not isinstance(value, float | int | str):
        raise _refuse("float", value)
    try:
        return float(value)
    except ValueError:
        raise _refuse("float", value) from None


def _bool(_kind: Type, value: Value) -> Value:
    if not isinstance(value, bool):
        raise _refuse("bool", value)
    return value


def _datetime(_kind: Type, value: Value) -> Value:
    if not isinstance(value, str):
        raise _refuse("datetime", value)
    moment = DateTime(value)
    try:
        _ = moment.epoch
    except ValueError:
        raise _refuse("datetime", value) from None
    return moment


def _set(kind: Type, value: Value) -> Value:
    if not isinstance(value, list):
        raise _refuse("list", value)
    assert kind.inner is not None
    return [coerce(kind.inner, item) for item in value]


def _map(kind: Type, value: Value) -> Value:
    if not isinstance(value, dict):
        raise _refuse("dictionary", value)
    assert kind.inner is not None
    assert kind.key is not None
    if kind.key.kind == "enum":
        for key in value:
            coerce(kind.key, key)
    return {key: coerce(kind.inner, item) for key, item in value.items()}


def _record(_kind: Type, value: Value) -> Value:
    if not isinstance(value, dict):
        raise _refuse("dictionary", value)
    return value


def _enum(kind: Type, value: Value) -> Value:
    text = _string(kind, value)
    # No exchange with a wrong enum value is on record; the wording is a guess, the code is not.
    if text not in data_model().enums.get(kind.name, (text,)):
        raise ApiError("INTERNAL_ERROR", f'Failure("Unknown enum value {text} of {kind.name}")')
    return text


_READERS: Mapping[str, Callable[[Type, Value], Value]] = {
    "int": _int,
    "float": _float,
    "bool": _bool,
    "datetime": _datetime,
    "set": _set,
    "map": _map,
    "record": _record,
    "enum": _enum,
}


def _sketch(value: Value) -> str:
    """How the server prints a value that it did not expect."""
    if isinstance(value, bool):
        return f"B({str(value).lower()})"
    if isinstance(value, dict):
        return "{" + "; ".join(f"{key}:{_sketch(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + "; ".join(map(_sketch, value)) + "]"
    letter = {int: "I", float: "F"}.get(type(value), "S")
    return f"{letter}({value})"
