"""Stories of hearts, told as scripts: what is done to them, what they make of it, what must hold.

A script is a text file in `scripts/`. It begins with why its course matters. Then one command a line;
indented below it what happens until the next one, which is compared word for word. Lines with `expect`
say what must hold, whatever the course. That never two act is checked all the time.

`python -m tests.membership.test_scripts [NAME]...` writes what happens anew; read the difference.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from membership.events import HandOver, Heard, KeysChanged, Leaving, RosterChanged
from membership.heartbeat import PROTOCOL
from membership.roster import Candidacy, Voters
from membership.view import PeerState, View
from tests.membership.heart_net import HeartNet, Seat

SCRIPTS = Path(__file__).parent / "scripts"
SETTLES_S = 40.0
"""Seconds within which somebody acts where somebody can."""

_TOLD = (PeerState.ALIVE, PeerState.DEAD, PeerState.LEFT)


class Stage(HeartNet):
    """The hearts of a script. `happened` is what they tell, in order."""

    def __init__(self, names: Sequence[str], *, disk: bool) -> None:
        self.happened: list[str] = []
        self._said: dict[str, set[str]] = {}
        self._shown: dict[tuple[str, str], PeerState] = {}
        self.disks: dict[str, tuple[bytes, list[bytes]]] = {}
        super().__init__(*names, disk=disk, seed=7)

    def key_of(self, seat: Seat) -> str:
        return next(key for key, found in self.seats.items() if found is seat)

    def told(self, seat: Seat, view: View) -> None:
        me = self.key_of(seat)
        now = set(self._says(seat, view))
        before = self._said.get(me, set())
        for said in sorted(before - now):
            if said.startswith("leads"):
                self.happened.append(f"{me} no longer {said}")
        self.happened.extend(f"{me} {said}" for said in sorted(now - before))
        self._said[me] = now
        for name, peer in view.peers.items():
            shown = self._shown.get((me, name))
            if peer.state in _TOLD and peer.state is not shown:
                self._shown[me, name] = peer.state
                if shown is not None:
                    self.happened.append(f"{me} sees {name} {peer.state.value}")

    def _says(self, seat: Seat, view: View) -> Iterator[str]:
        if view.leader == view.me:
            yield f"leads in term {view.term}"
            if view.may_act(self._now(seat).boot_s):
                yield f"may act in term {view.term}"
        if view.health.mute:
            yield f"is mute: {view.health.mute}"
        if view.health.disk:
            yield f"says of the disk: {view.health.disk}"

    def change_voters(self, after: Voters, told: Sequence[str]) -> None:
        self.voters = after
        for key in told:
            self.tell(key, RosterChanged(roster=self.roster(self.seats[key].name)))


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


# --- commands ---------------------------------------------------------------------------------------


def lead(stage: Stage, name: str) -> None:
    """Only this one stands, until it acts; then all do."""
    wish = {key: seat.candid for key, seat in stage.seats.items()}
    for key, seat in stage.seats.items():
        seat.candid = key == name
        if key != name:
            stage.tell(key, Candidacy(healthy=False))
    passed = 0.0
    while stage.acting() != [name]:
        assert passed < SETTLES_S, f"{name} does not get to act"
        stage.run(0.5)
        passed += 0.5
    for key, seat in stage.seats.items():
        seat.candid = wish[key]


def cut(stage: Stage, *between: str) -> None:
    """`a b` both ways, `a>b` what a says to b."""
    if len(between) == 1:
        speaker, _, ear = between[0].partition(">")
        stage.cut.add((speaker, ear))
    else:
        stage.sever(*between)


def heal(stage: Stage) -> None:
    stage.cut.clear()
    stage.cut_channels.clear()


def channel(stage: Stage, name: str, word: str) -> None:
    number = int(name.removeprefix("net")) - 1
    (stage.cut_channels.add if word == "off" else stage.cut_channels.discard)(number)


def disk(stage: Stage, word: str, what: str = "") -> None:
    match word:
        case "off" | "on" if what:
            stage.seats[what].deaf_disk = word == "off"
        case "off" | "on":
            stage.disk_ok = word == "on"
        case "slow":
            stage.disk_s = seconds(what)
        case "torn":
            stage.spoil_slot(what)
        case "copy":
            stage.disks[what] = stage.copy_disk()
        case "put":
            stage.put_back(stage.disks[what])
        case "new":
            stage.format(what)
        case _:
            raise AssertionError(f"disk {word}?")


def start(stage: Stage, name: str, version: str = "0") -> None:
    stage.boot(name, PROTOCOL + int(version))


def step(stage: Stage, name: str, by: str) -> None:
    """CLOCK_BOOTTIME without CLOCK_MONOTONIC: the machine slept."""
    stage.seats[name].skew_s += seconds(by)


def stand(stage: Stage, name: str, word: str) -> None:
    """Whether the `cxmd` of this node gives signs of life."""
    stage.seats[name].candid = word == "on"


def unhealthy(stage: Stage, name: str) -> None:
    stage.seats[name].candid = False
    stage.tell(name, Candidacy(healthy=False))


def voters(stage: Stage, *words: str) -> None:
    """`a b disk told a b`: the next voters, if they are others, and who hears of them. With `3.2` before
    it they are those that the leader of term 3 made, with epoch 2."""
    said, told = _split(words, "told")
    names = tuple(name for name in said if name.isalpha() and name != "disk")
    before, disk = stage.voters, "disk" in said
    same = (names, disk) == (before.names, before.disk)
    term, epoch = before.term, before.epoch if same else before.epoch + 1
    if "." in said[0]:
        term, epoch = (int(number) for number in said[0].split("."))
    after = Voters(epoch=epoch, term=term, names=names, disk=disk)
    stage.change_voters(after, told or list(stage.seats))


def timing(stage: Stage, suspect_after: str, *words: str) -> None:
    """`6s told a b`: another suspectAfter, and who hears of it."""
    _, told = _split(words, "told")
    suspect_s = seconds(suspect_after)
    stage.timing = replace(stage.timing, suspect_after_s=suspect_s, dead_after_s=2 * suspect_s)
    for key in told or list(stage.seats):
        stage.tell(key, RosterChanged(roster=stage.roster(stage.seats[key].name)))


def _split(words: Sequence[str], at: str) -> tuple[list[str], list[str]]:
    place = list(words).index(at) if at in words else len(words)
    return list(words[:place]), list(words[place + 1 :])


def goes_back(stage: Stage, name: str, by: str) -> None:
    """Its durable state is that of so many starts ago."""
    seat = stage.seats[name]
    seat.memory = replace(seat.memory, generation=seat.memory.generation - int(by))


def wire(stage: Stage, *words: str) -> None:
    """`loss 0.3`, `delay 2s`, `twice 0.5`, `garble 0.1`."""
    for name, value in zip(words[::2], words[1::2], strict=True):
        number = seconds(value)
        match name:
            case "loss":
                stage.loss = number
            case "delay":
                stage.delay_s = number
            case "twice":
                stage.twice = number
            case "garble":
                stage.garble = number
            case _:
                raise AssertionError(f"wire {name}?")


def replay(stage: Stage, name: str) -> None:
    """Everything that was ever recorded on its way to this node comes again, in order."""
    for to, number, data in [kept for kept in stage.replay if kept[0] == name]:
        stage.tell(to, Heard(channel=number, data=data))


def keys(stage: Stage, *words: str) -> None:
    for key in stage.seats:
        stage.tell(key, KeysChanged(keys=tuple(word.encode() * 16 for word in words)))


def record(stage: Stage, word: str) -> None:
    stage.record = word == "on"


COMMANDS: dict[str, Callable[..., None]] = {
    "run": lambda stage, time: stage.run(seconds(time)),
    "lead": lead,
    "cut": cut,
    "heal": heal,
    "channel": channel,
    "disk": disk,
    "kill": lambda stage, name: stage.kill(name),
    "start": start,
    "pause": lambda stage, name: stage.pause(name),
    "wake": lambda stage, name: stage.resume(name),
    "step": step,
    "stand": stand,
    "unhealthy": unhealthy,
    "voters": voters,
    "timing": timing,
    "goes-back": goes_back,
    "wire": wire,
    "replay": replay,
    "record": record,
    "keys": keys,
    "clone": lambda stage, name: stage.clone(name),
    "hand-over": lambda stage, name, to: stage.tell(name, HandOver(to=to)),
    "leave": lambda stage, name: stage.tell(name, Leaving()),
}


# --- expectations -----------------------------------------------------------------------------------


def expect(stage: Stage, words: Sequence[str]) -> None:
    acting = stage.acting()
    match list(words):
        case ["acts", name]:
            assert acting == [name], f"{acting} may act"
        case ["acts", "one", "of", *names]:
            assert len(acting) == 1, f"{acting} may act"
            assert acting[0] in names, f"{acting} may act"
        case ["nobody", "acts"]:
            assert acting == []
        case ["nobody", "leads"]:
            assert stage.leaders() <= {None}, stage.leaders()
        case ["all", "follow", name]:
            assert stage.leaders() == {name}, stage.leaders()
        case [me, "sees", name, state]:
            assert stage.state(me, name) == state, stage.state(me, name)
        case [me, "on", label, "sees", name, state]:
            shown = _view(stage, me).peers[name].channels[label].value
            assert shown == state, shown
        case [me, "terms", count]:
            assert len(stage.seats[me].terms_led) == int(count), stage.seats[me].terms_led
        case [me, "says", *text]:
            view = _view(stage, me)
            said = (view.reason, view.health.mute, view.health.disk)
            assert any(" ".join(text) in line for line in said), said
        case [me, "finds", name, *text]:
            problem = _view(stage, me).peers[name].problem
            assert " ".join(text) in problem, problem
        case _:
            raise AssertionError(f"expect {' '.join(words)}?")


def _view(stage: Stage, me: str) -> View:
    view = stage.seats[me].view
    assert view is not None
    return view


# --- playing ----------------------------------------------------------------------------------------


def play(text: str) -> str:
    """The script with what happened. Raises AssertionError at the line where something does not hold."""
    stage: Stage | None = None
    out: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if line.startswith(" "):
            continue
        out.append(line)
        if not words or line.startswith("#"):
            continue
        try:
            if words[0] == "peers":
                stage = Stage([w for w in words[1:] if w != "disk"], disk="disk" in words)
            else:
                assert stage is not None, "a script begins with its peers"
                _do(stage, words)
                assert stage.faults == [], stage.faults[0]
        except (AssertionError, KeyError, TypeError) as error:
            raise AssertionError(f"line {number}: {line}: {error}") from error
        out.extend(f"    {line}" for line in stage.happened)
        stage.happened.clear()
    return "\n".join(out) + "\n"


def _do(stage: Stage, words: Sequence[str]) -> None:
    if words[0] == "expect":
        expect(stage, words[1:])
    else:
        COMMANDS[words[0]](stage, *words[1:])


def scripts() -> list[Path]:
    return sorted(SCRIPTS.glob("*.txt"))


@pytest.mark.parametrize("path", scripts(), ids=lambda path: path.stem)
def test_script(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# "), "it says first why its course matters"
    assert play(text) == text


def test_there_are_scripts_and_they_expect_something() -> None:
    silent = [path.name for path in scripts() if "\nexpect " not in path.read_text()]
    assert silent == []
    assert len(scripts()) >= 25


def main(names: Sequence[str]) -> None:
    for path in scripts():
        if not names or path.stem in names:
            path.write_text(play(path.read_text()))


if __name__ == "__main__":
    main(sys.argv[1:])
