"""Recorded exchanges of a real server, sent to the simulator: same status, types, keys, codes.

The recordings are not part of this project. CXM_XENAPI_FACTS names the folder that holds them; a
set variable with nothing behind it is an error, an unset one a warning that nobody can overlook.
The facts that matter are also held, in other words, by the files in ``cases``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ruamel.yaml import YAML

from tests.wire.recorded import Known, load, name_book
from tests.wire.replay import Plan, Player
from tests.wire.served import served

HERE = Path(__file__).parent / "replay"


class Catalogue(msgspec.Struct, rename={"not_replayed": "not replayed"}):
    """Every recording: how it is replayed, or why it is not."""

    files: dict[str, Plan]
    not_replayed: dict[str, str]


CATALOGUE = msgspec.convert(YAML(typ="safe").load((HERE / "plan.yaml").read_text()), Catalogue)
PLANS: Mapping[str, Plan] = CATALOGUE.files
FACTS = os.environ.get("CXM_XENAPI_FACTS", "")
FOLDER = Path(FACTS) / "xenapi-transcripts"


def test_it_is_known_whether_there_are_recordings() -> None:
    if not FACTS:
        warnings.warn("CXM_XENAPI_FACTS is unset: no recorded exchange is replayed", stacklevel=1)
        return
    there = {path.name for path in FOLDER.glob("*.json")}
    planned = PLANS.keys() | CATALOGUE.not_replayed.keys()
    assert there == planned, f"CXM_XENAPI_FACTS={FACTS}: recordings that differ from the plan"


if FACTS:

    @pytest.fixture(scope="module")
    def book() -> dict[str, Known]:
        return name_book(FOLDER)

    @pytest.mark.parametrize("name", PLANS)
    async def test_the_recorded_exchanges_fit(
        name: str, book: Mapping[str, Known], tmp_path: Path
    ) -> None:
        plan, exchanges = PLANS[name], load(FOLDER / name)
        async with served(tmp_path, (HERE / plan.pool).read_text()) as running:
            found = await Player(running, book, plan).play(exchanges)
        fit = {index for index, differences in found.items() if not differences}
        assert fit.isdisjoint(plan.unmatched), _report(exchanges, found, plan)
        assert len(fit) + len(plan.unmatched) == len(exchanges), _report(exchanges, found, plan)


def _report(exchanges: Any, found: Mapping[int, list[str]], plan: Plan) -> str:
    lines = []
    for exchange in exchanges:
        if found[exchange.index] and exchange.index not in plan.unmatched:
            lines.append(f"{exchange.index} [{exchange.name}]")
            lines += [f"    {difference}" for difference in found[exchange.index]]
        if not found[exchange.index] and exchange.index in plan.unmatched:
            lines.append(f"{exchange.index} [{exchange.name}] fits: strike it from the plan")
    return "\n".join(lines)
