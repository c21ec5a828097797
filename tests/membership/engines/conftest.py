"""The engines that the same tests are put to."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.membership.engines.engine_sets import BuiltinSet, EngineSet, EtcdSet, SingleSet
from tests.membership.etcd.real_etcd import EtcdCluster


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    cluster = EtcdCluster(tmp_path_factory.mktemp("etcd"))
    yield cluster
    cluster.close()


@pytest.fixture(params=["builtin", "etcd", "single"])
async def anyone(request: pytest.FixtureRequest) -> AsyncIterator[EngineSet]:
    """Each engine, with as many nodes as it has. Afterwards: never two of them might act."""
    made = _made(request)
    yield made
    await made.close()
    assert made.watch.broken() == []


@pytest.fixture(params=["builtin", "etcd"])
async def three(request: pytest.FixtureRequest) -> AsyncIterator[EngineSet]:
    """Each engine that has peers, with three nodes."""
    made = _made(request)
    yield made
    await made.close()
    assert made.watch.broken() == []


def _made(request: pytest.FixtureRequest) -> EngineSet:
    match request.param:
        case "builtin":
            return BuiltinSet()
        case "etcd":
            return EtcdSet(request.getfixturevalue("etcd"), str(uuid.uuid4()))
    return SingleSet()
