"""`cxm members`."""

from __future__ import annotations

from cli import hearing
from cli.envelope import Finding
from cli.options import cxm_command, invocation
from cli.render.peers import ALIVE, alone, members_data, members_lines, missed_by
from reconciler.status import PeerStatus, Status, Verdict


@cxm_command("members")
def command() -> Finding:
    """Who is alive, who hears whom on which channel, and who leads.

    As this node sees it. Exit 0: every peer is alive on every channel and hears all others; 2: not so;
    6: this node knows nothing of its peers.
    """
    status = hearing.of_peers(invocation())
    well = alone(status) or all(_well(peer, status) for peer in status.peers)
    verdict = Verdict.CONVERGED if well else Verdict.DIFFERS
    return Finding(str(verdict), members_data(status), members_lines(status), status.cluster)


def _well(peer: PeerStatus, status: Status) -> bool:
    return (
        peer.state == ALIVE
        and not peer.problem
        and all(state == ALIVE for state in peer.channels.values())
        and not missed_by(peer, status)
    )
