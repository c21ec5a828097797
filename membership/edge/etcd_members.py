"""etcd's members behind their JSON gateway: one question at a time, to one member at a time.

For a worker thread: everything here blocks, within deadlines. Where a file of certificates is given
every member is spoken to by TLS and verified with it. Without one that is so too, with the
certificates that the system trusts, unless every endpoint is a loopback address: nothing is sent in
the open that leaves the machine.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct, field

from membership.edge.node_settings import EngineAccess
from membership.edge.secret_files import SecretError, read_secret

DEFAULT_PORT = 2379
LONGEST = 65536

_NOT_FOUND, _DENIED, _OFF, _NOT_LOGGED_IN = 5, 7, 9, 16
"""Codes of gRPC, which the gateway passes on."""

_NOT_ETCD = "its answer is not of etcd's /v3 gateway; is it etcd 3.4 or later?"


class _Trouble(Exception):
    """Why this attempt failed, for people."""


class Header(Struct):
    cluster_id: str = ""
    revision: int = 0


class KeyValue(Struct):
    key: bytes
    value: bytes = b""
    create_revision: int = 0
    mod_revision: int = 0
    lease: int = 0


class StreamError(Struct):
    code: int = field(default=0, name="grpc_code")
    message: str = ""


class Reply(Struct):
    """What any of the gateway's answers can hold; 0, "" or nothing where it is left out.

    A stream's answers are in `result`, and its refusals in `error`; that is a text, the same as
    `message`, in all others. `code` is not 0 where the question was refused.
    """

    header: Header = field(default_factory=Header)
    lease: int = field(default=0, name="ID")
    ttl_s: int = field(default=0, name="TTL")
    kvs: tuple[KeyValue, ...] = ()
    token: str = ""
    code: int = 0
    message: str = ""
    error: str | StreamError = ""
    result: Reply | None = None


class Asked(Struct, frozen=True):
    """An answer, and when the question that it answers left: seconds of the boot clock."""

    reply: Reply
    sent_s: float


class Members:
    """`troubles` says by endpoint what is wrong with it, as far as it was tried; read it between
    questions. `attempt_s` is the deadline for one member, `within_s` the time after which no further
    one is tried."""

    def __init__(
        self, access: EngineAccess, attempt_s: float, within_s: float, clock: Callable[[], float]
    ) -> None:
        self.troubles: dict[str, str] = {}
        self._access = access
        self._attempt_s, self._within_s = attempt_s, within_s
        self._clock = clock
        self._in_the_open = access.ca_file is None and all(map(_loopback, access.endpoints))
        self._trust: ssl.SSLContext | None = None
        self._at = 0
        self._connection: http.client.HTTPConnection | None = None
        self._token = ""
        self._cluster = ""

    def ask(self, path: str, question: object) -> Asked | None:
        """Ask the member that answered last, then the others in turn; None where none answers.

        What was asked may then have been carried out all the same, or may be yet.
        """
        if not self._access.endpoints:
            self.troubles["endpoints"] = (
                "none in node.yaml; set engine: {kind: etcd, endpoints: ...}"
            )
            return None
        body = msgspec.json.encode(question)
        until_s = self._clock() + self._within_s
        # Once more than there are members: a connection that idled may be gone without a word.
        for _ in range(len(self._access.endpoints) + 1):
            endpoint = self._access.endpoints[self._at]
            try:
                asked = self._logged_in(path, body)
            except _Trouble as error:
                self.troubles[endpoint] = str(error)
                self._turn()
            else:
                self.troubles.pop(endpoint, None)
                return asked
            if self._clock() >= until_s:
                break
        return None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _turn(self) -> None:
        self.close()
        self._at = (self._at + 1) % len(self._access.endpoints)

    # --- logging in -----------------------------------------------------------------------------

    def _logged_in(self, path: str, body: bytes) -> Asked:
        """A token lives for minutes, and a member that was restarted knows none."""
        if self._access.user is None:
            return self._accepted(self._post(path, body))
        fresh = not self._token
        if fresh:
            self._log_in(self._access.user)
        asked = self._post(path, body)
        if _token_is_old(asked.reply) and not fresh:
            self._log_in(self._access.user)
            asked = self._post(path, body)
        return self._accepted(asked)

    def _log_in(self, user: str) -> None:
        self._token = ""
        credentials = {"name": user, "password": self._password()}
        asked = self._post("/v3/auth/authenticate", msgspec.json.encode(credentials))
        self._token = self._accepted(asked).reply.token

    def _password(self) -> str:
        """Read anew at each login, so that a changed one counts without a restart."""
        if self._access.credential is None:
            raise _Trouble(f"user {self._access.user} has no password; set engine.credentialsRef")
        try:
            return read_secret(Path(self._access.credential))
        except SecretError as error:
            raise _Trouble(str(error)) from None

    def _accepted(self, asked: Asked) -> Asked:
        reply = asked.reply
        if reply.code in (0, _NOT_FOUND):
            return asked
        if _token_is_old(reply):
            self._token = ""
        raise _Trouble(f"{reply.message or f'code {reply.code}'}{self._advice(reply)}")

    def _advice(self, reply: Reply) -> str:
        if "authentication failed" in reply.message:
            return f"; check engine.user ({self._access.user}) and the file of its credentialsRef"
        if "user name is empty" in reply.message:
            return "; it wants a login: set engine.user and engine.credentialsRef"
        if reply.code == _OFF and self._access.user is not None:
            return "; enable it (etcdctl auth enable), or remove engine.user"
        if reply.code == _DENIED:
            return f"; grant a role of {self._access.user} readwrite on the prefix /cxm/"
        return ""

    # --- the wire -------------------------------------------------------------------------------

    def _post(self, path: str, body: bytes) -> Asked:
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = self._token
        connection = self._connected()
        try:
            sent_s = self._clock()
            connection.request("POST", path, body, headers)
            content = self._content(connection.getresponse(), sent_s)
        except TimeoutError:
            raise _Trouble(f"no answer within {self._attempt_s:g} s") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _Trouble(f"the connection broke: {_said(error)}") from None
        return Asked(reply=self._understood(content), sent_s=sent_s)

    def _content(self, response: http.client.HTTPResponse, sent_s: float) -> bytes:
        """All of the answer. The deadline of the socket is for each piece, this one for all."""
        content = b""
        while piece := response.read1(LONGEST):
            content += piece
            if len(content) > LONGEST:
                raise _Trouble(f"answers more than {LONGEST} bytes; is it etcd?")
            if self._clock() - sent_s > self._attempt_s:
                raise TimeoutError
        # Read to its end: otherwise the connection would not be free for the next question.
        response.close()
        return content

    def _understood(self, content: bytes) -> Reply:
        try:
            reply = msgspec.json.decode(content, type=Reply, strict=False)
        except (msgspec.DecodeError, RecursionError):
            raise _Trouble(_NOT_ETCD) from None
        reply = reply.result if reply.result is not None else reply
        if isinstance(reply.error, StreamError):
            reply.code, reply.message = reply.error.code, reply.error.message
        if not reply.code:
            self._same_store(reply.header.cluster_id)
        return reply

    def _same_store(self, cluster: str) -> None:
        """Two stores would each have a leader. One that was replaced on purpose needs new daemons."""
        if not cluster:
            raise _Trouble(_NOT_ETCD)
        self._cluster = self._cluster or cluster
        if cluster != self._cluster:
            raise _Trouble(
                f"is a member of another etcd cluster ({cluster}) than was seen before "
                f"({self._cluster}); correct engine.endpoints, or restart cxm-heartbeatd on every "
                "peer where etcd was rebuilt on purpose"
            )

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is not None:
            return self._connection
        try:
            connection = self._new_connection(*address(self._access.endpoints[self._at]))
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            self._trust = None
            by = self._access.ca_file or "what this system trusts; set engine.caFile"
            raise _Trouble(
                f"its certificate is not proven by {by}: {error.verify_message}"
            ) from None
        except TimeoutError:
            raise _Trouble(f"no connection within {self._attempt_s:g} s") from None
        except (OSError, ValueError) as error:
            raise _Trouble(f"no connection: {_said(error)}") from None
        self._connection = connection
        return connection

    def _new_connection(self, host: str, port: int) -> http.client.HTTPConnection:
        if self._in_the_open:
            return http.client.HTTPConnection(host, port, timeout=self._attempt_s)
        trust = self._trusting()
        return http.client.HTTPSConnection(host, port, timeout=self._attempt_s, context=trust)

    def _trusting(self) -> ssl.SSLContext:
        if self._trust is None:
            try:
                self._trust = ssl.create_default_context(cafile=self._access.ca_file)
            except OSError as error:
                message = f"{self._access.ca_file}: {_said(error)}; correct engine.caFile"
                raise _Trouble(message) from None
        return self._trust


def _token_is_old(reply: Reply) -> bool:
    return reply.code == _NOT_LOGGED_IN or "revision of auth store is old" in reply.message


def _said(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or repr(error)


def address(endpoint: str) -> tuple[str, int]:
    """(host, port) of ADDRESS:PORT; IPv6 addresses are in brackets, or have no port with them."""
    if endpoint.count(":") > 1 and not endpoint.startswith("["):
        return endpoint, DEFAULT_PORT
    parts = urlsplit(f"//{endpoint}")
    return parts.hostname or "", parts.port or DEFAULT_PORT


def _loopback(endpoint: str) -> bool:
    """By number only: what a name means can change."""
    try:
        return ip_address(address(endpoint)[0]).is_loopback
    except ValueError:
        return False
