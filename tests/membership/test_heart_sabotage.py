"""Hearts that are wrong on purpose: what watches over the scripts must see it.

A promise and the wait of a new leader each outlast the old lease, so that either of them may fail. To
see one at work the other is taken away.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from membership.election import DISK_VOTER, Election, Role
from membership.heart import Heart
from membership.heartbeat import Beat
from membership.roster import EFFECT_S, Voters
from membership.shared_disk import Contents
from tests.membership.test_scripts import SCRIPTS, play


def waits_for_the_effect_only(patch: pytest.MonkeyPatch) -> None:
    whole = Election.advance

    def advance(self: Election, now_s: float) -> None:
        led = self.role is Role.LEADER
        whole(self, now_s)
        if self.role is Role.LEADER and not led:
            self._acts_s = now_s + EFFECT_S

    patch.setattr(Election, "advance", advance)


def promises_nothing(patch: pytest.MonkeyPatch) -> None:
    def promise(self: Election, to: str, now_s: float) -> None:
        self._promised_to, self._promise_s = to, now_s

    waits_for_the_effect_only(patch)
    patch.setattr(Election, "_promise", promise)


def counts_from_receipt(patch: pytest.MonkeyPatch) -> None:
    whole = Election.agreed

    def agreed(self: Election, voter: str, sent_s: float, now_s: float) -> None:
        del sent_s
        whole(self, voter, now_s, now_s)

    waits_for_the_effect_only(patch)
    patch.setattr(Election, "agreed", agreed)


def acts_at_once(patch: pytest.MonkeyPatch) -> None:
    whole = Election.advance

    def advance(self: Election, now_s: float) -> None:
        whole(self, now_s)
        self._acts_s = 0.0

    patch.setattr(Election, "advance", advance)


def leads_with_a_minority(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Election, "quorum", 1)


def takes_the_disk_whatever_is_on_it(patch: pytest.MonkeyPatch) -> None:
    def vote(self: Heart, contents: Contents, began_s: float, now_s: float) -> None:
        del contents
        self._election.agreed(DISK_VOTER, began_s, now_s)

    patch.setattr(Heart, "_disk_vote", vote)


def goes_by_a_lease_of_its_own(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Election, "_length_s", lambda self: self.roster.timing.lease_s)


def forgets_who_voted_with_the_disk(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Contents, "ahead", "")


def ranks_voters_by_epoch(patch: pytest.MonkeyPatch) -> None:
    for kind in (Voters, Beat):
        patch.setattr(kind, "rank", property(lambda self: (0, self.epoch)))


def waits_for_the_dead(patch: pytest.MonkeyPatch) -> None:
    def outdated(self: Heart, now_s: float) -> bool:
        del now_s
        tracks = self._detector.tracks.values()
        return any(t.beat is not None and t.beat.epoch > self._roster.voters.epoch for t in tracks)

    patch.setattr(Heart, "_outdated", outdated)


@pytest.mark.parametrize(
    ("wrong", "script"),
    [
        (acts_at_once, "leader_is_silent"),
        (promises_nothing, "shorter_lease_is_told_to_the_voter_only"),
        (counts_from_receipt, "late_acknowledgements"),
        (leads_with_a_minority, "minority_cut_off_with_leader"),
        (takes_the_disk_whatever_is_on_it, "torn_slot_is_no_evidence"),
        (goes_by_a_lease_of_its_own, "longer_lease_is_told_to_the_leader_only"),
        (forgets_who_voted_with_the_disk, "third_name_takes_the_place_of_the_disk"),
        (forgets_who_voted_with_the_disk, "one_of_two_with_a_disk_is_removed"),
        (ranks_voters_by_epoch, "two_leaders_each_make_other_voters"),
        (waits_for_the_dead, "dead_one_knew_of_later_voters"),
    ],
)
def test_what_is_wrong_is_seen(
    wrong: Callable[[pytest.MonkeyPatch], None], script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong(monkeypatch)
    with pytest.raises(AssertionError, match=r"acts|leads|may act"):
        play((SCRIPTS / f"{script}.txt").read_text())
