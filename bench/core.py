"""What the core costs: decode, diff and plan from 200 to 20,000 VMs. CPU seconds and peak memory.

    python -m bench.core [--sizes 16,64] [--seed 1] [--keep]

Each figure comes from a process of its own, as CPU time (user and system) of the measured part alone;
peak memory is that of the whole process. Times are the least of several runs where one is short: on
a shared machine the least is what repeats. The same text is loaded by PyYAML's CSafeLoader, in the same
run: only the ratio is claimed.

*Cold load*: the whole tree, read and validated. *Commit to plan*: one file of it changed, read, compared
and planned. *Quiet*, *drain*, *lost*: diff and plan where nothing differs, where the fullest node is to be
emptied, and where the fullest node's VMs are all to be started elsewhere. *Step*: the reconciler takes in one
more observation in which nothing differs.

Prints a table and one last line of figures; ends with 1 where a floor is missed. `--keep` writes the
table to bench/results/core.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from bench.generate import SIZES, Size

RESULTS = Path(__file__).parent / "results" / "core.md"

Figures = Mapping[str, float]

COLUMNS = (
    ("cold", "cold load s", "{:.2f}"),
    ("loader", "CSafeLoader s", "{:.3f}"),
    ("ratio", "ratio", "{:.1f}"),
    ("cold_mib", "cold RSS MiB", "{:.0f}"),
    ("commit", "commit to plan s", "{:.3f}"),
    ("quiet", "quiet s", "{:.4f}"),
    ("drain", "drain s", "{:.4f}"),
    ("lost", "lost s", "{:.4f}"),
    ("plan_mib", "plan RSS MiB", "{:.0f}"),
    ("step", "step s", "{:.4f}"),
    ("step_mib", "step RSS MiB", "{:.0f}"),
)
"""Figure, heading and form."""


@dataclass(frozen=True)
class Bound:
    """A floor that must hold, and the goal that is aimed at."""

    figure: str
    floor: float
    goal: float
    unit: str

    def verdict(self, value: float) -> str:
        if value > self.floor:
            return "MISSED"
        return "goal met" if value <= self.goal else "floor held"


BOUNDS = (
    Bound("ratio", 30.0, 20.0, "x CSafeLoader, the worst size"),
    Bound("commit", 2.0, 0.3, "s from one changed file to the new plan, the largest size"),
    Bound("plan_mib", 400.0, 200.0, "MiB at the peak of diff and plan, the largest size"),
    Bound(
        "growth_drain", 1.3, 1.1, "exponent of diff and plan in the number of VMs, a node drained"
    ),
    Bound("growth_lost", 1.3, 1.1, "exponent of diff and plan in the number of VMs, a node lost"),
)


def measure(what: str, size: Size, seed: int) -> Figures:
    """The figures of one child process."""
    command = [sys.executable, "-m", "bench.measured", what, str(size), str(seed)]
    done = subprocess.run(  # noqa: S603
        command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True, check=True
    )
    figures: Figures = json.loads(done.stdout)
    return figures


def figures_of(size: Size, seed: int) -> Figures:
    cold = measure("cold", size, seed)
    loader = measure("loader", size, seed)
    plans = measure("plan", size, seed)
    steps = measure("step", size, seed)
    return {**cold, **loader, **plans, **steps, "ratio": cold["cold"] / loader["loader"]}


def growth(table: Mapping[Size, Figures], figure: str) -> float:
    """The exponent between the smallest size from 1,000 VMs on and the largest; nan for too few sizes."""
    sizes = [size for size in table if size.vms >= SIZES[1].vms]
    if len(sizes) < 2:
        return math.nan
    first, last = min(sizes, key=_vms), max(sizes, key=_vms)
    return math.log(table[last][figure] / table[first][figure]) / math.log(last.vms / first.vms)


def _vms(size: Size) -> int:
    return size.vms


def totals(table: Mapping[Size, Figures]) -> Figures:
    largest = table[max(table, key=_vms)]
    return {
        "ratio": max(figures["ratio"] for figures in table.values()),
        "commit": largest["commit"],
        "plan_mib": largest["plan_mib"],
        "growth_drain": growth(table, "drain"),
        "growth_lost": growth(table, "lost"),
    }


def rendered(table: Mapping[Size, Figures]) -> list[str]:
    """The table as Markdown, which is also what a terminal shows."""
    heads = ["hosts x VMs", *(heading for _, heading, _ in COLUMNS)]
    lines = [heads, ["---"] * len(heads)]
    for size, figures in table.items():
        lines.append([str(size), *(form.format(figures[key]) for key, _, form in COLUMNS)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    ]


def judged(found: Figures) -> list[str]:
    return [
        f"{bound.verdict(found[bound.figure]):10} {found[bound.figure]:7.2f} {bound.unit}"
        f" (floor {bound.floor:g}, goal {bound.goal:g})"
        for bound in BOUNDS
        if not math.isnan(found[bound.figure])
    ]


def about(seed: int) -> str:
    """Versions and kind of machine: what a figure means nothing without."""
    packages = ("msgspec", "ruamel.yaml", "jsonschema", "PyYAML")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    memory = next(
        int(line.split()[1]) >> 20
        for line in Path("/proc/meminfo").read_text("ascii").splitlines()
        if line.startswith("MemTotal")
    )
    cpus = len(os.sched_getaffinity(0))
    return (
        f"cxm {version('cxm')}, Python {platform.python_version()}, {versions}; "
        f"{platform.machine()}, {cpus} cores, {memory} GiB; seed {seed}."
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sizes", default=",".join(str(size.hosts) for size in SIZES))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="write the table to bench/results")
    given = parser.parse_args()
    wanted = {int(hosts) for hosts in given.sizes.split(",")}
    table: dict[Size, Figures] = {}
    for size in SIZES:
        if size.hosts in wanted:
            table[size] = figures_of(size, given.seed)
            sys.stderr.write(f"{size} done\n")
    found = totals(table)
    lines = [*rendered(table), "", *judged(found)]
    sys.stdout.write("\n".join([*lines, "", summary(table, found)]) + "\n")
    if given.keep:
        RESULTS.write_text(page(rendered(table), judged(found), about(given.seed)), "utf-8")
    missed = [bound for bound in BOUNDS if found[bound.figure] > bound.floor]
    return 1 if missed else 0


def summary(table: Mapping[Size, Figures], found: Figures) -> str:
    largest = max(table, key=_vms)
    exponent = found["growth_drain"]
    grows = "" if math.isnan(exponent) else f" at n^{exponent:.2f}"
    return (
        f"core: {largest}, load {found['ratio']:.1f}x CSafeLoader, commit to plan "
        f"{found['commit']:.2f} s, plan {table[largest]['drain']:.2f} s{grows}, "
        f"{found['plan_mib']:.0f} MiB"
    )


def page(table: Sequence[str], verdicts: Sequence[str], machine: str) -> str:
    said = __doc__.split("\n\n", 2)[2] if __doc__ else ""
    what = said.split("\n\nPrints")[0]
    bullets = "\n".join(f"* {' '.join(line.split())}" for line in verdicts)
    return (
        f"# Decode, diff and plan\n\n{machine}\n\n{what}\n\n"
        + "\n".join(table)
        + f"\n\n{bullets}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
