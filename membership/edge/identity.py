"""Who is at the other end of the peer channel: certificates that only holders of the cluster key can issue.

From each key an authority follows, the same one on every node. Each daemon issues itself a certificate
by the first key when it starts or the keys change, for a key pair that never leaves it, and trusts the
authorities of all keys: so keys can be changed one node after the other.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import ssl
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from membership.cluster_key import AUTHORITY, derived

_AUTHORITY_FROM = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_AUTHORITY_UNTIL = datetime.datetime(2120, 1, 1, tzinfo=datetime.UTC)
_VALID = datetime.timedelta(days=3650)
_SLACK = datetime.timedelta(days=1)
"""Clocks of peers may differ by so much before a certificate is not yet valid."""


def tls_name(node: str, cluster_id: str) -> str:
    """The name in the certificate of a node's daemon. `.invalid` is nobody's on any network."""
    return f"{node}.{cluster_id}.cxm.invalid"


def node_of(names: Sequence[str], cluster_id: str) -> str | None:
    """The node that a verified certificate with these names is of; None for another cluster's."""
    ending = tls_name("", cluster_id)
    found = [name.removesuffix(ending) for name in names if name.endswith(ending)]
    return found[0] if len(found) == 1 and found[0] else None


class Identity:
    """One daemon's identity among the peers. `server` demands no certificate of the handshake (a node
    that joins has none yet): who has shown none is nobody's peer. `fingerprint` is the SHA-256 of our
    own certificate, another one with each start."""

    def __init__(self, node: str, cluster_id: str, keys: Sequence[bytes]) -> None:
        self.node = node
        self.cluster_id = cluster_id
        self.keys = tuple(keys)
        authorities = "".join(_authority_certificate(key) for key in keys)
        self.server = _context(ssl.PROTOCOL_TLS_SERVER, authorities)
        self.server.verify_mode = ssl.CERT_OPTIONAL
        # A connection that is resumed would be let in by what was once verified.
        self.server.num_tickets = 0
        self.client = _context(ssl.PROTOCOL_TLS_CLIENT, authorities)
        certificate, key = _issued(node, cluster_id, keys[0])
        self.fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.decode())).digest()
        for context in (self.server, self.client):
            _load(context, certificate, key)


def _context(protocol: ssl._SSLMethod, authorities: str) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=authorities)
    return context


def _authority_key(key: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(derived(key, AUTHORITY))


def _authority_name(key: bytes) -> x509.Name:
    public = _authority_key(key).public_key().public_bytes_raw().hex()[:16]
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"cxm peers {public}")])


def _authority_certificate(key: bytes) -> str:
    """The same bytes on every node: nothing in it is by chance or by date."""
    own = _authority_key(key)
    name = _authority_name(key)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(own.public_key())
        .serial_number(1)
        .not_valid_before(_AUTHORITY_FROM)
        .not_valid_after(_AUTHORITY_UNTIL)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
        .sign(own, None)
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _issued(node: str, cluster_id: str, key: bytes) -> tuple[bytes, bytes]:
    """A fresh certificate and its private key, both PEM."""
    own, authority = Ed25519PrivateKey.generate(), _authority_key(key)
    now = datetime.datetime.now(datetime.UTC)
    name = tls_name(node, cluster_id)
    issuer = x509.SubjectKeyIdentifier.from_public_key(authority.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node[:64])]))
        .issuer_name(_authority_name(key))
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False
        )
        .sign(authority, None)
    )
    private = own.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _load(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """OpenSSL reads key pairs from files only: one that is in memory, and in no folder."""
    with os.fdopen(os.memfd_create("cxm"), "wb") as file:
        file.write(certificate + key)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
