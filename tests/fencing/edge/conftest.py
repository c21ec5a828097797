"""Controllers and programs that a test may fence through."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from fencing.edge.agent import Agents, CredentialsError
from fencing.edge.running import boot_s
from tests.fencing.edge.bmcs import PASSWORD, SecondMakersBmc, SimulatedBmc

SECRETS: Mapping[str, Mapping[str, str]] = {
    "bmc": {"username": "admin", "password": PASSWORD},
    "wrong": {"username": "admin", "password": "swordfish"},
    "community": {"community": "wr1te-c0mmunity"},
}


def soon(within_s: float = 20.0) -> float:
    """An instant by which something must be over."""
    return boot_s() + within_s


def credentials(ref: str) -> Mapping[str, str]:
    if ref not in SECRETS:
        raise CredentialsError(f"secrets.d/{ref}: there is no such file")
    return SECRETS[ref]


@pytest.fixture
def own_programs(tmp_path: Path) -> Path:
    folder = tmp_path / "fence.d"
    folder.mkdir(mode=0o755)
    return folder


@pytest.fixture
def agents(own_programs: Path) -> Agents:
    return Agents(credentials, own_programs)


Written = Callable[[str, str], Path]


@pytest.fixture
def program(own_programs: Path) -> Written:
    """Writes a program of this node's own: `program(name, shell_text)`."""

    def written(name: str, text: str) -> Path:
        path = own_programs / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    return written


NewBmc = Callable[..., SimulatedBmc]


@pytest.fixture
def new_bmc(tmp_path: Path) -> Iterator[NewBmc]:
    """Makes controllers of ipmi_sim: `new_bmc("xen1", serial="...")`."""
    made: list[SimulatedBmc] = []

    def one(name: str = "bmc", **identity: str) -> SimulatedBmc:
        made.append(SimulatedBmc(tmp_path / name, **identity))
        return made[-1]

    yield one
    for bmc in made:
        bmc.thaw()
        bmc.stop()


@pytest.fixture
def bmc(new_bmc: NewBmc) -> SimulatedBmc:
    return new_bmc()


@pytest.fixture
def second_makers_bmc(tmp_path: Path) -> Iterator[SecondMakersBmc]:
    bmc = SecondMakersBmc(tmp_path / "pyghmi")
    yield bmc
    bmc.stop()
