"""The seam between what we want to say to a pool and how it gets there, and how it can fail.

Everything above `Transport` runs unchanged over HTTPS or over a world in the same process.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol, TypeAlias

JsonValue: TypeAlias = (
    "str | int | float | bool | Sequence[JsonValue] | dict[str, JsonValue] | None"
)
"""A value on the wire. Void is `""`, a reference is text, an int may come as digits."""

_REFERENCE = re.compile(r"OpaqueRef:[0-9A-Za-z-]+")


class Unavailable(Exception):
    """The pool did not do what was asked. `reason` is XenAPI's code or our word."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class XapiFailure(Unavailable):
    """The API answered with a failure: `code`, and `params` that are not to be relied upon."""

    def __init__(self, code: str, params: Sequence[str] = ()) -> None:
        self.code = code
        self.params = tuple(params)
        detail = ", ".join(without_references(param) for param in self.params)
        super().__init__(code, f"XenAPI answered {code}" + (f" ({detail})" if detail else ""))


class NotBegun(Unavailable):
    """We did not ask, or whoever we asked did not listen: surely nothing of it was carried out."""


class FailureKind(StrEnum):
    """How the exchange broke; the value is the reason that people read."""

    REFUSED = "Refused"
    """By a kernel that lives: nobody listens, as while a toolstack starts."""
    NO_HOST = "NoHost"
    """The network itself found nobody at that address."""
    UNREACHABLE = "Unreachable"
    """No way to ask at all: a name that is not known, no network of our own."""
    TIMEOUT = "Timeout"
    RESET = "ConnectionLost"
    TLS = "TlsFailed"
    HTTP = "BadAnswer"


class TransportFailure(Unavailable):
    """No answer came. `sent` is false only if the server certainly did not get the request."""

    def __init__(self, kind: FailureKind, message: str, *, sent: bool) -> None:
        super().__init__(kind.value, message)
        self.kind = kind
        self.sent = sent


class UnknownCertificate(TransportFailure):
    """The server shows a certificate that nothing vouches for; not a byte was sent to it.

    `fingerprint` is its SHA-256 as pairs of hexadecimal digits: what would have to be pinned.
    """

    def __init__(self, address: str, fingerprint: str) -> None:
        text = (
            f"{address} shows a certificate that is not trusted; if it is the right one, pin it: "
            f"--fingerprint {fingerprint}"
        )
        super().__init__(FailureKind.TLS, text, sent=False)
        self.reason = "UnknownCertificate"
        self.address = address
        self.fingerprint = fingerprint


class Transport(Protocol):
    """Carries one call of the API."""

    async def call(
        self, address: str, method: str, params: Sequence[JsonValue], deadline_s: float
    ) -> JsonValue:
        """The result of `method` at `address`, at most `deadline_s` seconds from now.

        `params` are positional, the session's reference first where the method has one. What could
        not be sent soon is not sent later either: whoever was allowed to ask may not be any more by
        then. Raises XapiFailure, TransportFailure or UnknownCertificate and nothing else.
        """

    async def close(self) -> None:
        """Let all connections go; nothing may be called after it."""


def without_references(text: str) -> str:
    """`text` for people: opaque references mean nothing outside this room."""
    return _REFERENCE.sub("(object)", text)
