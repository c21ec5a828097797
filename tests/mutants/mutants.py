"""How many mutants of the modules that decide over life and death their own tests kill: `make mutants`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from tests.mutants.mutation import Mutant, mutants

ROOT = Path(__file__).resolve().parents[2]
FLOOR = 0.9

TESTS: dict[str, tuple[str, ...]] = {
    "fencing/brake.py": ("tests/fencing/test_brake.py",),
    "fencing/evidence.py": ("tests/fencing/test_may_run.py",),
    "fencing/may_run.py": ("tests/fencing/test_may_run.py",),
    "fencing/judgement.py": ("tests/fencing/test_judgement.py",),
    "fencing/live_drill.py": ("tests/fencing/test_live_drill.py",),
    "fencing/ladder.py": ("tests/fencing/test_ladder.py",),
    "membership/election.py": (
        "tests/membership/test_election_table.py",
        "tests/membership/test_scripts.py",
        "tests/membership/test_heart_sabotage.py",
    ),
}
OURS = frozenset({"schema", "membership", "fencing", "reconciler", "tests"})
SLOWEST_S = 60


def survives(module: str, mutant: Mutant) -> bool:
    """Whether the module's tests pass on this mutant. In a process of its own, which ends itself."""
    child = os.fork()
    if child == 0:
        os._exit(_try(module, mutant))
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def _try(module: str, mutant: Mutant) -> int:
    signal.alarm(SLOWEST_S)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    for loaded in [it for it in sys.modules if it.partition(".")[0] in OURS]:
        del sys.modules[loaded]  # What has seen the module as it is would go on with that.
    name = module.removesuffix(".py").replace("/", ".")
    found = ModuleType(name)
    found.__file__ = str(ROOT / module)
    sys.modules[name] = found
    exec(compile(mutant.text, module, "exec"), found.__dict__)
    package, _, leaf = name.rpartition(".")
    __import__(package)
    setattr(sys.modules[package], leaf, found)
    return int(pytest.main(["-x", "-q", "-n0", "-p", "no:cacheprovider", *TESTS[module]]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", default=list(TESTS))
    asked = parser.parse_args()
    os.chdir(ROOT)
    begun_s, made, lived = time.monotonic(), 0, 0
    for module in asked.modules or TESTS:
        left = [it for it in mutants((ROOT / module).read_text()) if _counted(module, it)]
        made += len(list(mutants((ROOT / module).read_text())))
        lived += len(left)
    took_s = time.monotonic() - begun_s
    score = 1.0 - lived / made
    sys.stdout.write(f"{made} mutants, {lived} survivors, score {score:.1%}, {took_s:.0f} s\n")
    return 0 if score >= FLOOR else 1


def _counted(module: str, mutant: Mutant) -> bool:
    lived = survives(module, mutant)
    if lived:
        sys.stdout.write(f"{module} {mutant.what}\n")
        sys.stdout.flush()
    return lived


if __name__ == "__main__":
    sys.exit(main())
