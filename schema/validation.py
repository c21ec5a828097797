"""One document against the JSON Schema of its kind: every error, with its place, in our own words.

The kind is chosen in Python, never by `oneOf`, whose errors blame the wrong alternative.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from schema import fields, forms
from schema.dialect import Document, Path, Span
from schema.errors import ConfigError
from schema.suggest import did_you_mean, listed, nearest

_NOUNS = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    # In JSON Schema `$` is the end of the text; Python's also stands before a last line feed.
    return re.compile(pattern.replace("$", r"\Z"))


def _pattern(_: Any, pattern: str, value: Any, __: Any) -> Iterator[ValidationError]:
    if isinstance(value, str) and not _compiled(pattern).search(value):
        yield ValidationError(f"does not match {pattern}")


@functools.cache
def _validator(kind: str) -> Any:
    extended: Any = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]
    return extended(fields.document(kind))


class _Fault:
    """A ValidationError, which types every part of itself as possibly unset."""

    def __init__(self, error: ValidationError) -> None:
        self.where: Path = tuple(error.absolute_path)
        self.keyword = str(error.validator)
        self.bound: Any = error.validator_value
        self.value: Any = error.instance
        self.schema: Any = error.schema
        self.text = error.message
        self.of_key = "propertyNames" in error.absolute_schema_path


def check(kind: str, path: str, document: Document) -> list[ConfigError]:
    """All errors of `document` as an object of `kind` (or "settings"), in no particular order."""
    if not isinstance(document.value, dict):
        return no_mapping(path, document)
    faults = _validator(kind).iter_errors(document.value)
    return [error for fault in faults for error in _told(path, document, _Fault(fault))]


def accepts(kind: str, value: Any) -> bool:
    """Whether `check` would find nothing."""
    return bool(_validator(kind).is_valid(value))


def no_mapping(path: str, document: Document) -> list[ConfigError]:
    """The error of a document that has no keys at all."""
    found, span = forms.plain(document.value), document.nearest(()).value
    hint = "write keys and values, such as name: web1"
    return [_error(path, span, "V014", f"{found} is not a mapping", hint)]


def _error(path: str, span: Span, code: str, message: str, hint: str = "") -> ConfigError:
    return ConfigError(
        path=path,
        line=span.line,
        column=span.column,
        code=code,
        message=message,
        hint=hint,
        length=span.length,
    )


def _told(path: str, document: Document, fault: _Fault) -> Iterator[ConfigError]:
    if fault.of_key:
        # The error is about a key, which jsonschema gives as the value.
        place = document.nearest((*fault.where, fault.value))
        code, message, hint = forms.complaint(fault.schema["x-cxm-form"], fault.value)
        yield _error(path, place.key or place.value, code, message, hint)
        return
    teller = _TELLERS.get(fault.keyword, _other)
    for code, message, hint, spot in teller(fault, document):
        yield _error(path, spot, code, message, hint)


_Told = Iterator[tuple[str, str, str, Span]]


def _named(where: Path, text: str) -> str:
    """`text` after the key it is about: `memory: "8GB" is not a size`."""
    names = [str(step) for step in where if not isinstance(step, int)]
    return f"{names[-1]}: {text}" if names else text


def _unknown_keys(fault: _Fault, document: Document) -> _Told:
    known = list(fault.schema.get("properties", {}))
    patterns = fault.schema.get("patternProperties", {})
    for key in fault.value:
        if key in known or any(_compiled(pattern).search(key) for pattern in patterns):
            continue
        place = document.nearest((*fault.where, key))
        near = did_you_mean(key, known)
        hint = "" if near else f"the keys here are {listed(known, 24)}"
        if forms.names_a_secret(key):
            code, near = "V031", ""
            message = f'"{key}" would put a secret into the open'
            hint = forms.SECRETS_BELONG
        else:
            code, message = "V003", f'unknown key "{key}"{near}'
        yield code, message, hint, place.key or place.value


def _required(fault: _Fault, document: Document) -> _Told:
    # One fault for each missing key; its name stands only in jsonschema's own text.
    key = fault.text.split("'")[1]
    place = document.nearest(fault.where)
    hint = str(fault.schema["properties"].get(key, {}).get("description", ""))
    name = f"{'.'.join(map(str, fault.where))}.{key}" if fault.where else key
    yield "V015", f'"{name}" is missing', f"{key}: {hint}" if hint else "", place.key or place.value


# Values with a unit or a sign of their own: quotes around a bare number would not mend them.
_MEASURES = frozenset({"size", "duration", "percent", "rate", "requires", "ready"})


def _type(fault: _Fault, document: Document) -> _Told:
    span = document.spot(fault.where)
    value, wanted = fault.value, str(fault.bound)
    form = fault.schema.get("x-cxm-form")
    if value is not None and form in _MEASURES and not isinstance(value, dict | list):
        code, message, hint = forms.complaint(form, value)
        yield code, _named(fault.where, message), hint, span
        return
    hint = ""
    if value is None:
        hint = "give it a value, or remove the line"
    elif wanted == "string" and not isinstance(value, dict | list):
        hint = f'write "{document.written(fault.where)}"'
    elif wanted == "array":
        hint = (
            f"write [{forms.plain(value)}]" if isinstance(value, str) else "write [first, second]"
        )
    elif isinstance(value, str) and _reads_as(value, wanted):
        hint = f"write {value} without quotes"
    yield "V014", _named(fault.where, f"{_shown(value)} is not {_NOUNS[wanted]}"), hint, span


def _reads_as(text: str, wanted: str) -> bool:
    if wanted == "boolean":
        return text in ("true", "false")
    return wanted in ("integer", "number") and text.isascii() and text.isdigit()


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else forms.plain(value)


def _word(fault: _Fault, document: Document) -> _Told:
    words = fault.schema.get("enum") or [fault.schema["const"]]
    value = fault.value
    near = nearest(value, words) if isinstance(value, str) else None
    message = f"{_shown(value)} is not {'one of ' if len(words) > 1 else ''}{listed(words)}"
    if near:
        message += f'; did you mean "{near}"?'
    hint = "" if near else f"write {' or '.join(words)}" if len(words) < 3 else "choose one of them"
    yield "V016", _named(fault.where, message), hint, document.nearest(fault.where).value


def _form(fault: _Fault, document: Document) -> _Told:
    code, message, hint = forms.complaint(fault.schema["x-cxm-form"], fault.value)
    yield code, _named(fault.where, message), hint, document.nearest(fault.where).value


_BOUNDS: dict[str, Callable[[Any], str]] = {
    "minimum": lambda bound: f"at least {bound}",
    "maximum": lambda bound: f"at most {bound}",
    "minLength": lambda bound: "text that is not empty" if bound == 1 else f"{bound} characters",
    "maxLength": lambda bound: f"at most {bound} characters",
    "minItems": lambda bound: f"a list of at least {bound}",
    "minProperties": lambda bound: f"a mapping with at least {bound} key",
    "maxProperties": lambda bound: f"a mapping with at most {bound} keys",
}


def _bound(fault: _Fault, document: Document) -> _Told:
    wanted = _BOUNDS[fault.keyword](fault.bound)
    if fault.schema.get("x-cxm-one-of"):
        wanted = f"exactly one of {' and '.join(fault.schema['properties'])}"
    given = fault.value
    shown = _shown(given) if isinstance(given, int | float) else ""
    message = f"{shown} is out of bounds" if shown else "out of bounds"
    yield "V017", _named(fault.where, message), f"it must be {wanted}", document.spot(fault.where)


def _twice(fault: _Fault, document: Document) -> _Told:
    seen: list[object] = []
    for index, item in enumerate(fault.value):
        if item in seen:
            span = document.nearest((*fault.where, index)).value
            yield "V019", _named(fault.where, f"{_shown(item)} is listed twice"), "remove one", span
        seen.append(item)


def _other(fault: _Fault, document: Document) -> _Told:
    yield "V018", _named(fault.where, fault.text), "", document.nearest(fault.where).value


_TELLERS: dict[str, Callable[[_Fault, Document], _Told]] = {
    "additionalProperties": _unknown_keys,
    "required": _required,
    "type": _type,
    "enum": _word,
    "const": _word,
    "pattern": _form,
    "uniqueItems": _twice,
    **dict.fromkeys(_BOUNDS, _bound),
}
