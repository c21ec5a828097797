"""How soon the VMs of a lost server run again, beside Pacemaker with Corosync in the same run.

    python -m bench.failover [--part loss,many,noise] [--rounds 3] [--beside HA3] [--keep]

*loss*: a server of three peers loses its power, with 17 of 50 VMs: from the cut to the certificate, to the
first start that is ordered, to the last VM that runs; less the longest outage that is forgiven, which is
measured, too. Once for a server whose node follows, once for the leader's. *many*: 300 VMs, 100 of them lost.
*noise*: 100 times a server and its daemons stand still for 0.8 of `deadAfter`, then every core is busy for a
minute: nobody is to be powered off.

A start takes a simulated server 20 ms, as a start of Pacemaker's Dummy does. With `--beside` (a script that
cuts a node off three of Pacemaker and Corosync with as many resources) the ratio from the same run is what is
claimed. How long the pool's own calls last by which it lets go of a dead server (a connection to nowhere
fails after 3 s at least, twice) is told apart: there is no way around it, and nothing like it on the other
side.

Prints tables and one last line of figures; ends with 1 where a floor is missed. `--keep` writes the tables to
bench/results/failover.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import stillness
from bench.peers import machine
from bench.stage import LOST, Rig, pool_of, staged, until

RESULTS = Path(__file__).parent / "results" / "failover.md"
LATENCY = (
    "{host_boot: [110s, 112s], start: [20ms, 25ms], unreachable: 10ms,"
    " bmc: [1ms, 2ms], bmc_switch: [1ms, 2ms]}"
)
OUTAGES_S = (4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0)
"""Tried one after the other, with `deadAfter` 4 s."""
RECOVERED_WITHIN_S = 300.0
SETTLED_S = 5.0
TOKEN_MS = 1000
"""Theirs forgives 3.6 s then, a little less than ours."""
BLIPS_S = (3.3, 3.6, 3.9)
FLOORS = {"loss": 0.6, "many": 0.5}
WHO = {"other": "follower", "dc": "leader"}
"""Whose server is lost; theirs calls its leader so."""
SIZES = {"loss": (50, 17), "many": (300, 100)}


@dataclass(frozen=True)
class Loss:
    """Seconds from the cut. `pool_s` is how long the pool's own calls last by which it lets go of the
    server; `forgiven_s` the longest outage after which nobody is powered off."""

    lost: int
    forgiven_s: float
    fenced_s: float
    first_s: float
    last_s: float
    pool_s: float = 0.0

    @property
    def after_s(self) -> float:
        """To the last start, from the end of what is forgiven, without what the pool itself took."""
        return self.last_s - self.pool_s - self.forgiven_s


# --- ours -------------------------------------------------------------------------------------------


@contextmanager
def _cluster(vms: int, on_lost: int, leader: str) -> Iterator[Rig]:
    """One that nothing has happened to."""
    with (
        tempfile.TemporaryDirectory(prefix="cxm-bench-") as folder,
        staged(Path(folder), pool_of(vms, on_lost, LATENCY)) as rig,
    ):
        rig.type("echo 'limits: {startsPerNode: 32}' >> $WC/cluster.yaml")
        rig.type("svn commit -q -m 'as many starts as there are' $WC")
        rig.type("cxm wait all --timeout 120s")
        _led_by(rig, leader)
        time.sleep(SETTLED_S)
        yield rig


def outage() -> float:
    """The longest standstill of a server after which nobody is powered off, of those that are tried."""
    longest_s = 0.0
    with _cluster(12, 3, "xen1") as rig:
        for seconds in OUTAGES_S:
            stillness.stands_still(rig, LOST, seconds)
            time.sleep(SETTLED_S)
            if rig.events("fenced"):
                break
            longest_s = seconds
    return longest_s


def ours(vms: int, on_lost: int, forgiven_s: float, *, leads: bool) -> Loss:
    """One loss, in a cluster of its own. `leads`: it is the leader's server."""
    with _cluster(vms, on_lost, LOST if leads else "xen1") as rig:
        return _lost(rig, forgiven_s)


def _led_by(rig: Rig, name: str) -> None:
    if rig.leader() != name:
        rig.type(f"cxm leader --hand-over {name}")

    def acts() -> bool:
        told = rig.answer(f"cxm --config $NODES/{name}/node.yaml status")["leadership"]
        return bool(told["leader"] == name and told["state"] == "acting")

    until(acts, 60.0, f"{name} leads and acts")


def _lost(rig: Rig, forgiven_s: float) -> Loss:
    vms = frozenset(rig.running()[LOST])
    daemons = [Path(f"/proc/{pid}/cmdline") for pid in rig.pids(LOST)]
    before = len(rig.calls("VM.start_on"))
    rig.ask(op="power", host=LOST, to="off")
    until(lambda: not any(map(_alive, daemons)), 5.0, "its daemons are dead")
    cut_s = time.time()

    def again() -> bool:
        hosts = rig.running()
        return vms <= {vm for name, there in hosts.items() if name != LOST for vm in there}

    until(
        lambda: len(rig.calls("VM.start_on")) > before, RECOVERED_WITHIN_S, "something is started"
    )
    first_s = time.time()
    until(again, RECOVERED_WITHIN_S, f"all {len(vms)} VMs run again")
    last_s = time.time()
    time.sleep(SETTLED_S)
    assert rig.ask(op="corruption")["count"] == 0
    proven_s = rig.since("fenced", lambda entry: bool(entry["stage"] == "proven"))
    return Loss(
        lost=len(vms),
        forgiven_s=forgiven_s,
        fenced_s=proven_s - cut_s,
        first_s=first_s - cut_s,
        last_s=last_s - cut_s,
        pool_s=_longest(rig, "reset", cut_s) + _longest(rig, "write-off", cut_s),
    )


def _longest(rig: Rig, verb: str, since_s: float) -> float:
    """The longest that a call of this kind was waited for."""
    begun = {
        row["entry"]["txn"]: row["at_s"]
        for row in rig.events("intended")
        if row["entry"]["action"]["verb"] == verb
        and row["at_s"] > since_s
        and not row["entry"].get("by")
    }
    returned = {row["entry"]["txn"]: row["at_s"] for row in rig.events("answered")}
    return max(
        (returned[txn] - at_s for txn, at_s in begun.items() if txn in returned), default=0.0
    )


def _alive(command: Path) -> bool:
    try:
        return bool(command.read_bytes())
    except OSError:
        return False


# --- theirs -----------------------------------------------------------------------------------------


def theirs(script: Path, vms: int, rounds: int, forgiven_s: float, victim: str) -> list[Loss]:
    """As many losses of power, as their runner tells them."""
    told = _told(
        script,
        *("--token", str(TOKEN_MS), "--rounds", str(rounds), "--resources", str(vms)),
        *("--cut", "power", "--victim", victim),
    )
    return [
        Loss(
            lost=int(row["lost"]),
            forgiven_s=forgiven_s,
            fenced_s=row["fenced"],
            first_s=row["first"],
            last_s=row["last"],
        )
        for row in told
        if "last" in row
    ]


def forgiven(script: Path) -> float:
    """The longest of some cuts of a link that they did not answer by fencing."""
    blips = ",".join(f"{seconds:g}" for seconds in BLIPS_S)
    told = _told(
        script,
        *("--token", str(TOKEN_MS), "--rounds", "1", "--resources", "12"),
        *("--blip", blips, "--times", "1"),
    )
    return max(row["blip"] for row in told if "blip" in row and not row["fenced"])


def _told(script: Path, *words: str) -> list[dict[str, float]]:
    done = subprocess.run(  # noqa: S603
        [sys.executable, str(script), *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{script} {' '.join(words)}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


# --- told -------------------------------------------------------------------------------------------


def median(rows: Sequence[Loss]) -> Loss:
    """The row of which half of the others are slower."""
    return sorted(rows, key=lambda row: row.after_s)[len(rows) // 2]


HEAD = (
    "| | lost | forgiven s | fenced s | first start s | last start s | the pool's own s"
    " | last start after what is forgiven, less the pool's own, s |"
)


def _row(name: str, loss: Loss) -> str:
    figures = (loss.forgiven_s, loss.fenced_s, loss.first_s, loss.last_s, loss.pool_s, loss.after_s)
    return f"| {name} | {loss.lost} | " + " | ".join(f"{figure:.2f}" for figure in figures) + " |"


@dataclass(frozen=True)
class Rival:
    """The other cluster, where one is measured beside."""

    script: Path
    forgiven_s: float


@dataclass
class Told:
    """What is printed, and whether every floor holds. `forgiven_s` is ours."""

    lines: list[str]
    summary: list[str]
    forgiven_s: float = 0.0
    good: bool = True

    def losses(self, part: str, rounds: int, rival: Rival | None) -> None:
        """A table of one size: ours, and theirs where they are."""
        self.lines += [HEAD, "|" + " --- |" * 8]
        for victim, who in WHO.items():
            if part == "loss" or victim == "other":
                self._loss(part, rounds, rival, victim, who)
        self.lines.append("")

    def _loss(self, part: str, rounds: int, rival: Rival | None, victim: str, who: str) -> None:
        vms, on_lost = SIZES[part]
        runs = [ours(vms, on_lost, self.forgiven_s, leads=victim == "dc") for _ in range(rounds)]
        mine = median(runs)
        self.lines.append(_row(f"cxm, {who} lost", mine))
        said = f"{mine.lost} VMs of a {who} {mine.after_s:.1f} s after what is forgiven"
        if rival is not None:
            peer = median(theirs(rival.script, vms, rounds, rival.forgiven_s, victim))
            ratio = mine.after_s / peer.after_s
            whole = (mine.last_s - mine.forgiven_s) / peer.after_s
            self.lines.append(_row(f"corosync + pacemaker, {who} lost", peer))
            self.lines.append(
                f"| ratio, with the pool's own {whole:.2f} | | | | | | | {ratio:.2f} |"
            )
            said += f", {ratio:.2f} x corosync + pacemaker ({whole:.2f} x with the pool's own)"
            held = ratio <= FLOORS[part]
            said += "" if held else f", floor {FLOORS[part]:g} missed"
            self.good = self.good and held
        self.summary.append(said)

    def noise(self) -> None:
        found = stillness.noise()
        self.lines += [*found.lines(), ""]
        self.summary.append(found.summary())
        self.good = self.good and found.fenced == 0


def report(parts: Sequence[str], rounds: int, script: Path | None) -> Told:
    told = Told([machine(), ""], [])
    sizes = [part for part in SIZES if part in parts]
    rival = Rival(script, forgiven(script)) if script is not None and sizes else None
    told.forgiven_s = outage() if sizes else 0.0
    for part in sizes:
        told.losses(part, rounds if part == "loss" else 1, rival)
    if "noise" in parts:
        told.noise()
    return told


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.failover", description="How soon VMs run again.")
    parser.add_argument("--part", default="loss,many,noise")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--keep", action="store_true", help="write bench/results/failover.md")
    options = parser.parse_args()
    told = report(options.part.split(","), options.rounds, options.beside)
    text = "\n".join([*told.lines, "; ".join(told.summary)])
    sys.stdout.write(text + "\n")
    if options.keep:
        RESULTS.write_text("# Failover\n\n" + text + "\n", encoding="utf-8")
    return 0 if told.good else 1


if __name__ == "__main__":
    sys.exit(main())
