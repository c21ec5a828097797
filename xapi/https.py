"""`Transport` over HTTPS: verified before the first byte, bounded in time, size and number."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from xapi.address import Address, parse_address
from xapi.jsonrpc import Malformed, decode_answer, encode_call
from xapi.transport import FailureKind, JsonValue, TransportFailure, UnknownCertificate

CALLS_IN_FLIGHT = 20
"""Each connection costs the host a relay process; this is what Xen Orchestra keeps to as well."""

LOGINS_IN_FLIGHT = 64
"""Beside those: each goes to another host, and waiting behind calls to one would say nothing of it."""

BEGIN_S = 3.0
"""A request has left by then, or never does: whoever was allowed to ask may not be any more later.
So a slot, a connection and its handshake take no longer; none says anything of the toolstack behind."""

LOOK_S = 5.0
"""For a look at a certificate that was not accepted."""

MAX_ANSWER = 512 << 20
"""Bytes. A pool of 20,000 VMs takes some 150 MB in its first answer; more is a runaway."""

# Idle connections are ours to drop before the server does: a call that finds its connection just
# closed by the other side counts as sent, and a side-effecting one would be left unsure.
IDLE_S = 15.0

_BLOCKING = "event.from"
_LOGIN = "session.login_with_password"


def parse_fingerprint(text: str) -> bytes:
    """A SHA-256 fingerprint, 64 hexadecimal digits with or without colons; ValueError otherwise."""
    digits = re.sub(r"^sha-?256[:=]", "", text.strip(), flags=re.IGNORECASE).replace(":", "")
    if not re.fullmatch(r"[0-9a-fA-F]{64}", digits):
        raise ValueError(f"{text!r} is no SHA-256 fingerprint: 64 hexadecimal digits are expected")
    return bytes.fromhex(digits)


def format_fingerprint(digest: bytes) -> str:
    return digest.hex(":").upper()


class HttpsTransport:
    """Calls over kept-alive connections to any number of hosts.

    Trust is either the SHA-256 fingerprints of the certificates themselves, whatever name they
    bear (fresh hosts sign their own), or authorities: those of `ca_file`, else the system's, with
    the host name checked. ValueError for a bad fingerprint or both kinds at once.
    """

    def __init__(
        self, *, version: str, ca_file: Path | None = None, fingerprints: Sequence[str] = ()
    ) -> None:
        if ca_file is not None and fingerprints:
            raise ValueError("trust is either a CA file or fingerprints, not both")
        self._pins = _Pins([parse_fingerprint(text) for text in fingerprints])
        self._context = _unverified() if fingerprints else _verified(ca_file)
        self._agent = f"cxm/{version}"
        self._calls = asyncio.Semaphore(CALLS_IN_FLIGHT)
        self._own_slots = {
            _BLOCKING: asyncio.Semaphore(1),
            _LOGIN: asyncio.Semaphore(LOGINS_IN_FLIGHT),
        }
        self._session: aiohttp.ClientSession | None = None

    async def call(
        self, address: str, method: str, params: Sequence[JsonValue], deadline_s: float
    ) -> JsonValue:
        """As `Transport.call`."""
        limit = asyncio.timeout(min(deadline_s, BEGIN_S))
        attempt = _Attempt(limit, asyncio.get_running_loop().time() + deadline_s)
        try:
            async with limit, self._own_slots.get(method, self._calls):
                body = await self._post(
                    parse_address(address), encode_call(method, params), attempt
                )
            return decode_answer(body)
        except Malformed as error:
            raise _failure(FailureKind.HTTP, address, method, str(error), attempt) from None
        except (aiohttp.ClientError, OSError) as error:
            raise await self._explained(error, address, method, attempt) from error

    async def close(self) -> None:
        """As `Transport.close`."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _post(self, address: Address, payload: bytes, attempt: _Attempt) -> bytes:
        request = self._opened().post(
            address.url("/jsonrpc"),
            data=payload,
            ssl=self._context,
            trace_request_ctx=attempt,
            allow_redirects=False,
        )
        async with request as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_ANSWER:
                    response.close()
                    raise Malformed(f"an answer of more than {MAX_ANSWER >> 20} MiB")
            # API failures come with 200; 500 is what the server says to a request it cannot read.
            if response.status != 200:
                raise Malformed(f"HTTP {response.status}: {_page_text(bytes(body))}")
            return bytes(body)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0, ssl=self._pins if self._pins.known else True, keepalive_timeout=IDLE_S
                ),
                timeout=aiohttp.ClientTimeout(total=None),
                headers={"Content-Type": "application/json", "User-Agent": self._agent},
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[_tracing()],
            )
        return self._session

    async def _explained(
        self, error: Exception, address: str, method: str, attempt: _Attempt
    ) -> TransportFailure:
        if isinstance(error, aiohttp.ServerFingerprintMismatch):
            return UnknownCertificate(address, format_fingerprint(error.got))
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            fingerprint = await _shown_by(parse_address(address))
            if fingerprint is not None:
                return UnknownCertificate(address, fingerprint)
        return _failure(_kind(error), address, method, _said(error), attempt)


class _Attempt:
    """Whether the request of one call may have left: true once it has a connection.

    Until then `limit` is the time it has for that; after it, until `ends_s` of the loop.
    """

    def __init__(self, limit: asyncio.Timeout, ends_s: float) -> None:
        self._limit = limit
        self._ends_s = ends_s
        self.sent = False

    def leaves(self) -> None:
        self.sent = True
        self._limit.reschedule(self._ends_s)


class _Pins(aiohttp.Fingerprint):
    """Any of several fingerprints. aiohttp checks after the handshake, before the request."""

    def __init__(self, known: Sequence[bytes]) -> None:
        super().__init__(known[0] if known else bytes(32))
        self.known = frozenset(known)

    def check(self, transport: asyncio.Transport) -> None:
        shown = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        digest = hashlib.sha256(shown).digest()
        if digest not in self.known:
            host, port = transport.get_extra_info("peername")[:2]
            raise aiohttp.ServerFingerprintMismatch(self.fingerprint, digest, host, port)


def _tracing() -> aiohttp.TraceConfig:
    async def connected(_session: aiohttp.ClientSession, context: Any, _params: Any) -> None:
        context.trace_request_ctx.leaves()

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_create_end.append(connected)
    tracing.on_connection_reuseconn.append(connected)
    return tracing


def _verified(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _unverified() -> ssl.SSLContext:
    """For connections whose certificate is compared with pins, or only looked at."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def _shown_by(address: Address) -> str | None:
    """The fingerprint of whatever certificate `address` shows; nothing is sent to it."""
    try:
        async with asyncio.timeout(LOOK_S):
            _, writer = await asyncio.open_connection(address.host, address.port, ssl=_unverified())
    except OSError:
        return None
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return format_fingerprint(hashlib.sha256(shown).digest())


def _kind(error: Exception) -> FailureKind:
    match error:
        case TimeoutError():
            return FailureKind.TIMEOUT
        case ssl.SSLError() | aiohttp.ClientSSLError():
            return FailureKind.TLS
        case aiohttp.ClientConnectorError(os_error=cause):
            return kind_of_connecting(cause)
        case aiohttp.ClientResponseError():
            return FailureKind.HTTP
    return FailureKind.RESET


def kind_of_connecting(cause: OSError) -> FailureKind:
    """What a connection that did not come about says of the other side."""
    match cause:
        case ConnectionRefusedError():
            return FailureKind.REFUSED
        case TimeoutError():
            return FailureKind.TIMEOUT
        case ConnectionError():
            return FailureKind.RESET
        case OSError(errno=errno.EHOSTUNREACH | errno.EHOSTDOWN):
            return FailureKind.NO_HOST
    return FailureKind.UNREACHABLE


def _said(error: Exception) -> str:
    """The error in words; aiohttp's own text of a failed connection prints its TLS settings."""
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
        number = cause.errno or 0
        known = os.strerror(number) if number > 0 else cause.strerror
        return f"no connection: {known or cause or 'cut in the handshake'}"
    return str(error)


def _failure(
    kind: FailureKind, address: str, method: str, text: str, attempt: _Attempt
) -> TransportFailure:
    said = text or {FailureKind.TIMEOUT: "no answer in time"}.get(kind, "the connection broke")
    return TransportFailure(kind, f"{address}: {method}: {said}", sent=attempt.sent)


def _page_text(page: bytes) -> str:
    text = re.sub(r"<[^>]*>", " ", page[:2000].decode(errors="replace"))
    return " ".join(text.split())[:200] or "an empty page"
