"""What people read, against files: names, columns, signs. Times are in a fixed zone."""

from __future__ import annotations

from typing import get_args

import pytest
from msgspec.structs import replace

from cli.render import events
from cli.render.diff import diff_lines
from cli.render.events import event_line, minor
from cli.render.explain import resolved_lines
from cli.render.progress import NOTHING, progress
from cli.render.status import status_lines
from cli.render.text import Line, Span, ansi, line, plain, table
from cli.render.units import clock, size, span
from cli.render.why import why_lines
from reconciler import records
from reconciler.messages import Authorship
from reconciler.status import BoundStatus, Caveat, Status
from reconciler.why import Candidate, Past, Why
from schema.tree import load
from tests.cli import canned
from tests.cli.canned import GIB, MOMENT
from tests.cli.conftest import Cxm, Golden

WHY = Why(
    object="vm/ci2",
    known=True,
    subject="ci2-uuid",
    also=("vm/build2",),
    declared=Authorship(revision=146, author="alice", summary="ci2 to 16 GiB"),
    blocked=(canned.TOO_BIG,),
    past=Past(
        unmet_age_s={"power": 200.0}, foreign_age_s=(75.0,), failures=2, failing="X: said no"
    ),
    placement=Candidate(chosen=None, needs=16 * GIB, rejected=canned.TOO_BIG.rejected),
)


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("calm", canned.CALM),
        ("differs", canned.DIFFERS),
        ("rejected", canned.REJECTED),
        ("unknown", canned.UNKNOWN),
        ("offline", canned.OFFLINE),
        ("gated", canned.GATED),
        ("unread", canned.UNREAD),
        ("unplanned", canned.UNPLANNED),
    ],
)
def test_status_and_diff_of_each_state(name: str, status: Status, golden: Golden) -> None:
    golden(f"status-{name}", plain(status_lines(status, MOMENT)))
    golden(f"diff-{name}", plain(diff_lines(status, MOMENT)))


def test_status_with_everything_it_can_show(golden: Golden) -> None:
    rows = status_lines(canned.CALM, MOMENT, unmanaged=True, revision=True, vms=True)
    golden("status-full", plain(rows))


def test_bounds_say_what_would_prove_a_death_and_what_would_be_in_the_way(golden: Golden) -> None:
    oath = "hold, cxm confirm-off"
    bounds = (
        BoundStatus(
            node="xen1",
            by="power-off read back from bmc/xen1, then pdu1 and pdu2",
            within_s=58.0,
            otherwise=f"devices dead as well: {oath} xen1",
            without_power=("pdu1", "pdu2"),
        ),
        BoundStatus(
            node="xen2",
            by="power-off read back from bmc/xen2",
            within_s=58.0,
            otherwise=f"loss of power takes its controller, too: {oath} xen2",
        ),
    )
    caveats = (
        Caveat(object="node/xen2", reason="Unbound", message="bmc/xen2 proves nothing", remedy="R"),
        Caveat(object="vm/web1", reason="OperationBlocked", message="forbid start", remedy="S"),
    )
    told = replace(canned.CALM, bounds=bounds, caveats=caveats)
    golden("status-bounds", plain(status_lines(told, MOMENT, bounds=True)))


def test_events_one_line_each(golden: Golden) -> None:
    golden("events", plain(event_line(record, MOMENT) for record in canned.RECORDS))
    assert [record.seq for record in canned.RECORDS if minor(record.entry)] == [6]


def test_why(golden: Golden) -> None:
    golden("why", plain(why_lines(WHY, MOMENT, canned.OBSERVATION)))


def test_why_says_how_old_what_it_rests_on_is() -> None:
    old = replace(canned.OBSERVATION, age_s=63.0)
    calm = Why(object="vm/web1", known=True, subject=canned.WEB1)
    assert "as desired" in plain(why_lines(calm, MOMENT, canned.OBSERVATION))
    for seen, told in (
        (old, "? last seen 63 s ago by xen1; what follows may be untrue by now"),
        (None, "? the pool was never seen"),
    ):
        text = plain(why_lines(calm, MOMENT, seen))
        assert told in text
        assert "as desired" not in text
    partial = replace(canned.OBSERVATION, complete=False, missing=("node/xen2",))
    assert "seen 2 s ago by xen1; not heard: node/xen2" in plain(why_lines(calm, MOMENT, partial))


TREE = {
    "cluster.yaml": b"apiVersion: cxm/v1\nkind: Cluster\nname: lyon\n"
    b"id: 6caf76a5-7035-48ae-8280-ad3729a6f2e7\nmode: auto\ndefaults: {vm: {restart: now}}\n",
    "profiles/web.yaml": b"apiVersion: cxm/v1\nkind: Profile\nname: web\nvcpus: 2\n",
    "vms/web1.yaml": b"apiVersion: cxm/v1\nkind: VM\nname: web1\nmanage: enforce\n"
    b"match: {uuid: 73f80e52-a369-48b5-a441-4c46f147ecf9}\nextends: profile/web\n"
    b"labels: {role: web}\nmemory: 4GiB\n",
}


@pytest.mark.parametrize("field", ["VM.placement", "VM.memory", "VM.recovery", "VM.start"])
def test_explain_a_field(field: str, cxm: Cxm, golden: Golden) -> None:
    golden(f"explain-{field}", cxm("explain", field).out)


def test_explain_every_value_of_an_object(golden: Golden) -> None:
    loaded = load(TREE)
    assert loaded.errors == ()
    rows = loaded.provenance.resolved("vm/web1")
    golden("explain-resolved", plain(resolved_lines("vm/web1", rows)))


def test_colour_carries_nothing_alone() -> None:
    rows = diff_lines(canned.DIFFERS, MOMENT)
    assert "\x1b[" in ansi(rows)
    assert "\x1b[" not in plain(rows)
    for sign in ("> vm/web2", "~ vm/web1", "+ vm/db1", "# vm/ci2"):
        assert sign in plain(rows)


def test_a_name_cannot_command_the_terminal() -> None:
    row = line(Span("vm/\x1b[2Jevil\u202e", "bad"))
    assert plain([row]) == "vm/\\x1b[2Jevil\\u202e\n"
    assert "\x1b[2J" not in ansi([row])


def test_columns_are_as_wide_as_what_is_shown() -> None:
    rows: list[Line] = table([("a\n", "1"), ("bb", "2")])
    assert plain(rows) == "a\\n  1\nbb   2\n"


@pytest.mark.parametrize(
    ("count", "text"),
    [(4 * GIB, "4GiB"), (GIB + GIB // 2, "1.5GiB"), (5 << 20, "5MiB"), (0, "0B"), (1000, "1000B")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3.0, "0 s"), (12.4, "12 s"), (150.0, "2 min"), (7500.0, "2 h 5 min"), (200000.0, "2 d")],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_a_moment_of_another_day_has_its_date() -> None:
    assert clock(canned.EPOCH_S, MOMENT) == "09:14:04 +01:00"
    assert clock(canned.EPOCH_S - 86400, MOMENT) == "2026-11-21 09:14:04 +01:00"


def test_progress_speaks_at_the_start_each_tenth_and_at_the_end() -> None:
    def at(share: float) -> Status:
        return replace(canned.DIFFERS, in_flight=(replace(canned.FLIGHT, progress=share),))

    said: list[str] = []
    marks = NOTHING
    shares = ((0.0, 0.0), (1.0, 0.05), (2.0, 0.11), (3.0, 0.15), (40.0, 0.16))
    for mono_s, share in shares:
        rows, marks = progress(marks, at(share), mono_s)
        said += [f"{mono_s:g} {plain(rows)}"] if rows else []
    rows, marks = progress(marks, canned.CALM, 41.0)
    said.append(f"41 {plain(rows)}")
    assert [row.split()[0] for row in said] == ["0", "2", "40", "41"]
    assert said[0] == "0 > vm/web2 migrate  xen2 -> xen3\n"
    assert said[1] == "2 > vm/web2 migrate: running 11%\n"
    assert said[-1] == "41 > vm/web2 migrate: ended after 47 s\n"
    assert not marks


def test_a_restart_is_one_row_whose_calls_come_in_turn() -> None:
    restart = replace(canned.FLIGHT, object="vm/web1", verb="restart", message="4GiB -> 8GiB")
    stop, start = (replace(restart, txn=f"cxm-3-{n}", progress=0.0) for n in (1, 3))
    between = replace(canned.DIFFERS, in_flight=())
    said: list[str] = []
    marks = NOTHING
    flights = ((stop,), (), (replace(start, message="4GiB of 8GiB"),))
    for n, in_flight in enumerate(flights):
        rows, marks = progress(marks, replace(between, in_flight=in_flight), float(n))
        said.append(plain(rows))
    assert said == ["~ vm/web1 restart  4GiB -> 8GiB\n", "", "~ vm/web1 restart  4GiB of 8GiB\n"]
    rows, marks = progress(marks, canned.CALM, 9.0)
    assert plain(rows) == "~ vm/web1 restart: ended after 15 s\n"
    assert not marks


def test_every_kind_of_record_has_its_words() -> None:
    assert set(events._TELLERS) == set(get_args(records.AnyEntry))


@pytest.mark.parametrize(
    ("what", "name", "words"),
    [
        ("node.yaml", "node.yaml", ("clusterKeyRef", "notify", "list of map")),
        ("notify", "node.yaml.notify", ("exec", "webhook", "severity", "default warning")),
        ("node.yaml.engine.kind", "node.yaml.engine.kind", ("single | builtin | etcd",)),
        ("listen.snmp", "node.yaml.listen.snmp", ("not yet effective",)),
        ("node", "Node", ("heartbeat",)),
    ],
)
def test_explain_the_settings_of_a_node(
    what: str, name: str, words: tuple[str, ...], cxm: Cxm
) -> None:
    found = cxm("explain", what)
    assert (found.exit, found.out.split()[0]) == (0, name)
    assert all(word in found.out for word in words)
    assert "notify.exec" not in cxm("explain", "node.yaml.notify.exe").out
    assert 'did you mean "exec"' in cxm("explain", "node.yaml.notify.exe").err
