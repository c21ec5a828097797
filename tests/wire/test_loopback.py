"""Addresses and certificates of simulated hosts."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest

from simulator.wire.certificates import identity
from simulator.wire.loopback import NoFreeBlock, reserve


def test_two_simulators_on_one_port_get_different_blocks() -> None:
    first = reserve(3, 0)
    second = reserve(2, first.port)
    try:
        assert second.port == first.port
        assert not set(first.addresses) & set(second.addresses)
        assert [address.rpartition(".")[2] for address in first.addresses] == ["1", "2", "3"]
        assert len({address.rpartition(".")[0] for address in first.addresses}) == 1
    finally:
        first.release()
        second.release()


def test_a_released_block_is_free_again_and_stays_so_when_released_twice() -> None:
    first = reserve(1, 0)
    first.release()
    first.release()
    again = reserve(1, first.port)
    again.release()
    assert again.addresses == first.addresses


def test_a_port_on_which_somebody_listens_everywhere_is_refused_with_the_way_out() -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(NoFreeBlock, match="--port"):
            reserve(1, port)


def test_more_hosts_than_a_block_has_addresses_are_refused() -> None:
    with pytest.raises(NoFreeBlock, match="at most 254"):
        reserve(255, 0)


def test_an_identity_is_kept_while_name_and_address_stay(tmp_path: Path) -> None:
    first = identity(tmp_path, "xen1", "127.64.0.1")
    assert identity(tmp_path, "xen1", "127.64.0.1") == first
    moved = identity(tmp_path, "xen1", "127.64.9.1")
    assert moved.fingerprint_sha256 != first.fingerprint_sha256


def test_an_identity_names_the_host_and_its_address(tmp_path: Path) -> None:
    shown = identity(tmp_path, "xen1", "127.64.0.1")
    seen = ssl._ssl._test_decode_cert(str(_alone(tmp_path, shown.pem)))  # type: ignore[attr-defined]
    assert seen["subject"] == ((("commonName", "xen1"),),)
    assert seen["subjectAltName"] == (("IP Address", "127.64.0.1"),)
    assert shown.path.stat().st_mode & 0o777 == 0o600
    assert shown.not_before < shown.not_after
    assert len(shown.fingerprint_sha256.split(":")) == 32


def _alone(folder: Path, pem: str) -> Path:
    path = folder / "alone.crt"
    path.write_text(pem)
    return path
