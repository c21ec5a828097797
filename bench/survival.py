"""What a what-if costs, and the survivable losses of which each is one: CPU seconds of one what-if.

    python -m bench.survival [--sizes 16,64]

The daemon works out one loss at a time, `reconciler.survival.APART_S` apart or, in a large pool, as far
apart as it has VMs: the last column is the share of one CPU that this takes while a sweep goes on.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial

from bench import generate
from bench.generate import Size
from bench.measured import NOW, cpu_s
from membership.ledger import Fact, Ledger
from membership.roster import Voters
from membership.view import Peer, PeerState, View
from reconciler.accusing import Hearing, accused
from reconciler.deaths import followed
from reconciler.journal import JournalState
from reconciler.probing import Probing
from reconciler.survival import APART_S, VMS_PER_S
from reconciler.whatif import fits, what_if

SIZES = (Size(16, 200), Size(64, 1000), Size(64, 20000))


def hearing(size: Size) -> Hearing:
    """A cluster in which nothing is silent, and of which the ledger tells every VM's place."""
    drawn = generate.draw(size)
    names = tuple(server.name for server in drawn.servers)
    peers = {name: Peer(state=PeerState.ALIVE, sees=names) for name in names}
    view = View(
        me=names[0],
        term=1,
        leader=names[0],
        lead_until_s=NOW.mono_s + 5.0,
        peers=peers,
        engine="builtin",
        voters=Voters(epoch=1, names=names[:5]),
    )
    at = Hearing(
        me=names[0],
        desired=generate.desired(drawn),
        observed=generate.observed(drawn, as_of_s=NOW.mono_s),
        view=view,
        ledger=Ledger(),
        journal=JournalState(),
        probing=Probing(),
        leads=True,
        now=NOW,
    )
    places = followed(at.ledger, at.observed, at.journal, accused(at).pool, (1, 1))
    facts = [
        Fact(key=f"may-run/{known.vm}", term=1, seq=seq, at_epoch_s=0.0, value=known)
        for seq, known in enumerate(places, start=1)
    ]
    return replace(at, ledger=at.ledger.merge(facts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sizes", default="", help="numbers of hosts, with commas; default: all")
    wanted = {int(number) for number in parser.parse_args().sizes.split(",") if number}
    print("size        unproven s  recovered s  share of a CPU")  # noqa: T201
    for size in SIZES:
        if wanted and size.hosts not in wanted:
            continue
        at = hearing(size)
        lost = list(at.desired.nodes)[size.hosts // 2]
        judged = cpu_s(partial(what_if, at, (lost,)))
        recovered = cpu_s(partial(fits, at, (lost,)))
        share = recovered / max(APART_S, size.vms / VMS_PER_S)
        print(f"{size!s:10}  {judged:10.4f}  {recovered:11.4f}  {share:14.1%}")  # noqa: T201


if __name__ == "__main__":
    main()
