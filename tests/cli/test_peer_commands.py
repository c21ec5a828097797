"""What commands tell of peers and leadership, what they ask of the daemon, and how they exit."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from cli.render.peers import leader_lines, members_lines
from cli.render.status import status_lines
from cli.render.text import plain
from membership.edge.door import line_of
from membership.roster import Voters
from membership.view import SOCKET, Peer, PeerState, View, unknown
from reconciler.messages import Reply
from reconciler.status import Status
from reconciler.why import Why
from tests.cli import canned, canned_peers
from tests.cli.canned import MOMENT
from tests.cli.conftest import Cxm, Golden, Script

STATES = {
    "well": canned_peers.WELL,
    "waiting": canned_peers.WAITING,
    "taking-over": canned_peers.TAKING_OVER,
    "nobody": canned_peers.NOBODY,
    "troubled": canned_peers.TROUBLED,
    "mute": canned_peers.MUTE,
    "pair": canned_peers.PAIR,
    "voteless": canned_peers.VOTELESS,
    "held": canned_peers.HELD,
    "handing-over": canned_peers.HANDING_OVER,
}


@pytest.mark.parametrize("name", STATES)
def test_members_and_leader_of_each_state(name: str, golden: Golden) -> None:
    status = STATES[name]
    golden(f"members-{name}", plain([*members_lines(status), *leader_lines(status)]))


@pytest.mark.parametrize(
    "name", ["nobody", "troubled", "mute", "waiting", "unseen", "held", "voteless"]
)
def test_status_tells_of_trouble_among_peers(name: str, golden: Golden) -> None:
    every = {**STATES, "unseen": canned_peers.UNSEEN}
    golden(f"status-peers-{name}", plain(status_lines(every[name], MOMENT)))


def test_status_is_calm_where_all_peers_are_well() -> None:
    alone = plain(status_lines(canned.CALM, MOMENT))
    assert plain(status_lines(canned_peers.WELL, MOMENT)) == alone


NO_DAEMON = replace(canned.CALM, daemon=False, leadership=canned_peers.UNSEEN.leadership)


@pytest.mark.parametrize(
    ("status", "exit_", "word"),
    [
        (canned.CALM, 0, "converged"),
        (canned_peers.WAITING, 0, "converged"),
        (canned_peers.HELD, 4, "HELD"),
        (canned_peers.NOBODY, 4, "NOBODY LEADS"),
        (NO_DAEMON, 4, "NO DAEMON (none answers on xen1)"),
        (replace(canned.DIFFERS, daemon=False), 2, "NO DAEMON"),
    ],
)
def test_what_would_not_be_begun_is_not_all_right(
    status: Status, exit_: int, word: str, daemon: Script, cxm: Cxm
) -> None:
    daemon.statuses = [status]
    found = cxm("status")
    assert (found.exit, word in found.out.splitlines()[0]) == (exit_, True)


def test_a_hand_over_is_no_fault_of_the_next_leader() -> None:
    shown = plain(status_lines(canned_peers.HANDING_OVER, MOMENT))
    assert "takes no part" not in shown
    assert "the pool was not observed since" in shown


def test_the_disks_vote_and_whom_a_peer_misses_are_in_json(daemon: Script, cxm: Cxm) -> None:
    daemon.statuses = [canned_peers.PAIR]
    assert cxm("leader", "-o", "json").envelope["data"]["disk_votes"] is True
    daemon.statuses = [canned_peers.TROUBLED]
    peers = cxm("status", "-o", "json").envelope["data"]["peers"]
    assert peers[1]["not_seen"] == ["xen1", "xen4", "xen5", "xen6"]


@pytest.mark.parametrize(
    ("status", "members", "leader"),
    [
        (canned.CALM, 0, 0),
        (canned_peers.WELL, 0, 0),
        (canned_peers.WAITING, 0, 0),
        (canned_peers.NOBODY, 2, 2),
        (canned_peers.TROUBLED, 2, 0),
        (canned_peers.UNSEEN, 6, 6),
    ],
)
def test_exits(status: Status, members: int, leader: int, daemon: Script, cxm: Cxm) -> None:
    daemon.statuses = [status]
    assert (cxm("members").exit, cxm("leader").exit) == (members, leader)
    assert cxm("members", "-o", "json").envelope["exit"] == members
    assert cxm("leader", "-o", "json").envelope["exit"] == leader


def test_one_fault_of_a_peer_is_enough(daemon: Script, cxm: Cxm) -> None:
    well = [canned_peers.peer(name) for name in canned_peers.NAMES]
    for ill in (
        canned_peers.peer("xen3", sees=("xen1",)),
        canned_peers.peer("xen3", problem="twin"),
        canned_peers.peer("xen3", channels={"net1": "alive", "disk": "suspect"}),
        canned_peers.peer("xen3", "left"),
    ):
        daemon.statuses = [canned_peers.status(canned_peers.LEADERSHIP, *well[:2], ill)]
        assert cxm("members").exit == 2, ill


def test_the_same_as_data(daemon: Script, cxm: Cxm) -> None:
    daemon.statuses = [canned_peers.TROUBLED]
    data = cxm("members", "-o", "json").envelope["data"]
    assert data["node"] == "xen1"
    assert data["leadership"]["leader"] == "xen2"
    second = data["peers"][1]
    assert second["channels"] == {"net1": "alive", "net2": "dead", "disk": "alive"}
    assert second["not_seen"] == ["xen1", "xen4", "xen5", "xen6"]
    led = cxm("leader", "-o", "json").envelope["data"]
    assert (led["leader"], led["term"], led["state"]) == ("xen2", 7, "following")


# --- without cxmd ---------------------------------------------------------------------------------


@contextmanager
def heartbeats(config: Path, view: View) -> Iterator[None]:
    """The socket of `cxm-heartbeatd`, which says this and waits."""
    path = config.parent / "run" / SOCKET

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(line_of(view, 1.0))
            self.rfile.read()

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

    with Server(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


VIEW = View(
    me="xen1",
    term=7,
    leader="xen2",
    lead_until_s=0.0,
    engine="builtin",
    voters=Voters(epoch=1, revision=1, names=("xen1", "xen2")),
    peers={
        "xen1": Peer(state=PeerState.ALIVE, channels={"net1": PeerState.ALIVE}, sees=("xen2",)),
        "xen2": Peer(state=PeerState.ALIVE, channels={"net1": PeerState.ALIVE}, sees=("xen1",)),
    },
)


def test_where_cxmd_is_silent_its_neighbour_is_asked(config: Path, cxm: Cxm) -> None:
    with heartbeats(config, VIEW):
        found = cxm("members")
        assert found.exit == 0
        assert "as xen1 sees it: 2/2 peers alive, xen2 leads in term 7" in found.out
        assert "this is how cxm-heartbeatd sees it" in found.err
        assert cxm("leader").exit == 0
        assert cxm("leader", "--cluster", canned.CALM.cluster_id).exit == 0
        assert cxm("leader", "--cluster", "paris").exit == 6


def test_a_leader_without_its_cxmd_does_not_act(config: Path, cxm: Cxm) -> None:
    view = replace(VIEW, leader="xen1", lead_until_s=float("inf"))
    with heartbeats(config, replace(view, lead_until_s=1e18)):
        assert "not acting yet (without its cxmd)" in cxm("leader").out


def test_a_neighbour_that_knows_nothing_is_no_answer(config: Path, cxm: Cxm) -> None:
    with heartbeats(config, unknown("xen1", "builtin", 0, "no roster yet")):
        found = cxm("members", "-o", "json")
    assert found.exit == 6
    assert found.envelope["errors"][0]["code"] == "NoView"
    assert "no roster yet" in found.envelope["errors"][0]["message"]


def test_where_nobody_answers_it_is_not_known(config: Path, cxm: Cxm) -> None:
    for words in (("members",), ("leader",)):
        found = cxm(*words, "-o", "json")
        assert found.exit == 6
        fault = found.envelope["errors"][0]
        assert fault["code"] == "NoDaemon"
        assert str(config.parent / "run" / "cxmd.sock") in fault["message"]
        assert "systemctl start cxmd" in fault["hint"]


# --- hand over ------------------------------------------------------------------------------------


def test_handing_over_waits_until_another_leads(daemon: Script, cxm: Cxm) -> None:
    gone = canned_peers.status(canned_peers.led(leader=None, state="nobody"))
    other = canned_peers.status(canned_peers.led(leader="xen3", term=8))
    daemon.statuses = [canned_peers.WELL, canned_peers.WELL, gone, other]
    daemon.reply = Reply(accepted=True, message="xen2 hands over to whoever can lead")
    found = cxm("leader", "--hand-over")
    assert found.exit == 0
    assert "xen3 leads in term 8" in found.out
    assert "xen2 hands over to whoever can lead" in found.err
    assert daemon.posted == [("/v1/hand-over", {"ask": "hand-over", "to": None})]


def test_handing_over_to_a_node(daemon: Script, cxm: Cxm) -> None:
    other = canned_peers.status(canned_peers.led(leader="xen3", term=8))
    daemon.statuses = [canned_peers.WELL, other]
    assert cxm("leader", "--hand-over", "node/xen3").exit == 0
    assert daemon.posted[-1][1]["to"] == "xen3"
    daemon.statuses = [canned_peers.WELL, other]
    assert cxm("leader", "--hand-over", "xen1").exit == 5
    daemon.statuses = [canned_peers.WELL]
    asked = len(daemon.posted)
    assert cxm("leader", "--hand-over", "xen2").exit == 0
    assert len(daemon.posted) == asked, "xen2 leads already"


def test_handing_over_that_does_not_happen_times_out(daemon: Script, cxm: Cxm) -> None:
    again = canned_peers.status(canned_peers.led(term=8))
    daemon.statuses = [canned_peers.WELL, again]
    found = cxm("leader", "--hand-over", "--timeout", "500ms", "-o", "json")
    assert found.exit == 8
    assert "in the place of xen2" in found.envelope["errors"][0]["message"]
    daemon.statuses = [canned_peers.WELL]
    assert cxm("leader", "--hand-over", "--no-wait").exit == 0
    assert cxm("leader", "--no-wait").exit == 64


def test_handing_over_is_refused_in_the_words_of_the_daemon(daemon: Script, cxm: Cxm) -> None:
    daemon.code = 409
    daemon.reply = Reply(accepted=False, reason="Alone", message="nobody to hand over to")
    found = cxm("leader", "--hand-over")
    assert found.exit == 4
    assert "error[Alone]: nobody to hand over to" in found.err


# --- hold, release, notify ------------------------------------------------------------------------


def test_a_hold_says_how_it_ends(daemon: Script, cxm: Cxm) -> None:
    daemon.reply = Reply(accepted=True, message="H-xen1-5f", notes=("cxm release H-xen1-5f",))
    found = cxm("hold", "--reason", "UPS on battery")
    assert found.exit == 0
    assert "held: H-xen1-5f" in found.out
    assert "cxm release H-xen1-5f" in found.out
    assert daemon.posted == [("/v1/hold", {"ask": "hold", "reason": "UPS on battery"})]
    assert cxm("hold", "--reason", "x", "-o", "json").envelope["data"]["id"] == "H-xen1-5f"
    assert cxm("hold").exit == 64
    assert cxm("hold", "--reason", "x", "--cluster", "paris").exit == 4
    assert len(daemon.posted) == 2


def test_a_hold_that_the_leader_may_not_know_is_half_done(daemon: Script, cxm: Cxm) -> None:
    daemon.reply = Reply(
        accepted=False, reason="NotAcknowledged", message="H-xen1-5f is in force where it is stored"
    )
    found = cxm("hold", "--reason", "x")
    assert found.exit == 5
    assert "H-xen1-5f is in force where it is stored" in found.err


def test_what_a_hold_waits_for_is_told(daemon: Script, cxm: Cxm) -> None:
    daemon.waiting = (
        "1 of xen2, xen3 to store it (37 s at most)",
        "xen2, which leads, to store it",
    )
    daemon.stored = "H-xen1-5f"
    daemon.reply = Reply(accepted=True, message="H-xen1-5f")
    found = cxm("hold", "--reason", "x")
    assert found.exit == 0
    here = "the hold H-xen1-5f is in force on this node; waiting for "
    assert found.err.splitlines() == [f"{here}{what}" for what in daemon.waiting]
    assert "held: H-xen1-5f" in found.out
    assert cxm("hold", "--reason", "x", "-q").err == ""


def test_a_daemon_that_dies_while_a_hold_waits_has_stored_it(daemon: Script, cxm: Cxm) -> None:
    daemon.ends = False
    assert cxm("hold", "--reason", "x").exit == 1
    daemon.stored = "H-xen1-5f"
    found = cxm("hold", "--reason", "x")
    assert found.exit == 5
    assert "H-xen1-5f stands: it is in force on this node" in found.err
    daemon.waiting = ("xen2 to store it",)
    found = cxm("hold", "--reason", "x")
    assert found.exit == 5
    assert "the hold H-xen1-5f stands: it is in force on this node" in found.err
    assert "was waiting for xen2" in found.err
    found = cxm("hold", "--reason", "x", "-o", "json")
    assert found.envelope["data"] == {"id": "H-xen1-5f"}
    found = cxm("release", "H-xen1-5f")
    assert (found.exit, "the release of H-xen1-5f stands" in found.err) == (5, True)


def test_release_ends_one_hold_and_names_the_rest(daemon: Script, cxm: Cxm) -> None:
    daemon.statuses = [
        replace(canned_peers.HELD, exceptions=(replace(canned_peers.HOLD, object="H-xen2-60"),))
    ]
    daemon.reply = Reply(accepted=True, message="H-xen1-5f is released")
    found = cxm("release", "H-xen1-5f", "--reason", "mains are back")
    assert (found.exit, found.out) == (
        0, "H-xen1-5f is released\n  still held by H-xen2-60: nothing is begun\n"
    )  # fmt: skip
    assert daemon.posted == [
        ("/v1/release", {"ask": "release", "id": "H-xen1-5f", "reason": "mains are back"})
    ]


def test_release_of_an_unknown_id(daemon: Script, cxm: Cxm) -> None:
    daemon.code = 409
    message = "no hold has the id H-1; there is H-xen1-5f"
    daemon.reply = Reply(accepted=False, reason="NoSuchHold", message=message)
    found = cxm("release", "H-1")
    assert found.exit == 4
    assert message in found.err
    assert cxm("release").exit == 64


def test_a_hold_shows_in_status_of_one_object_too(daemon: Script, cxm: Cxm) -> None:
    daemon.statuses = [canned_peers.HELD]
    head = "lyon r145 AUTO HELD (cxm release H-xen1-5f ends it), converged 0 s ago"
    for words in ((), ("vm/web1",)):
        found = cxm("status", *words)
        assert found.out.startswith(head)
        assert "UPS on battery" in found.out
    two = (canned_peers.HOLD, replace(canned_peers.HOLD, object="H-2"))
    daemon.statuses = [replace(canned_peers.HELD, exceptions=two)]
    assert "HELD (by H-xen1-5f, H-2; cxm release ends each)" in cxm("status").out


def test_every_answer_names_the_cluster(daemon: Script, cxm: Cxm) -> None:
    daemon.statuses = [canned_peers.HELD]
    daemon.reply = Reply(accepted=True, message="H-2")
    for words in (("hold", "--reason", "x"), ("release", "H-2"), ("notify", "--test"), ("leader",)):
        assert cxm(*words, "-o", "json").envelope["cluster"] == "lyon"


def test_notify_tells_how_each_way_went(daemon: Script, cxm: Cxm) -> None:
    notes = ("exec /opt/page: told", "mail ops@example.org: told")
    daemon.reply = Reply(accepted=True, notes=notes)
    found = cxm("notify", "--test")
    assert (found.exit, found.out) == (0, "".join(f"{note}\n" for note in notes))
    assert daemon.posted == [("/v1/notify", {"ask": "notify"})]
    assert cxm("notify").exit == 64


def test_notify_that_fails_in_part(daemon: Script, cxm: Cxm) -> None:
    notes = ("exec /opt/page: told", "webhook https://hook: HTTP 500")
    daemon.code = 409
    daemon.reply = Reply(accepted=False, reason="NotifyFailed", message=notes[1], notes=notes)
    found = cxm("notify", "--test")
    assert found.exit == 5
    assert found.out == "".join(f"{note}\n" for note in notes)
    assert cxm("notify", "--test", "-o", "json").envelope["data"]["notes"] == list(notes)
    daemon.reply = Reply(accepted=False, reason="NoWay", message="node.yaml names no way")
    assert cxm("notify", "--test").exit == 4


@pytest.mark.parametrize(
    "words",
    [
        ("hold", "--reason", "x"),
        ("release", "H-1"),
        ("notify", "--test"),
        ("leader", "--hand-over"),
    ],
)
def test_what_is_asked_of_a_daemon_needs_one(
    words: tuple[str, ...], config: Path, cxm: Cxm
) -> None:
    found = cxm(*words, "-o", "json")
    assert (found.exit, found.envelope["errors"][0]["code"]) == (1, "NoDaemon")
    assert config.is_file()


# --- what others tell besides ---------------------------------------------------------------------


def test_a_freeze_says_what_it_takes_the_place_of(daemon: Script, cxm: Cxm) -> None:
    daemon.statuses = [replace(canned.DIFFERS, vms=(canned.vm("db2"),))]
    found = cxm("freeze", "vm/db2", "--for", "1h", "--reason", "restore")
    assert found.exit == 0
    was = "the freeze of vm/db2 (intent, drift) by alice, 30 min left: backup runs"
    assert f"in the place of {was}" in found.err


def test_why_exits_6_where_what_it_rests_on_is_old(daemon: Script, cxm: Cxm) -> None:
    daemon.why = Why(object="vm/web1", known=True, subject=canned.WEB1)
    assert cxm("why", "vm/web1", "-o", "json").envelope["observation"]["age_s"] == 0.0
    daemon.statuses = [canned.UNKNOWN]
    found = cxm("why", "vm/web1", "-o", "json")
    assert (found.exit, found.envelope["verdict"]) == (6, "unknown")
    assert found.envelope["data"]["object"] == "vm/web1"


def test_a_stream_of_json_stays_one_document_a_line(
    daemon: Script, cxm: Cxm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_off(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", broken_off)
    for words in (("watch", "--from", "14"), ("status", "--watch")):
        found = cxm(*words, "-o", "json")
        rows = [json.loads(row) for row in found.out.splitlines()]
        assert found.exit == 130
        assert rows[-1]["verdict"] == "interrupted"
        assert len(rows) > 1
    assert daemon.asked
