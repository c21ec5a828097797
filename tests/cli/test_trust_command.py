"""`cxm trust`: the certificate that a server shows, compared by a person, added to node.yaml."""

from __future__ import annotations

import hashlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from cli.certificates import spelled
from schema.settings import read_settings
from tests.cli.conftest import Cxm


class Server(NamedTuple):
    address: str
    fingerprint: str


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Shows a certificate of its own to whoever connects."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=xen9", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    shown = ssl.PEM_cert_to_DER_cert(certificate.read_text(encoding="ascii"))
    door = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_serve, args=(door, context))
    thread.start()
    yield Server(f"127.0.0.1:{door.getsockname()[1]}", hashlib.sha256(shown).hexdigest())
    door.shutdown(socket.SHUT_RDWR)
    door.close()
    thread.join()


def _serve(door: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            link, _ = door.accept()
        except OSError:
            return
        try:
            context.wrap_socket(link, server_side=True).close()
        except OSError:
            link.close()


def pins(config: Path) -> tuple[str, ...]:
    settings = read_settings(config.read_bytes()).settings
    assert settings is not None
    return settings.xenapi.fingerprints


def test_what_nobody_agreed_to_is_not_trusted(config: Path, cxm: Cxm, server: Server) -> None:
    before = config.read_text(encoding="utf-8")
    found = cxm("trust", server.address)
    assert found.exit == 4
    assert "error[NotTrusted]" in found.err
    assert server.fingerprint[:2].upper() + ":" in found.err
    assert config.read_text(encoding="utf-8") == before


def test_a_fingerprint_is_added_and_the_rest_stays(config: Path, cxm: Cxm, server: Server) -> None:
    before = config.read_text(encoding="utf-8")
    config.chmod(0o640)
    found = cxm("trust", server.address, "--yes", "-o", "json")
    assert found.exit == 0
    assert found.envelope["data"]["fingerprint"] == server.fingerprint
    assert pins(config) == ("ab" * 32, server.fingerprint)
    listed = f'["{"ab" * 32}"'
    added = f'{listed}, "{spelled(server.fingerprint.upper())}"'
    assert config.read_text(encoding="utf-8") == before.replace(listed, added)
    assert config.stat().st_mode & 0o777 == 0o640
    again = cxm("trust", server.address, "-o", "json")
    assert (again.exit, again.envelope["data"]["changed"]) == (0, False)


def test_where_an_authority_is_trusted_there_is_nothing_to_add(
    config: Path, cxm: Cxm, server: Server
) -> None:
    text = config.read_text(encoding="utf-8")
    listed = f'fingerprints: ["{"ab" * 32}"]'
    config.write_text(text.replace(listed, "caFile: /etc/ssl/pool.pem"), encoding="utf-8")
    found = cxm("trust", server.address, "--yes", "-o", "json")
    assert (found.exit, found.envelope["errors"][0]["code"]) == (4, "ByAuthority")


def test_where_nothing_is_shown(config: Path, cxm: Cxm) -> None:
    found = cxm("trust", "127.0.0.1:1", "--yes", "-o", "json")
    assert (found.exit, found.envelope["errors"][0]["code"]) == (6, "NoCertificate")
    assert len(pins(config)) == 1


@pytest.mark.parametrize("host", ["", "10.0.0.1:99999", "10.0.0.1:port", "10.0.0.300"])
def test_what_is_no_address_is_a_usage_error(host: str, config: Path, cxm: Cxm) -> None:
    assert config.exists()
    assert cxm("trust", host).exit == 64
