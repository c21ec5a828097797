"""A self-signed server certificate per simulated host, as a fresh Xen server has one.

The subject's CN is the host's name and the only alternative name is its address. With a directory
the files are kept, so that a simulator started again shows the fingerprints that clients pinned.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_VALID = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a host shows to its clients."""

    pem: str
    """The certificate alone, as ``host.get_server_certificate`` answers it."""
    fingerprint_sha256: str
    """``AA:BB:…``, 32 bytes: what clients pin."""
    fingerprint_sha1: str
    not_before: datetime
    not_after: datetime
    path: Path
    """File with key and certificate, mode 0600."""

    def server_context(self) -> ssl.SSLContext:
        """A server side context; TLS 1.2 at least, as real servers demand."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.path)
        return context


def identity(folder: Path, host: str, address: str) -> Identity:
    """The identity kept in ``folder`` for this host and address, or a new one put there."""
    path = folder / f"{host}.pem"
    if path.exists():
        kept = x509.load_pem_x509_certificate(path.read_bytes())
        if _addresses(kept) == [IPv4Address(address)]:
            return _describe(kept, path)
    folder.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _self_signed(key, host, address)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return _describe(certificate, path)


def _self_signed(key: ec.EllipticCurvePrivateKey, host: str, address: str) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    # An hour of slack: a client whose clock is a little behind must not refuse us.
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + _VALID)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(address))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )


def _describe(certificate: x509.Certificate, path: Path) -> Identity:
    return Identity(
        pem=certificate.public_bytes(serialization.Encoding.PEM).decode(),
        fingerprint_sha256=certificate.fingerprint(hashes.SHA256()).hex(":").upper(),
        fingerprint_sha1=certificate.fingerprint(hashes.SHA1()).hex(":").upper(),  # noqa: S303
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        path=path,
    )


def _addresses(certificate: x509.Certificate) -> list[object]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return list(names.value.get_values_for_type(x509.IPAddress))
