"""Noise on hearts that are all well, and what a judge makes of what they show: nobody is ever to be shot.

Each node is judged by each other one at every push of its view, as the fencing of a leader would. Of the
toolstacks the worst is taken: none answers any question while its node is not heard.
"""

from __future__ import annotations

import argparse
import sys
import time

from fencing.judgement import Accuser, Probes, Rules, Sight, judge
from membership.view import PeerState, View
from tests.membership.heart_net import TIMING, HeartNet, Seat

LOSS = 0.05
PAUSE_S = 2.0
DISK_SHARE = 0.7
"""Of the time within which the shared disk has to answer: from one heartbeat to the next."""

NAMES = "abc"
BETWEEN_S = 20.0
STEPS = (1.0, 60.0, 3600.0)
"""CLOCK_BOOTTIME jumps while the machine sleeps; it never goes back."""
RULES = Rules(
    interval_s=TIMING.interval_s,
    dead_after_s=TIMING.dead_after_s,
    settle_s=2.0 * TIMING.interval_s,
)


class NoisyNet(HeartNet):
    """`doomed` are verdicts that would have shot a living node; `judged` counts all of them, and
    `watched` those in which a node was silent at all."""

    def __init__(self, seed: int) -> None:
        self.doomed: list[str] = []
        self.judged = 0
        self.watched = 0
        super().__init__(*NAMES, disk=True, seed=seed)
        self.loss = LOSS
        self.disk_s = DISK_SHARE * TIMING.interval_s / 2.0

    def told(self, seat: Seat, view: View) -> None:
        del seat
        for name, peer in view.peers.items():
            if name == view.me:
                continue
            self.judged += 1
            verdict = judge(_sight(view, name), _accuser(view), RULES)
            self.watched += peer.state is not PeerState.ALIVE
            if verdict.may_shoot:
                self.doomed.append(f"{self.s:.1f}: {view.me} would shoot {name}: {verdict}")


def _sight(view: View, name: str) -> Sight:
    peer = view.peers[name]
    others = [
        other
        for other, it in view.peers.items()
        if other not in (name, view.me) and it.state is PeerState.ALIVE
    ]
    return Sight(
        node=name,
        peer=peer.state,
        silent_s=peer.last_heard_s if peer.state is not PeerState.ALIVE else None,
        probes=Probes(failing_s=peer.last_heard_s, failed=9),
        heard_by=tuple(other for other in others if name in view.peers[other].sees),
        observers=tuple(others),
        victims=1,
    )


def _accuser(view: View) -> Accuser:
    alive = [name for name, peer in view.peers.items() if peer.state is PeerState.ALIVE]
    return Accuser(
        name=view.me,
        lag_s=view.health.lag_s,
        mute=view.health.mute,
        hears=any(name != view.me for name in alive) or not view.health.disk,
    )


def noise(seed: int, hours: float) -> NoisyNet:
    """So many hours, in which now and then a daemon is paused or a clock is set."""
    net = NoisyNet(seed)
    until_s = net.s + 3600.0 * hours
    while net.s < until_s:
        net.run(net.random.expovariate(1.0 / BETWEEN_S))
        name = net.random.choice(NAMES)
        if net.random.random() < 0.8:
            net.pause(name)
            net.run(net.random.uniform(0.1, PAUSE_S))
            net.resume(name)
        else:
            net.seats[name].skew_s += net.random.choice(STEPS)
    return net


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    begun_s, hours, false, judged, watched, seed = time.monotonic(), 0.0, 0, 0, 0, asked.seed
    while hours < asked.hours:
        net = noise(seed, min(1.0, asked.hours - hours))
        hours, seed = hours + 1.0, seed + 1
        judged, watched = judged + net.judged, watched + net.watched
        false += len(net.doomed)
        for text in net.doomed:
            sys.stdout.write(f"seed {seed - 1}, {text}\n")
    took_s = time.monotonic() - begun_s
    sys.stdout.write(
        f"{min(hours, asked.hours):g} hours, {judged} judgements of which {watched} of a silent node,"
        f" {false} false fences, {took_s:.0f} s\n"
    )
    return 0 if false == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
