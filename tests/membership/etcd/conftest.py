"""A real etcd for this folder, whole again before each test."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.membership.engines.engine_sets import EtcdSet
from tests.membership.etcd.real_etcd import EtcdCluster


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    cluster = EtcdCluster(tmp_path_factory.mktemp("etcd"))
    yield cluster
    cluster.close()


@pytest.fixture
def etcd(lasting: EtcdCluster) -> EtcdCluster:
    lasting.heal()
    return lasting


@pytest.fixture
async def nodes(etcd: EtcdCluster) -> AsyncIterator[EtcdSet]:
    """Three nodes. Afterwards: whatever happened to etcd, never two of them might act."""
    made = EtcdSet(etcd, str(uuid.uuid4()))
    yield made
    await made.close()
    assert made.watch.broken() == []
