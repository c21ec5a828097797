"""Programs of a node's own: which are run, and what their answers are taken for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fencing.devices import DeviceUse
from fencing.edge.agent import Agents
from fencing.edge.programs import ProgramError, agent_program, own_program, system_program
from fencing.ladder import Power
from tests.fencing.edge.conftest import Written, soon


def use(program: str = "cut", **more: str) -> DeviceUse:
    options = {"program": program, "site": "lyon"}
    return DeviceUse(
        device="cut", node="xen1", agent="exec", options=options, plug=more.get("plug")
    )


async def test_it_is_told_what_and_whom_and_answers_like_an_agent(
    agents: Agents, program: Written, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.write_text("on")
    text = f"""
while IFS='=' read -r name value; do eval "$name=\\$value"; done
echo "$action $node $plug $site" >> {tmp_path}/told
case $action in
    status) now=$(cat {state}); echo "Status: $now"; [ "$now" = off ] && exit 2; exit 0 ;;
    *) echo "$action" > {state} ;;
esac
"""
    program("cut", text)
    assert (await agents.read_power(use(plug="7"), soon())).power is Power.ON
    assert (await agents.power_off(use(plug="7"), soon())).ok
    assert (await agents.read_power(use(plug="7"), soon())).power is Power.OFF
    assert (await agents.power_on(use(plug="7"), soon())).ok
    told = (tmp_path / "told").read_text().splitlines()
    assert told == [f"{action} xen1 7 lyon" for action in ("status", "off", "status", "on")]


async def test_an_agent_of_the_system_can_be_wrapped(
    agents: Agents, program: Written, tmp_path: Path
) -> None:
    state = tmp_path / "dummy"
    program("dummy", f"(echo status_file={state}; echo type=file; cat) | fence_dummy")
    wrapped = use("dummy")
    assert (await agents.power_on(wrapped, soon())).ok
    assert (await agents.read_power(wrapped, soon())).power is Power.ON
    assert (await agents.power_off(wrapped, soon())).ok
    assert (await agents.read_power(wrapped, soon())).power is Power.OFF


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("if then", "code 2 means off, but it says nothing"),
        ("exit 2", "code 2 means off, but it says nothing"),
        ("exit 0", "code 0 means on, but it says nothing"),
        ("echo Status: ON; exit 2", "code 2 means off, but it says on"),
        ("exec /usr/bin/python3 /nonexistent.py", "code 2 means off, but it says nothing"),
        ("echo no route to the device >&2; exit 1", "failed with code 1: no route to the device"),
    ],
)
async def test_a_program_that_fails_says_nothing_of_the_power(
    agents: Agents, program: Written, text: str, said: str
) -> None:
    program("cut", text)
    reading = await agents.read_power(use(), soon())
    assert reading.power is Power.UNKNOWN
    assert said in reading.message


async def test_what_a_program_says_is_shown_without_its_secrets(
    agents: Agents, program: Written
) -> None:
    program("cut", "grep community >&2; exit 1")
    secret = DeviceUse(
        device="cut",
        node="xen1",
        agent="exec",
        options={"program": "cut"},
        credentials_ref="community",
    )
    attempt = await agents.power_off(secret, soon())
    assert attempt.message == "failed with code 1: community=[secret]"


Spoil = Callable[[Path], object]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.chmod(0o777), "mode 0777, others can change it; chmod go-w it"),
        (lambda path: path.chmod(0o644), "is not a program"),
        (lambda path: path.parent.chmod(0o777), "mode 0777, others can change it"),
        (lambda path: path.unlink(), "is not there; install it on every peer"),
        (lambda path: (path.unlink(), path.mkdir()), "is not a program"),
    ],
)
async def test_a_program_that_others_could_have_written_is_not_run(
    agents: Agents, program: Written, spoil: Spoil, said: str
) -> None:
    path = program("cut", "echo ran > ran")
    spoil(path)
    attempt = await agents.power_off(use(), soon())
    assert not attempt.ok
    assert said in attempt.message


def test_a_link_is_as_good_as_what_it_leads_to(own_programs: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("#!/bin/sh\n")
    elsewhere.chmod(0o755)
    (own_programs / "cut").symlink_to(elsewhere)
    assert own_program("cut", own_programs) == elsewhere
    elsewhere.chmod(0o757)
    with pytest.raises(ProgramError, match="others can change it"):
        own_program("cut", own_programs)


@pytest.mark.parametrize("name", ["/bin/sh", "../sh", "", ".", "..", "a/b", "-x"])
def test_the_tree_names_no_program_outside_the_nodes_folder(name: str, own_programs: Path) -> None:
    with pytest.raises(ProgramError, match="is not the name of a file"):
        own_program(name, own_programs)


def test_an_agent_of_the_system_is_found_by_its_name(own_programs: Path) -> None:
    found = DeviceUse(device="d", node="xen1", agent="fence_ipmilan")
    assert agent_program(found, own_programs) == Path("/usr/sbin/fence_ipmilan")
    with pytest.raises(ProgramError, match="apt-get install fence-agents"):
        system_program("fence_nosuch", "fence-agents")


async def test_nobody_but_a_human_switches_by_hand(agents: Agents) -> None:
    oath = DeviceUse(device="oath", node="xen1", agent="manual")
    attempt = await agents.power_off(oath, soon())
    assert attempt.message == "no program switches it; look, then: cxm confirm-off xen1"
    assert (await agents.read_power(oath, soon())).power is Power.UNKNOWN
    assert await agents.identity(oath, soon()) is None
    assert await agents.plugs(oath, soon()) is None
