"""Trees to load: the sample, and small ones made in a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def sample() -> dict[str, bytes]:
    """The sample tree, by path relative to its root."""
    root = ROOT / "cluster-config"
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


Tree = Callable[[Mapping[str, str]], dict[str, bytes]]


@pytest.fixture
def tree() -> Tree:
    """Makes a tree of what is given and a cluster.yaml and two nodes, unless these are given."""

    def made(files: Mapping[str, str]) -> dict[str, bytes]:
        return {path: text.encode() for path, text in {**base(), **files}.items()}

    return made


def base() -> dict[str, str]:
    head = "apiVersion: cxm/v1\nkind: "
    identifier = "00000000-0000-4000-8000-00000000000"
    nodes = {
        f"nodes/xen{i}.yaml": f"{head}Node\nname: xen{i}\nhost: {{uuid: {identifier}{i}, "
        f"address: 10.0.0.{i}}}\nroles: [run]\nunfenced: accepted\nlabels: {{rack: a}}\n"
        for i in (1, 2)
    }
    cluster = f"{head}Cluster\nname: lyon\nid: {identifier}0\nmode: auto\n"
    return {"cluster.yaml": cluster, **nodes}
