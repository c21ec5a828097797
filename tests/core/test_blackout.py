"""Blackout: what is noted of boots, and when everything waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from msgspec.structs import replace as with_fields

from fencing.evidence import absent
from membership.ledger import FactValue, Withdrawn
from membership.proofs import Boot, Boots, ColdStart, Lost, MayRun, Place
from membership.view import PeerState
from reconciler.accusing import Hearing, accused
from reconciler.adoption import adopt
from reconciler.blackout import noted
from tests.core.stage import pool
from tests.core.test_whatif import NAMES, everybody, hearing, tree
from tests.plan.expansion import identity

BEFORE, AFTER = "1000", "9000"
SEEN = Boots(hosts={identity("host", name): Boot(hint=BEFORE, daemon="") for name in NAMES})
RAN = MayRun(
    vm=identity("vm", "web1"), places=(Place(host=identity("host", "xen1"), term=1, seq=1),)
)


def site(
    boots: Mapping[str, str],
    *facts: tuple[str, FactValue],
    silent: tuple[str, ...] = (),
    before: Boots | None = SEEN,
) -> Hearing:
    """web1 ran on xen1, and web2 is shown on xen4; `boots` are the hints of now."""
    wanted = tree({"web1": {"state": "running"}, "web2": {"state": "running"}})
    real = pool(wanted, vms={"web1": {}, "web2": {"on": "xen4"}})
    hosts = {
        uuid: with_fields(host, boot_hint=boots.get(host.name, BEFORE))
        for uuid, host in real.nodes.items()
    }
    known: list[tuple[str, FactValue]] = [(f"may-run/{RAN.vm}", RAN), *facts]
    if before is not None:
        known.append(("boots", before))
    at = hearing(wanted, with_fields(real, nodes=hosts), known)
    peers = {
        name: with_fields(peer, state=PeerState.DEAD) if name in silent else peer
        for name, peer in everybody().peers.items()
    }
    return replace(at, view=with_fields(at.view, peers=peers))


def told(at: Hearing) -> dict[str, FactValue]:
    return dict(noted(at, accused(at), adopt(at.desired, at.observed)))


def test_the_first_look_notes_the_boots() -> None:
    assert told(site({}, before=None)) == {"boots": SEEN}
    assert told(site({})) == {}


def test_one_that_was_started_anew_is_noted() -> None:
    found = told(site({"xen2": AFTER}))
    assert found.keys() == {"boots"}
    boots = found["boots"]
    assert isinstance(boots, Boots)
    assert boots.hosts[identity("host", "xen2")].hint == AFTER


def test_a_survivor_makes_it_no_blackout() -> None:
    boots = dict.fromkeys(("xen1", "xen2"), AFTER)
    assert told(site(boots, silent=("xen3",))).keys() == {"boots"}


def test_all_here_and_started_anew_run_again_what_ran() -> None:
    found = told(site(dict.fromkeys(NAMES, AFTER)))
    lost = found.pop(f"lost/{RAN.vm}")
    assert lost == Lost(vm=RAN.vm, node="xen1", host=identity("host", "xen1"), certificate="")
    assert found.keys() == {"boots"}


def test_who_is_not_here_is_waited_for() -> None:
    boots = dict.fromkeys(("xen1", "xen2", "xen3"), AFTER)
    at = site(boots, silent=("xen4",))
    found = told(at)
    assert found["cold-start"] == ColdStart(absent=("xen4",))
    assert "boots" not in found
    again = site(boots, ("cold-start", found["cold-start"]), silent=("xen4",))
    assert told(again) == {}
    assert absent(again.ledger) == ("xen4",)


def test_nobody_is_powered_off_meanwhile() -> None:
    boots = dict.fromkeys(("xen1", "xen2", "xen3"), AFTER)
    cold = ("cold-start", ColdStart(absent=("xen4",)))
    at = site(boots, cold, silent=("xen4",))
    peers = {
        name: with_fields(peer, sees=("xen1", "xen2", "xen3"), last_heard_s=60.0)
        for name, peer in at.view.peers.items()
    }
    probing = at.probing.struck(("xen4",), 60.0, at.now)
    at = replace(at, view=with_fields(at.view, peers=peers), probing=probing)
    verdict = accused(at).verdicts["xen4"]
    assert (verdict.reason, verdict.may_look, verdict.may_shoot) == ("ColdStart", True, False)


def test_who_answers_and_has_not_told_its_boot_is_waited_for() -> None:
    boots = dict.fromkeys(("xen1", "xen2", "xen3"), AFTER)
    waits = ("cold-start", ColdStart(absent=("xen4",)))
    assert told(site(boots, waits))["cold-start"] == ColdStart(absent=(), untold=("xen4",))


def test_it_is_over_when_all_are_here() -> None:
    waits = ("cold-start", ColdStart(absent=(), untold=("xen4",)))
    found = told(site(dict.fromkeys(NAMES, AFTER), waits))
    assert isinstance(found["cold-start"], Withdrawn)
    assert "boots" in found
