"""Explore every moment of a small pool: `make explore`. Prints what was looked at, and what was wrong."""

from __future__ import annotations

import argparse
import sys
import time

from tests.explore.search import ALL, Found, Search


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--faults", type=int, default=2)
    parser.add_argument("--states", type=int, default=300_000, help="look at so many at most")
    asked = parser.parse_args()
    begun_s = time.monotonic()
    found = Search(asked.nodes, asked.faults, ALL).run(asked.states)
    _show(found)
    took_s = time.monotonic() - begun_s
    sys.stdout.write(f"{asked.nodes} nodes, {asked.faults} faults: {found}, {took_s:.0f} s\n")
    return 0 if found.wrong is None else 1


def _show(found: Found) -> None:
    if found.reported:
        sys.stdout.write(f"{found.reported} ways to harm by a device that lied\n")
    if found.wrong is not None:
        sys.stdout.write("\n  ".join((found.wrong.rule, *found.wrong.way)) + "\n")


if __name__ == "__main__":
    sys.exit(main())
