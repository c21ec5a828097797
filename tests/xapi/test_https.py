"""Calls over real sockets: trust before the first byte, every way to fail, and a whole pool."""

from __future__ import annotations

import asyncio
import errno
import random
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from reconciler.actions import Done, SetNameLabel, Unsure
from reconciler.messages import PoolLost, PoolObserved
from simulator.serve import Simulation, simulation
from simulator.wire.certificates import Identity, identity
from tests.xapi.inprocess import POOL, WEB1, sessions
from xapi import https
from xapi.https import HttpsTransport, kind_of_connecting
from xapi.pool import PoolClient
from xapi.transport import FailureKind, TransportFailure, UnknownCertificate, XapiFailure

OTHER_PIN = "00" * 32

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Simulation]:
    spec = tmp_path / "pool.yaml"
    spec.write_text(POOL, "utf-8")
    async with simulation(spec, tmp_path / "s", port=0, speed=20.0) as running:
        yield running


def pinning(running: Simulation) -> HttpsTransport:
    return HttpsTransport(version="0.1", fingerprints=[host.fingerprint for host in running.hosts])


def client(running: Simulation, transport: HttpsTransport) -> PoolClient:
    addresses = [host.url.removeprefix("https://") for host in running.hosts]
    return PoolClient(
        transport, addresses, "root", "secret", "tests", "0.1", jitter=random.Random(1)
    )


async def test_a_pinned_pool_is_seen_changed_and_left(served: Simulation) -> None:
    told: list[PoolObserved | PoolLost] = []
    async with client(served, pinning(served)) as pool:
        watching = asyncio.create_task(pool.run(told.append))
        async with asyncio.timeout(10):
            while not told:
                await asyncio.sleep(0.02)
            assert await pool.perform("t1", SetNameLabel(vm=WEB1, label="new"), 10.0) == Done()
            while not _named(told[-1], "new"):
                await asyncio.sleep(0.02)
        watching.cancel()
        await asyncio.wait([watching])
    assert sessions(served.world) == []
    assert not [lost for lost in told if isinstance(lost, PoolLost)]


async def test_an_answer_cut_off_leaves_it_open_and_the_session_whole(served: Simulation) -> None:
    told: list[PoolObserved | PoolLost] = []
    served.world.faults.start("answer-lost", 60.0, method="VM.set_name_label", count="1")
    async with client(served, pinning(served)) as pool:
        watching = asyncio.create_task(pool.run(told.append))
        async with asyncio.timeout(10):
            while not told:
                await asyncio.sleep(0.02)
            answer = await pool.perform("t1", SetNameLabel(vm=WEB1, label="new"), 10.0)
            assert isinstance(answer, Unsure)
            while not _named(told[-1], "new"):
                await asyncio.sleep(0.02)
        assert len(sessions(served.world)) == 1
        watching.cancel()
        await asyncio.wait([watching])
    assert sessions(served.world) == []


def _named(told: PoolObserved | PoolLost, name: str) -> bool:
    return isinstance(told, PoolObserved) and told.observed.vms[WEB1].name == name


@pytest.mark.parametrize("fingerprints", [(), (OTHER_PIN,)])
async def test_an_unknown_certificate_is_told_and_gets_no_byte(
    served: Simulation, fingerprints: tuple[str, ...]
) -> None:
    """Neither pinned nor signed by an authority that we know."""
    pool = client(served, HttpsTransport(version="0.1", fingerprints=fingerprints))
    async with pool:
        with pytest.raises(UnknownCertificate) as caught:
            await pool.snapshot()
    shown = {host.url.removeprefix("https://"): host.fingerprint for host in served.hosts}
    assert caught.value.fingerprint == shown[caught.value.address]
    assert not caught.value.sent
    assert served.world.pool.db.rows("session") == []


@asynccontextmanager
async def listening(shown: Identity, handler: Handler) -> AsyncIterator[str]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=shown.server_context())
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"


@pytest.fixture
def shown(tmp_path: Path) -> Identity:
    return identity(tmp_path, "xen1", "127.0.0.1")


async def test_not_a_byte_of_a_call_reaches_a_stranger(shown: Identity) -> None:
    heard = bytearray()
    ended = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.read())
        writer.close()
        ended.set()

    transport = HttpsTransport(version="0.1", fingerprints=[OTHER_PIN])
    async with listening(shown, listen) as address:
        with pytest.raises(UnknownCertificate):
            await transport.call(address, "session.login_with_password", ["root", "secret"], 5.0)
        await ended.wait()
        await transport.close()
    assert bytes(heard) == b""


async def test_an_authority_vouches_for_name_and_address(
    served: Simulation, tmp_path: Path
) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("".join(served.world.pool.certificates.values()), "utf-8")
    async with client(served, HttpsTransport(version="0.1", ca_file=authority)) as pool:
        assert WEB1 in (await pool.snapshot()).vms


async def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    """The authority vouches for xen1 at one address; who shows it at another is refused."""
    elsewhere = identity(tmp_path, "xen1", "127.0.0.9")
    authority = tmp_path / "ca.pem"
    authority.write_text(elsewhere.pem, "utf-8")
    transport = HttpsTransport(version="0.1", ca_file=authority)

    async def never(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with listening(elsewhere, never) as address:
        with pytest.raises(UnknownCertificate):
            await transport.call(address, "host.get_all", ["s"], 5.0)
    await transport.close()


def test_trust_is_of_one_kind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not both"):
        HttpsTransport(version="0.1", ca_file=tmp_path / "ca.pem", fingerprints=[OTHER_PIN])
    with pytest.raises(ValueError, match="SHA-256"):
        HttpsTransport(version="0.1", fingerprints=["AB:CD"])


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_old_tls_is_refused(shown: Identity) -> None:
    old = shown.server_context()
    # Else the server's own library refuses it first.
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    old.maximum_version = ssl.TLSVersion.TLSv1_1

    async def never(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(never, "127.0.0.1", 0, ssl=old)
    transport = HttpsTransport(version="0.1", fingerprints=[shown.fingerprint_sha256])
    async with server:
        failure = await _failure(transport, _address(server), 5.0)
    await transport.close()
    # The server ends it without a word; all that can be told is that nothing was sent.
    assert not failure.sent
    assert "no connection" in failure.message


def _address(server: asyncio.Server) -> str:
    host, port = server.sockets[0].getsockname()
    return f"{host}:{port}"


async def _failure(transport: HttpsTransport, address: str, deadline_s: float) -> TransportFailure:
    with pytest.raises(TransportFailure) as caught:
        await transport.call(address, "host.get_all", ["OpaqueRef:s"], deadline_s)
    return caught.value


async def test_nobody_there(shown: Identity) -> None:
    async def never(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with listening(shown, never) as address:
        pass
    transport = HttpsTransport(version="0.1", fingerprints=[shown.fingerprint_sha256])
    failure = await _failure(transport, address, 5.0)
    assert (failure.kind, failure.sent) == (FailureKind.REFUSED, False)
    await transport.close()


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (OSError(errno.ECONNREFUSED, ""), FailureKind.REFUSED),
        (OSError(errno.ECONNRESET, ""), FailureKind.RESET),
        (ConnectionAbortedError("in the handshake"), FailureKind.RESET),
        (OSError(errno.ETIMEDOUT, ""), FailureKind.TIMEOUT),
        (OSError(errno.EHOSTUNREACH, ""), FailureKind.NO_HOST),
        (OSError(errno.ENETUNREACH, ""), FailureKind.UNREACHABLE),
        (OSError(errno.EMFILE, ""), FailureKind.UNREACHABLE),
        (socket.gaierror(socket.EAI_NONAME, ""), FailureKind.UNREACHABLE),
    ],
)
def test_what_a_failed_connection_says_of_the_other_side(cause: OSError, kind: FailureKind) -> None:
    assert kind_of_connecting(cause) is kind


async def test_a_handshake_that_never_ends(
    shown: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(https, "BEGIN_S", 0.2)
    released = asyncio.Event()

    async def mute(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    transport = HttpsTransport(version="0.1", fingerprints=[shown.fingerprint_sha256])
    async with server:
        failure = await _failure(transport, _address(server), 20.0)
        released.set()
    assert (failure.kind, failure.sent) == (FailureKind.TIMEOUT, False)
    await transport.close()


def _http(body: bytes, status: str = "200 OK", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\ncontent-length: {size}\r\n\r\n".encode() + body


ANSWERS = [
    (b"", FailureKind.RESET),
    (_http(b"<html><h1>no</h1></html>", "500 Internal Error"), FailureKind.HTTP),
    (_http(b"", "302 Found"), FailureKind.HTTP),
    (_http(b"{oops"), FailureKind.HTTP),
    (_http(b"[]"), FailureKind.HTTP),
    (_http(b'{"result":', length=400), FailureKind.RESET),
    (b"SSH-2.0-OpenSSH\r\n\r\n", FailureKind.HTTP),
    (_http(b'{"result":"' + b"x" * 5000 + b'"}'), FailureKind.HTTP),
]


@pytest.mark.parametrize(("answer", "kind"), ANSWERS)
async def test_answers_that_are_none(
    shown: Identity, monkeypatch: pytest.MonkeyPatch, answer: bytes, kind: FailureKind
) -> None:
    monkeypatch.setattr(https, "MAX_ANSWER", 4096)

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    transport = HttpsTransport(version="0.1", fingerprints=[shown.fingerprint_sha256])
    async with listening(shown, reply) as address:
        failure = await _failure(transport, address, 5.0)
    assert (failure.kind, failure.sent) == (kind, True)
    assert "OpaqueRef:s" not in failure.message
    await transport.close()


async def test_no_answer_in_time(shown: Identity) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    transport = HttpsTransport(version="0.1", fingerprints=[shown.fingerprint_sha256])
    async with listening(shown, silent) as address:
        failure = await _failure(transport, address, 0.3)
        assert (failure.kind, failure.sent) == (FailureKind.TIMEOUT, True)
        await transport.close()


async def test_what_could_not_leave_soon_never_does(
    shown: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease may be over by the time at which a slot is free: nothing is sent late. Nor does a login,
    which goes to some other host, wait behind calls that nobody answers."""
    monkeypatch.setattr(https, "CALLS_IN_FLIGHT", 1)
    monkeypatch.setattr(https, "BEGIN_S", 0.3)
    heard: list[bytes] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"}"))
        await reader.read()
        writer.close()

    transport = HttpsTransport(version="0.1", fingerprints=[shown.fingerprint_sha256])
    async with listening(shown, silent) as address:
        hung = asyncio.create_task(_failure(transport, address, 1.5))
        await asyncio.sleep(0.1)
        late = await _failure(transport, address, 1.5)
        assert (late.kind, late.sent) == (FailureKind.TIMEOUT, False)
        with pytest.raises(TransportFailure) as login:
            await transport.call(address, "session.login_with_password", ["u", "p"], 0.5)
        assert login.value.sent
        first = await hung
        assert (first.kind, first.sent) == (FailureKind.TIMEOUT, True)
        await transport.close()
    assert [b"host.get_all" in call for call in heard] == [True, False]


async def test_calls_share_connections_and_events_have_their_own(served: Simulation) -> None:
    transport = pinning(served)
    master = served.hosts[0].url.removeprefix("https://")
    ref = await transport.call(
        master, "session.login_with_password", ["root", "secret", "1.0", "tests"], 5.0
    )
    waiting = asyncio.create_task(
        transport.call(master, "event.from", [ref, ["pool"], "", 0.0], 5.0)
    )
    token = (await waiting)["token"]  # type: ignore[index,call-overload]
    waiting = asyncio.create_task(
        transport.call(master, "event.from", [ref, ["pool"], token, 1.0], 5.0)
    )
    for _ in range(10):
        await transport.call(master, "host.get_all", [ref], 5.0)
    assert not waiting.done()
    await asyncio.gather(*(transport.call(master, "host.get_all", [ref], 5.0) for _ in range(40)))
    with pytest.raises(XapiFailure, match="HANDLE_INVALID"):
        await transport.call(master, "VM.get_record", [ref, "OpaqueRef:x"], 5.0)
    await waiting
    await transport.close()
