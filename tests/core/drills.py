"""Hearings for tests of live drills: xen2 hangs on two outlets, is drained, closed and empty; xen1 leads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace as with_parts

from msgspec.structs import replace

from fencing.ladder import Power, Reading
from fencing.live_drill import WINDOW_S as LISTENED_S
from membership.ledger import Drain, Fact, FactValue, Hold, Ledger
from membership.proofs import DrillStage, LiveDrill, Tie
from membership.roster import Voters
from membership.view import Peer, PeerState
from reconciler.accusing import Hearing
from reconciler.drilling import Seen
from reconciler.probing import Probing
from tests.core.court import EPOCH_S, NAMES, NODE, WEB, hearing, host, runs_on
from tests.core.stage import desired

PDU = {
    "agent": "fence_apc_snmp",
    "options": {"ip": "10.0.1.1", "snmp_version": "2c"},
    "credentialsRef": "pdu",
    "plugs": {"xen2": "2"},
}
TREE = desired(
    cluster={"fencing": {"agent": "fence_ipmilan"}},
    nodes={
        "xen1": {**NODE, "bmc": "10.0.0.1"},
        "xen2": {**NODE, "fencing": "both"},
        "xen3": {**NODE, "bmc": "10.0.0.3"},
    },
    vms={"web1": {"state": "running"}},
    policies={"both": {"levels": [["left", "right"], ["spare"]]}},
    devices={"left": PDU, "right": {**PDU, "plugs": {"xen2": "7"}}, "spare": PDU},
)
DRAIN = Drain(node="xen2", until_epoch_s=None, reason="a drill", by="alice")
SHUT: Mapping[str, Mapping[str, object]] = {"xen2": {"enabled": False}}
WINDOW_S = LISTENED_S + TREE.cluster.heartbeat.dead_after_s
ON = {"left": "on", "right": "on"}
OFF = {"left": "off", "right": "off"}


def ledger(*more: tuple[str, FactValue]) -> Ledger:
    said: tuple[tuple[str, FactValue], ...] = (
        ("drain/xen2", DRAIN),
        (f"may-run/{WEB}", runs_on("xen3")),
        *more,
    )
    return Ledger().merge(
        Fact(key=key, term=3, seq=seq, at_epoch_s=EPOCH_S, value=value)
        for seq, (key, value) in enumerate(said, start=1)
    )


def heard(
    states: Mapping[str, Peer] | None = None,
    *,
    known: Ledger | None = None,
    at_s: float = 0.0,
    probing: Probing | None = None,
    hosts: Mapping[str, Mapping[str, object]] = SHUT,
    on: str = "xen3",
) -> Hearing:
    """xen2 is drained, closed and empty; the pool's master is xen1."""
    boots = {name: Peer(state=PeerState.ALIVE, sees=NAMES, boot=f"{name}-1") for name in NAMES}
    found = hearing(
        boots | dict(states or {}),
        ledger=known if known is not None else ledger(),
        probing=probing,
        wished=TREE,
        hosts=hosts,
        on=on,
        at_s=at_s,
    )
    master = replace(found.observed.pool, master=host("xen1"))
    view = replace(found.view, voters=Voters(epoch=1, names=NAMES))
    return with_parts(found, observed=replace(found.observed, pool=master), view=view, acts=True)


def readings(
    at: Hearing, powers: Mapping[str, str], tie: Tie = Tie.NONE
) -> dict[tuple[str, str], Seen]:
    return {
        ("xen2", name): Seen(Reading(name, Power(power)), tie, at.now.mono_s)
        for name, power in powers.items()
    }


HELD: tuple[str, FactValue] = ("hold/H", Hold(id="H", reason="smoke", by="alice"))
ASKED = LiveDrill(
    id="D-3-9",
    node="xen2",
    host=host("xen2"),
    devices=("left", "right"),
    stage=DrillStage.ASKED,
    by="alice",
    reason="new cables",
    until_epoch_s=EPOCH_S + 120.0,
)
FALLEN = Peer(state=PeerState.DEAD, last_heard_s=20.0)
DEAF = {name: Peer(state=PeerState.ALIVE, sees=("xen1", "xen3")) for name in ("xen1", "xen3")}
SILENT = {**DEAF, "xen2": FALLEN}
BACK = {"xen2": Peer(state=PeerState.ALIVE, sees=NAMES, boot="xen2-2")}
