"""Stories from seeds, one after the other: the saved ones, then fresh ones, and a line of figures."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """`trace`: the pool's log and the journals, as text; `hours` are simulated ones."""

    seed: int
    episodes: int
    hours: float
    violations: tuple[str, ...]
    trace: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(f"seed {self.seed}: {violation}" for violation in self.violations)


@dataclass(frozen=True)
class Series:
    """`run` tells the story of a seed; `seeds` is the folder of those that once found something."""

    run: Callable[[int], Outcome]
    seeds: Path

    def saved(self) -> list[int]:
        """Kept for ever."""
        return sorted(int(path.stem) for path in self.seeds.glob("*.txt"))

    def unexplained(self) -> list[str]:
        """Saved seeds whose file does not say what was found."""
        files = sorted(self.seeds.glob("*.txt"))
        return [path.name for path in files if not path.read_text("utf-8").strip()]

    def main(self) -> int:
        """The exit status: 1 where anything was violated."""
        parser = argparse.ArgumentParser(description="Random faults in virtual time.")
        parser.add_argument("--seeds", type=int, default=100, help="how many fresh seeds")
        parser.add_argument("--hours", type=float, help="instead: so many simulated hours")
        parser.add_argument("--first", type=int, default=1_000, help="the first fresh seed")
        parser.add_argument("--seed", type=int, help="this one alone, with its trace")
        options = parser.parse_args()
        if options.seed is not None:
            return self._one(options.seed)
        began_s = time.monotonic()
        outcomes = list(self._all(options))
        sys.stdout.write(figures(outcomes, time.monotonic() - began_s) + "\n")
        return 1 if any(outcome.violations for outcome in outcomes) else 0

    def _all(self, options: argparse.Namespace) -> Iterator[Outcome]:
        """The saved seeds, then fresh ones until it is enough. Violations are told at once."""
        saved, hours = self.saved(), 0.0
        for number, seed in enumerate(chain(saved, count(options.first)), start=1):
            outcome = self.run(seed)
            hours += outcome.hours
            if outcome.violations:
                sys.stdout.write(f"{outcome}\n")
            # Days of traces would fill the memory.
            yield replace(outcome, trace=())
            fresh = number - len(saved)
            if fresh >= options.seeds if options.hours is None else hours >= options.hours:
                return

    def _one(self, seed: int) -> int:
        outcome = self.run(seed)
        sys.stdout.write("\n".join((*outcome.trace, str(outcome))) + "\n")
        return 1 if outcome.violations else 0


def figures(outcomes: Sequence[Outcome], took_s: float) -> str:
    """The one line."""
    episodes = sum(outcome.episodes for outcome in outcomes)
    hours = sum(outcome.hours for outcome in outcomes)
    violations = sum(len(outcome.violations) for outcome in outcomes)
    return (
        f"{len(outcomes)} seeds, {hours:.1f} simulated hours, {episodes} episodes,"
        f" {violations} violations, {episodes / took_s:.1f} episodes/s"
    )
