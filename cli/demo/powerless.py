"""The act in which servers lose their power: with a controller that can tell so, and without one."""

from __future__ import annotations

from cli.demo import silence
from cli.demo.acts import MOVED
from cli.demo.nodes import DemoNode
from cli.demo.stage import Stage
from cli.demo.typist import Typist

LOST = "xen3"
LOST_WITH_CONTROLLER = "xen2"
"""None of them is the one whose daemon people's commands ask."""

_WAIT = "cxm -q wait all --for converged --timeout 90s"
_LIVE = f"cxm watch & {_WAIT}; found=$?; kill $!; exit $found"
"""What two terminals would show: every change as it happens, until all is as desired again."""


def servers_lose_power(stage: Stage, typist: Typist) -> None:
    """One death that a fence device proves, and one that only a human can."""
    typist.tell(f"{MOVED} may run elsewhere, should it have to. What if {LOST} died now?")
    typist.type(f"sed -i 's/only:/prefer:/' $WC/vms/{MOVED}.yaml")
    typist.type(f"svn commit -q -m '{MOVED} may run elsewhere' $WC && {_WAIT}")
    typist.type(f"cxm diff --what-if down={LOST}")
    _lead(stage.peers[0], typist)
    _dies_with_proof(typist)
    typist.tell(
        f"{LOST} has power again, boots, and is a node like the others. Nothing moves back."
    )
    typist.type(f"cxm sim ctl power {LOST} on")
    typist.type(f"cxm -q wait node/{LOST} --for ready --timeout 115s")
    _dies_without_proof(_controller(stage, LOST_WITH_CONTROLLER), typist)
    typist.tell(f"{LOST_WITH_CONTROLLER} has power again, too, and boots.")
    typist.type(f"cxm sim ctl power {LOST_WITH_CONTROLLER} on")


def _lead(node: DemoNode, typist: Typist) -> None:
    """Have this node lead, the one that people ask: the journal of whoever leads tells all."""
    if silence.leader_seen_by(typist, node) != node.name:
        typist.type(f"cxm leader --hand-over {node.name}")


def _dies_with_proof(typist: Typist) -> None:
    typist.tell(f"{LOST} loses its power; its controller has a supply of its own. As it happens:")
    typist.type(f"cxm sim ctl power {LOST} off")
    typist.type(_LIVE)
    typist.type(f"cxm why node/{LOST}")


def _dies_without_proof(controller: str, typist: Typist) -> None:
    lost = LOST_WITH_CONTROLLER
    typist.tell(f"{lost} loses its power, and its controller, too: nothing tells that it is off.")
    typist.type(f"cxm sim ctl fault start bmc-dead bmc={controller} for=2m")
    typist.type(f"cxm sim ctl power {lost} off")
    typist.type(_WAIT, expect=4)
    typist.type("cxm status", expect=4)
    typist.tell(
        "It is held: nothing starts twice by a guess. Somebody goes there, looks, and swears."
    )
    typist.type(f"cxm confirm-off {lost} --reason 'no light, both cords are out' --yes")
    typist.type(_LIVE)
    typist.type(f"cxm why node/{lost}")


def _controller(stage: Stage, host: str) -> str:
    return next(str(bmc["name"]) for bmc in stage.ready["bmcs"] if bmc["host"] == host)
