"""XML-RPC exactly as a real XenAPI server speaks it, which is not quite XML-RPC.

Deviations that clients rely on (recorded from a real server): strings carry no type tag, integers
travel as strings of digits, void is an empty string, and API failures are ordinary answers with
``Status`` ``Failure`` rather than faults. The one place where a true ``<i4>`` appears is the table
``valid_ref_counts`` of ``event.from``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from xml.parsers import expat

from simulator.values import DateTime, Value
from simulator.wire.rpc import Call, Malformed

# A client that nests deeper than this is broken or hostile; the parser itself would go on.
MAX_DEPTH = 64

# Counts are the only numbers that a real server tags; no published record has a field of this name.
_COUNTS = "valid_ref_counts"

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SPECIAL = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})


# --- encoding -------------------------------------------------------------------------------------


def encode_success(value: Value) -> bytes:
    """The answer to a call that went well; ``value`` is ``""`` for void."""
    return _response(_struct({"Status": "Success", "Value": value}))


def encode_failure(code: str, params: Sequence[str]) -> bytes:
    """An API failure: code and parameters, all strings."""
    return _response(_struct({"Status": "Failure", "ErrorDescription": [code, *params]}))


def encode_bare(value: Value) -> bytes:
    """An answer without ``Status``: only ``system.listMethods`` is answered so."""
    return _response(encode_value(value))


def encode_fragment(value: Value) -> str:
    """A lone ``<value>``: the text form in which a task's ``result`` holds its value."""
    return f"<value>{encode_value(value)}</value>"


def encode_value(value: Value) -> str:
    """The inside of a ``<value>`` element. Text ends where it stops being valid XML, as the real
    database cuts such strings before it stores them."""
    match value:
        case DateTime():
            return f"<dateTime.iso8601>{value}</dateTime.iso8601>"
        case str():
            return _text(value)
        case bool():
            return f"<boolean>{value:d}</boolean>"
        case int():
            return str(value)
        case float():
            return f"<double>{value:.16g}</double>"
        case Mapping():
            return _struct(value)
    return f"<array><data>{''.join(map(encode_fragment, value))}</data></array>"


def _response(inner: str) -> bytes:
    return (
        '<?xml version="1.0"?><methodResponse><params><param><value>'
        f"{inner}</value></param></params></methodResponse>"
    ).encode()


def _struct(members: Mapping[str, Value]) -> str:
    return f"<struct>{''.join(_member(name, value) for name, value in members.items())}</struct>"


def _member(name: str, value: Value) -> str:
    if name == _COUNTS and isinstance(value, Mapping):
        counts = "".join(
            f"<member><name>{_text(key)}</name><value><i4>{count}</i4></value></member>"
            for key, count in value.items()
        )
        return f"<member><name>{name}</name><value><struct>{counts}</struct></value></member>"
    return f"<member><name>{_text(name)}</name>{encode_fragment(value)}</member>"


def _text(text: str) -> str:
    broken = _NOT_XML.search(text)
    return (text if broken is None else text[: broken.start()]).translate(_SPECIAL)


# --- decoding -------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Element:
    tag: str
    children: list[_Element] = field(default_factory=list)
    text: str = ""

    def only(self, tag: str) -> _Element:
        """The single child, which must be a ``tag``; raises Malformed."""
        if len(self.children) != 1 or self.children[0].tag != tag:
            raise Malformed(f"Failure(<{self.tag}> must hold one <{tag}>)")
        return self.children[0]


def decode_call(body: bytes) -> Call:
    """The call in ``body``; raises Malformed for anything that is not a ``methodCall``.

    A document type is refused before anything in it is expanded, so entity tricks do not work.
    """
    root = _parse(body)
    if root.tag != "methodCall" or not root.children or root.children[0].tag != "methodName":
        raise Malformed("Failure(<methodCall> must start with <methodName>)")
    name, *rest = root.children
    params = rest[0].children if rest and rest[0].tag == "params" else []
    return Call(name.text, tuple(_value(param.only("value")) for param in params))


def _parse(body: bytes) -> _Element:
    document = _Element("")
    stack = [document]

    def start(tag: str, _attributes: dict[str, str]) -> None:
        if len(stack) > MAX_DEPTH:
            raise Malformed(f"Failure(elements nested deeper than {MAX_DEPTH})")
        element = _Element(tag)
        stack[-1].children.append(element)
        stack.append(element)

    def text(data: str) -> None:
        stack[-1].text += data

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _tag: stack.pop()
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        line, column = error.lineno, error.offset + 1
        raise Malformed(f'Xmlm.Error({line}:{column}, "{_complaint(error)}")') from None
    except (LookupError, ValueError) as error:
        # expat takes the encoding named in the XML declaration and asks Python's codecs for it.
        raise Malformed(f"Failure({error})") from None
    return document.children[0]


def _complaint(error: expat.ExpatError) -> str:
    """The real server's parser has its own words for the two commonest mistakes."""
    endings = (
        expat.errors.codes[expat.errors.XML_ERROR_NO_ELEMENTS],
        expat.errors.codes[expat.errors.XML_ERROR_UNCLOSED_TOKEN],
    )
    if error.code in endings:
        return "unexpected end of input"
    if error.code == expat.errors.codes[expat.errors.XML_ERROR_SYNTAX]:
        return "expected root element"
    return expat.ErrorString(error.code)


def _refuse_doctype(_name: str, _system: str | None, _public: str | None, _internal: bool) -> None:
    raise Malformed("Failure(a document type declaration is not accepted)")


def _value(element: _Element) -> Value:
    if not element.children:
        return element.text
    if len(element.children) != 1:
        raise Malformed("Failure(<value> must hold one element)")
    typed = element.children[0]
    decode = _DECODERS.get(typed.tag)
    if decode is None:
        raise Malformed(f"Failure(<{typed.tag}> is not a type)")
    try:
        return decode(typed)
    except ValueError:
        raise Malformed(f"Failure({typed.text!r} is not a <{typed.tag}>)") from None


def _integer(element: _Element) -> int:
    return int(element.text)


def _double(element: _Element) -> float:
    number = float(element.text)
    if not isfinite(number):
        raise ValueError
    return number


def _boolean(element: _Element) -> bool:
    if element.text.strip() not in ("0", "1"):
        raise ValueError
    return element.text.strip() == "1"


def _array(element: _Element) -> list[Value]:
    data = element.only("data").children
    if any(item.tag != "value" for item in data):
        raise Malformed("Failure(<data> may hold <value> only)")
    return [_value(item) for item in data]


def _struct_of(element: _Element) -> dict[str, Value]:
    pairs = [_pair(member) for member in element.children]
    return dict(pairs)


def _pair(member: _Element) -> tuple[str, Value]:
    match member:
        case _Element("member", [_Element("name", [], name), _Element("value") as value]):
            return name, _value(value)
    raise Malformed("Failure(<struct> may hold <member> with <name> and <value> only)")


_DECODERS: Mapping[str, Callable[[_Element], Value]] = {
    "string": lambda element: element.text,
    "int": _integer,
    "i4": _integer,
    "i8": _integer,
    "double": _double,
    "boolean": _boolean,
    "dateTime.iso8601": lambda element: DateTime(element.text),
    "array": _array,
    "struct": _struct_of,
}
