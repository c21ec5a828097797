"""Every deliberately broken daemon, against the seed, seam or story that is known to catch it.

`python -m tests.simulation.every_sabotage` ends with one line of figures, and with 1 where one is missed.
The search for other seeds is `tests.simulation.sabotage` and `peers.peer_sabotage`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence

from tests.simulation import sabotage
from tests.simulation.fencing import fence_sabotage
from tests.simulation.peers import peer_sabotage


def every() -> Iterator[tuple[str, Sequence[str]]]:
    """The name of each broken daemon, and what the checkers say of it."""
    for name, daemon in sabotage.VARIANTS.items():
        yield name, sabotage.caught(daemon)
    for name, peers in peer_sabotage.VARIANTS.items():
        yield name, peer_sabotage.caught(peers)
    for name, fences in fence_sabotage.VARIANTS.items():
        yield name, fence_sabotage.caught(fences)


def main() -> int:
    logging.disable(logging.CRITICAL)
    broken, missed = 0, 0
    for name, violations in every():
        broken += 1
        missed += not violations
        sys.stdout.write(f"{name}: {violations[0] if violations else 'not caught'}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{broken} variants, {missed} not caught\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
