"""Every case: the plan that follows from its inputs, row by row."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import msgspec
import pytest

from reconciler.actions import Plan
from reconciler.diff import diff
from reconciler.observed import Observed
from reconciler.plan import plan
from tests.plan.cases import cases
from tests.plan.expansion import Expanded, expand
from tests.plan.rows import rows

ALL = dict(cases())


def planned(given: Expanded) -> Plan:
    drift = diff(
        given.desired,
        given.observed,
        given.ledger,
        given.journal,
        given.deaths,
        given.runs,
        given.now,
    )
    return plan(
        drift,
        given.desired,
        given.observed,
        given.view,
        given.ledger,
        given.journal,
        None,
        given.now,
    )


@pytest.mark.parametrize("name", ALL)
def test_the_plan_is_as_expected(name: str) -> None:
    case = ALL[name]
    given = expand(case).sighted()
    found = rows(planned(given), given.now.mono_s)
    assert found == case.expect, f"{name}: {case.rule}\n" + "\n".join(
        f'  - "{row}"' for row in found
    )


@pytest.mark.parametrize("name", ALL)
def test_the_order_of_the_pool_makes_no_difference(name: str) -> None:
    given = expand(ALL[name]).sighted()
    turned = replace(given, observed=backwards(given.observed))
    assert planned(turned) == planned(given)


def backwards(observed: Observed) -> Observed:
    return msgspec.structs.replace(
        observed,
        nodes=dict(reversed([*observed.nodes.items()])),
        vms=dict(reversed([*observed.vms.items()])),
        storages=dict(reversed([*observed.storages.items()])),
        networks=dict(reversed([*observed.networks.items()])),
    )


def test_no_two_cases_hold_the_same_rule() -> None:
    rules = Counter(case.rule for case in ALL.values())
    assert [rule for rule, count in rules.items() if count > 1] == []
    assert [name for name, case in ALL.items() if "\n" in case.rule.strip()] == []


def test_no_two_cases_have_the_same_inputs() -> None:
    inputs = Counter(
        repr((c.desired, c.observed, c.before, c.journal, c.ledger, c.view, c.now, c.silent))
        for c in ALL.values()
    )
    assert max(inputs.values(), default=0) <= 1
