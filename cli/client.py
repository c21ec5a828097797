"""Asking the daemon on this machine: HTTP over its Unix socket, with the standard library alone."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import quote

import msgspec

from cli.envelope import Failure, Fault, Finding, failure
from cli.render.text import line
from reconciler.messages import AskHold, AskRelease, Progress, Reply
from reconciler.status import Status

T = TypeVar("T")
SOCKET = "cxmd.sock"
ANSWER_WITHIN_S = 10.0
_WHO_MAY = "root, the daemon's own user and group cxm-admin may change; group cxm may read"
DECIDE_WITHIN_S = 45.0
"""A request may travel to the leader: the daemon gives up by itself, and says more of it than silence
would. Of a hold something is heard sooner than that."""

STALE_PLAN = "StalePlan"
DECLINED: Mapping[str, str] = MappingProxyType(
    {
        STALE_PLAN: "stale",
        "NotifyFailed": "partial",
        "NotAcknowledged": "partial",
        "NotObserved": "unknown",
    }
)
"""Verdicts of a request that was not accepted, by the daemon's reason; all others are `refused`."""


class NoDaemon(Exception):
    """No daemon answers on this socket; `reason` says how it failed."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"no daemon answers at {path}: {reason}")
        self.path, self.reason = path, reason


class Silent(NoDaemon):
    """The daemon is there, and says nothing: it is frozen, or has too much to do."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float | None) -> None:
        super().__init__("cxmd", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Control:
    """The control socket. Every request has a deadline; a refusal is a `Failure` (4, 5 or 7).

    `timeout_s` None: each kind of request has its own.
    """

    def __init__(self, path: Path, timeout_s: float | None = None) -> None:
        self.path, self._timeout_s = path, timeout_s

    def status(self) -> Status:
        return self.get("/v1/status", Status)

    def get(self, path: str, kind: type[T]) -> T:
        """The answer to a GET, decoded. Raises NoDaemon, Failure."""
        return _decoded(self._exchange("GET", path, None, ANSWER_WITHIN_S), kind)

    def why(self, obj: str, kind: type[T]) -> T:
        return self.get(f"/v1/why/{quote(obj)}", kind)

    def post(self, verb: str, ask: msgspec.Struct | None = None) -> Reply:
        """Ask for something; `by` is filled in by the daemon, which knows who is connected.

        A reply that is not accepted is a `Failure` with the daemon's reason.
        """
        body = b"{}" if ask is None else _without_asker(ask)
        return _accepted(
            _decoded(self._exchange("POST", f"/v1/{verb}", body, DECIDE_WITHIN_S), Reply)
        )

    def hold(self, ask: AskHold, told: Callable[[str], None]) -> Reply:
        """Ask for a hold; `told` hears where it stands and what it waits for. Raises NoDaemon, Failure.

        It stands where it is stored from the first moment on, whatever is waited for.
        """
        return self._brought("hold", ask, told)

    def release(self, ask: AskRelease, told: Callable[[str], None]) -> Reply:
        """Likewise for the end of one."""
        return self._brought("release", ask, told)

    def _brought(self, verb: str, ask: AskHold | AskRelease, told: Callable[[str], None]) -> Reply:
        within_s, stored, said = self._timeout_s or DECIDE_WITHIN_S, "", ""
        try:
            for row in self._rows("POST", f"/v1/{verb}", _without_asker(ask), within_s):
                line = _decoded(row, Progress)
                if line.reply is not None:
                    return _accepted(line.reply, stored)
                if line.id:
                    stored = line.id
                else:
                    said = line.waiting
                    told(f"{_what(verb, stored)} is in force on this node; waiting for {said}")
            raise NoDaemon(self.path, "it broke off its answer")
        except NoDaemon as absent:
            if not stored:
                raise
            raise _half_brought(verb, stored, said, absent.reason) from None

    def ask_for(self, verb: str, ask: msgspec.Struct, kind: type[T]) -> T:
        """The answer to a POST whose answer is more than yes or no. Raises NoDaemon, Failure."""
        body = msgspec.json.encode(ask)
        return _decoded(self._exchange("POST", f"/v1/{verb}", body, DECIDE_WITHIN_S), kind)

    def events(self, start: int) -> Iterator[bytes]:
        """Lines of the journal from `start` on. Raises NoDaemon."""
        within_s = self._timeout_s or ANSWER_WITHIN_S
        return self._rows("GET", f"/v1/events?from={start}", None, within_s)

    def follow(self, start: int, quiet_s: float | None) -> Iterator[bytes]:
        """Lines from `start` on as they come, until the daemon ends or nothing came for `quiet_s`.

        Either end is told by NoDaemon. None: nothing may happen for hours.
        """
        return self._rows("GET", f"/v1/events?from={start}&follow=1", None, quiet_s)

    def _rows(
        self, method: str, path: str, body: bytes | None, timeout_s: float | None
    ) -> Iterator[bytes]:
        connection = _Connection(self.path, timeout_s)
        try:
            response = self._request(connection, method, path, body)
            if response.status != http.client.OK:
                raise _refused(response.status, response.read())
            while row := response.readline():
                if row.strip():
                    yield row
        except (OSError, http.client.HTTPException) as error:
            raise self._absent(error) from None
        finally:
            connection.close()

    def _absent(self, error: Exception) -> Exception:
        """Who may not speak to it is told so: that is no daemon that is not there."""
        if isinstance(error, PermissionError):
            message = f"you may not speak to the daemon at {self.path}: {error.strerror}"
            return failure("refused", "Forbidden", message, _WHO_MAY)
        kind = Silent if isinstance(error, TimeoutError) else NoDaemon
        return kind(self.path, _reason(error))

    def _exchange(self, method: str, path: str, body: bytes | None, within_s: float) -> bytes:
        connection = _Connection(self.path, self._timeout_s or within_s)
        try:
            response = self._request(connection, method, path, body)
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._absent(error) from None
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise _refused(response.status, answer)
        return answer

    @staticmethod
    def _request(
        connection: _Connection, method: str, path: str, body: bytes | None
    ) -> http.client.HTTPResponse:
        headers = {} if body is None else {"Content-Type": "application/json"}
        connection.request(method, path, body, headers)
        return connection.getresponse()


def _without_asker(ask: msgspec.Struct) -> bytes:
    document = msgspec.to_builtins(ask)
    document.pop("by", None)
    return msgspec.json.encode(document)


def _decoded(answer: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer, type=kind)
    except msgspec.DecodeError as error:
        message = f"the daemon's answer is not understood: {error}"
        hint = "is cxmd of the same version as cxm? (restart it after an upgrade)"
        raise failure("error", "Protocol", message, hint) from None


def _accepted(reply: Reply, identity: str = "") -> Reply:
    if not reply.accepted:
        raise _declined(reply, identity)
    return reply


def _what(verb: str, hold: str) -> str:
    return f"the hold {hold}" if verb == "hold" else f"the release of {hold}"


def _half_brought(verb: str, hold: str, waiting: str, why: str) -> Failure:
    """It was stored before anything else was said of it, and stays so."""
    what = _what(verb, hold)
    waited = f"; the daemon was waiting for {waiting}" if waiting else ""
    message = (
        f"{what} stands: it is in force on this node, and goes on to the others{waited}: {why}"
    )
    fault = Fault("NotAcknowledged", message, "cxm status shows it; cxm members, who is reached")
    return Failure(Finding("partial", {"id": hold}, errors=(fault,)))


def _declined(reply: Reply, identity: str = "") -> Failure:
    """What is not done, or not by all, in the daemon's words. `identity`: of the hold it is about."""
    verdict = DECLINED.get(reply.reason, "refused")
    data: dict[str, object] = {"notes": list(reply.notes)} if reply.notes else {}
    data |= {"id": identity} if identity else {}
    fault = Fault(reply.reason or "Refused", reply.message)
    return Failure(Finding(verdict, data, [line(note) for note in reply.notes], errors=(fault,)))


def _refused(status: int, answer: bytes) -> Exception:
    """The daemon's own words where it sent some."""
    try:
        reply = msgspec.json.decode(answer, type=Reply)
    except msgspec.DecodeError:
        reply = Reply(accepted=False, message=answer.decode("utf-8", "replace").strip())
    if status == http.client.CONFLICT:
        return _declined(reply)
    message = reply.message or f"the daemon answered HTTP {status}"
    if status == http.client.FORBIDDEN:
        return failure("refused", reply.reason or "Forbidden", message, _WHO_MAY)
    verdict = "refused" if http.client.BAD_REQUEST <= status < 500 else "error"
    return failure(verdict, reply.reason or f"Http{status}", message)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"it broke off its answer ({type(error).__name__})"
