"""What peers cost, and how well they tell silence from death.

    python -m bench.peers [--part idle,curve,many] [--seconds 30] [--beside HA3] [--keep]

*idle*: three nodes of the demo with everything converged; CPU and PSS of `cxmd` and `cxm-heartbeatd`
per node over the given seconds. With `--beside` (a script that runs three nodes of Pacemaker and
Corosync with as many resources, and prints their idle CPU and PSS) the ratio, from the same run, is
what is claimed.
*curve*: hearts in virtual time at one address each; how long a death takes to be believed, against how often
a living peer is suspected, for several limits and losses. *many*: 64 `cxm-heartbeatd` on this machine.

Prints tables and one last line of figures; ends with 1 where a floor is missed. `--keep` writes the
tables to bench/results/peers.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec

from bench.hearts import Curve, curve
from bench.stage import pool_of, staged
from membership.roster import Member, Roster, Timing, Voters

RESULTS = Path(__file__).parent / "results" / "peers.md"
VMS = 50
MANY = 64
TICK = os.sysconf("SC_CLK_TCK")
IDLE_FLOOR = 0.5
CLUSTER_ID = "11111111-2222-4333-8444-555555555555"


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def pss_mib(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return int(re.findall(r"^Pss:\s+(\d+)", text, re.M)[0]) / 1024


# --- idle -------------------------------------------------------------------------------------------


def idle(seconds: float) -> dict[str, float]:
    """Per node, the mean of three: CPU in percent of a core, and PSS in MiB."""
    pool = pool_of(VMS, on_lost=VMS // 4)
    with tempfile.TemporaryDirectory() as folder, staged(Path(folder), pool) as rig:
        nodes = [node["pids"] for node in rig.document["nodes"]]
        time.sleep(10.0)
        pids = [pid for node in nodes for name, pid in node.items() if name != "daemon"]
        before = sum(map(cpu_s, pids))
        time.sleep(seconds)
        spent = sum(map(cpu_s, pids)) - before
        beats = [node["heartbeatd"] for node in nodes]
        return {
            "cpu": 100.0 * spent / seconds / len(nodes),
            "pss": sum(map(pss_mib, pids)) / len(nodes),
            "heartbeatd_pss": sum(map(pss_mib, beats)) / len(beats),
        }


def beside(script: Path, seconds: float) -> dict[str, float]:
    """The same of Pacemaker and Corosync, as their runner tells it."""
    rounds = ["--rounds", "1", "--resources", str(VMS), "--idle", f"{seconds:g}"]
    done = subprocess.run(  # noqa: S603
        [sys.executable, str(script), *rounds], capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout.splitlines()[0])
    return {"cpu": float(told["idle_cpu_pct"]), "pss": float(told["pss"])}


# --- many -------------------------------------------------------------------------------------------


def many(seconds: float, count: int = MANY) -> dict[str, float]:
    """So many heartbeat daemons on loopback addresses, one second between heartbeats."""
    names = [f"n{number:02}" for number in range(1, count + 1)]
    members = tuple(
        Member(name=name, addresses=((f"127.0.3.{number}", 19850),), slot=number - 1)
        for number, name in enumerate(names, 1)
    )
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as closing:
        daemons = [_daemon(Path(folder) / name, name, members, closing) for name in names]
        until_s = time.monotonic() + 180.0
        sockets = [Path(folder) / name / "run/heartbeatd.sock" for name in names]
        while min(_hears(sockets[0]), _hears(sockets[-1])) < count:
            if time.monotonic() > until_s:
                raise SystemExit("the daemons do not all hear each other")
            time.sleep(1.0)
        before = sum(map(cpu_s, daemons))
        time.sleep(seconds)
        spent = sum(map(cpu_s, daemons)) - before
        return {
            "cpu": 100.0 * spent / seconds / count,
            "pss": sum(map(pss_mib, daemons)) / count,
            "heard": float(min(_hears(sockets[0]), _hears(sockets[-1]))),
        }


def _daemon(
    folder: Path, name: str, members: tuple[Member, ...], closing: contextlib.ExitStack
) -> int:
    for part in ("state", "run", "secrets.d"):
        (folder / part).mkdir(parents=True)
    for secret in ("pool", "key"):
        path = folder / "secrets.d" / secret
        path.touch(mode=0o600)
        path.write_text("k" * 40 + "\n", encoding="ascii")
    roster = Roster(
        cluster_id=CLUSTER_ID,
        me=name,
        members=members,
        voters=Voters(epoch=1, names=tuple(member.name for member in members)),
        timing=Timing(),
    )
    (folder / "state/membership.json").write_bytes(msgspec.json.encode(roster))
    (folder / "node.yaml").write_text(
        f"node: {name}\ncluster: {{id: {CLUSTER_ID}}}\nsource: {{url: 'file:///nowhere'}}\n"
        f"xenapi: {{addresses: [127.0.0.1], credentialsRef: pool, fingerprints: ['{'0' * 64}']}}\n"
        f"clusterKeyRef: key\nengine: {{kind: builtin}}\nlisten: {{heartbeat: 19850/udp}}\n"
        f"stateDir: {folder}/state\nrunDir: {folder}/run\n",
        encoding="utf-8",
    )
    program = str(Path(sys.executable).with_name("cxm-heartbeatd"))
    process = closing.enter_context(
        subprocess.Popen(  # noqa: S603
            [program, "--config", str(folder / "node.yaml")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    )
    closing.callback(process.kill)
    return process.pid


def _hears(path: Path) -> int:
    """How many peers this daemon believes alive, itself included; 0 where it does not answer."""
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(5.0)
        try:
            door.connect(str(path))
            line = door.makefile("rb").readline()
            peers = json.loads(line).get("peers", {})
        except (OSError, ValueError):
            return 0
    return sum(peer["state"] == "alive" for peer in peers.values())


# --- told -------------------------------------------------------------------------------------------


def report(parts: set[str], seconds: float, script: Path | None) -> tuple[list[str], bool]:
    """The tables, and whether every floor holds."""
    lines: list[str] = [machine(), ""]
    summary: list[str] = []
    good = True
    if "idle" in parts:
        ours = idle(seconds)
        lines += ["| per node, idle | CPU % of a core | PSS MiB |", "| --- | --- | --- |"]
        lines.append(f"| cxmd + cxm-heartbeatd | {ours['cpu']:.2f} | {ours['pss']:.1f} |")
        lines.append(f"| of it cxm-heartbeatd | | {ours['heartbeatd_pss']:.1f} |")
        summary.append(f"idle {ours['cpu']:.2f} % CPU, {ours['pss']:.0f} MiB PSS a node")
        if script is not None:
            theirs = beside(script, seconds)
            cpu, pss = ours["cpu"] / theirs["cpu"], ours["pss"] / theirs["pss"]
            name = "corosync + pacemaker"
            lines.append(f"| {name} | {theirs['cpu']:.2f} | {theirs['pss']:.1f} |")
            lines.append(f"| ratio | {cpu:.2f} | {pss:.2f} |")
            summary.append(f"{cpu:.2f} x the CPU and {pss:.2f} x the PSS of {name}")
            good = good and max(cpu, pss) <= IDLE_FLOOR
        lines.append("")
    if "curve" in parts:
        rows = curve()
        lines += _curve_table(rows)
        summary.append(_curve_line(rows))
    if "many" in parts:
        told = many(seconds)
        lines += [
            "| peers | heard by each | CPU % of a core, each | PSS MiB, each |",
            "| --- | --- | --- | --- |",
            f"| {MANY} | {told['heard']:.0f} | {told['cpu']:.2f} | {told['pss']:.1f} |",
            "",
        ]
        summary.append(f"{MANY} peers at {told['cpu']:.2f} % CPU each")
    return [*lines, "; ".join(summary)], good


def _curve_table(rows: Sequence[Curve]) -> list[str]:
    lines = [
        "| suspectAfter / interval | loss | believed silent after s | false suspicions per peer and hour |",
        "| --- | --- | --- | --- |",
    ]
    for row in rows:
        shown = f"{row.found_s:.1f}"
        lines.append(f"| {row.limit:g} | {row.loss:.0%} | {shown} | {row.false_per_hour:.2f} |")
    return [*lines, ""]


def _curve_line(rows: Sequence[Curve]) -> str:
    default = next(row for row in rows if row.limit == 5 and row.loss == 0.05)
    return (
        f"suspectAfter 5 intervals at 5 % loss: found after {default.found_s:.1f} s,"
        f" {default.false_per_hour:.2f} false suspicions per peer and hour"
    )


def machine() -> str:
    cores = os.cpu_count()
    return f"cxm {version('cxm')}, Python {platform.python_version()}, {cores} cores, {platform.machine()}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.peers", description="What peers cost.")
    parser.add_argument("--part", default="idle,curve,many")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--keep", action="store_true", help="write bench/results/peers.md")
    options = parser.parse_args()
    lines, good = report(set(options.part.split(",")), options.seconds, options.beside)
    text = "\n".join(lines)
    sys.stdout.write(text + "\n")
    if options.keep:
        RESULTS.write_text("# Peers\n\n" + text + "\n", encoding="utf-8")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
