"""Fixtures over real repositories and real svnserve."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edge.repositories import (
    ENVIRONMENT,
    PASSWORD,
    USER,
    MuteServer,
    Repository,
    free_port,
    listens,
    until,
)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


@pytest.fixture
def served(repository: Repository) -> Iterator[str]:
    """The repository by svnserve, which asks for USER and PASSWORD."""
    conf = repository.path / "conf"
    (conf / "svnserve.conf").write_text(
        "[general]\nanon-access = none\nauth-access = write\npassword-db = passwd\nrealm = test\n"
    )
    (conf / "passwd").write_text(f"[users]\n{USER} = {PASSWORD}\n")
    port = free_port()
    address = ("--listen-host", "127.0.0.1", "--listen-port", str(port))
    command = ["svnserve", "-d", "--foreground", *address, "-r", str(repository.path)]
    server = subprocess.Popen(command, env=ENVIRONMENT)
    until(lambda: listens(port))
    yield f"svn://127.0.0.1:{port}"
    server.kill()
    server.wait()


@pytest.fixture
def mute() -> Iterator[MuteServer]:
    server = MuteServer()
    yield server
    server.close()
