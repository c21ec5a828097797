"""Actions: what a plan consists of, what refuses them, and what became of them."""

from __future__ import annotations

from enum import StrEnum

from msgspec.structs import replace

from reconciler.observed import PowerState
from schema.model import Frozen

# --- calls: one action is one call of XenAPI ------------------------------------------------------


class VmCall(Frozen, tag_field="call", frozen=True, kw_only=True):
    """Base of a call on one VM, named by uuid."""

    vm: str

    @property
    def subject(self) -> str:
        """The uuid of what the call is about: one call at a time is in flight on it."""
        return self.vm


class NodeCall(Frozen, tag_field="call", frozen=True, kw_only=True):
    """Base of a call on one node, named by the uuid of its host."""

    node: str

    @property
    def subject(self) -> str:
        """As of a VM's call."""
        return self.node


class StartOn(VmCall, tag="start_on", frozen=True, kw_only=True):
    node: str


class ResumeOn(VmCall, tag="resume_on", frozen=True, kw_only=True):
    node: str


class Unpause(VmCall, tag="unpause", frozen=True, kw_only=True):
    pass


class CleanShutdown(VmCall, tag="clean_shutdown", frozen=True, kw_only=True):
    pass


class Suspend(VmCall, tag="suspend", frozen=True, kw_only=True):
    pass


class PoolMigrate(VmCall, tag="pool_migrate", frozen=True, kw_only=True):
    """`network` is the uuid of the network whose address on the target carries the stream."""

    node: str
    network: str | None = None


class SetMemory(VmCall, tag="set_memory", frozen=True, kw_only=True):
    """All four limits become `size` bytes but the static minimum, which is kept where it is lower."""

    size: int
    static_min: int


class SetVcpusMax(VmCall, tag="set_vcpus_max", frozen=True, kw_only=True):
    count: int


class SetVcpusAtStartup(VmCall, tag="set_vcpus_at_startup", frozen=True, kw_only=True):
    count: int


class SetNameLabel(VmCall, tag="set_name_label", frozen=True, kw_only=True):
    label: str


class AddTag(VmCall, tag="add_tag", frozen=True, kw_only=True):
    label: str


class EjectMedia(VmCall, tag="eject_media", frozen=True, kw_only=True):
    """`vbd` is the uuid of the drive."""

    vbd: str


class ResetPower(VmCall, tag="reset_power", frozen=True, kw_only=True):
    """Write into the pool's records that the VM is Halted and nowhere. It ends no domain and proves
    nothing: whoever asks for it has the proof. What the VM has locked stays locked."""


class DisableNode(NodeCall, tag="disable_node", frozen=True, kw_only=True):
    pass


class EnableNode(NodeCall, tag="enable_node", frozen=True, kw_only=True):
    pass


class DeclareDead(NodeCall, tag="declare_dead", frozen=True, kw_only=True):
    """Have the pool write the node off: what its records still place there becomes Halted, it takes no
    VMs any more, and its locks on disks are freed. It proves as little as `ResetPower`.

    `closes`: the node was open, so it is this call that closes it, and it is opened again when it returns.
    """

    closes: bool = True


AnyVmCall = (
    StartOn
    | ResumeOn
    | Unpause
    | CleanShutdown
    | Suspend
    | PoolMigrate
    | SetMemory
    | SetVcpusMax
    | SetVcpusAtStartup
    | SetNameLabel
    | AddTag
    | EjectMedia
    | ResetPower
)
AnyNodeCall = DisableNode | EnableNode | DeclareDead
Call = AnyVmCall | AnyNodeCall

# --- outcomes -------------------------------------------------------------------------------------


class Done(Frozen, tag_field="outcome", tag="done", frozen=True, kw_only=True):
    pass


class Retry(Frozen, tag_field="outcome", tag="retry", frozen=True, kw_only=True):
    """It failed for a reason that may pass. `after_s` is the least wait; back-off may make it longer."""

    reason: str
    message: str = ""
    after_s: float = 0.0


class Stalled(Frozen, tag_field="outcome", tag="stalled", frozen=True, kw_only=True):
    """It failed for a reason that will not pass by itself."""

    reason: str
    message: str = ""


class Unsure(Frozen, tag_field="outcome", tag="unsure", frozen=True, kw_only=True):
    """No answer came: the call may or may not have been carried out. Only an observation can tell."""

    reason: str
    message: str = ""


NOT_SHARED = "NotShared"
"""Reason of a `Retry`: too few voters know of the call, so it was not made."""

Outcome = Done | Retry | Stalled
Answer = Done | Retry | Stalled | Unsure
"""What a call said when it returned. It proves nothing: the outcome is judged from an observation."""

# --- rows of a plan -------------------------------------------------------------------------------


class Verb(StrEnum):
    """What people call an action."""

    START = "start"
    STOP = "stop"
    SUSPEND = "suspend"
    RESUME = "resume"
    MIGRATE = "migrate"
    RESTART = "restart"
    CHANGE = "change"
    CORDON = "cordon"
    UNCORDON = "uncordon"
    RESET = "reset"
    WRITE_OFF = "write-off"
    FENCE = "fence"


class Cause(StrEnum):
    INTENT = "intent"
    DRIFT = "drift"
    DRAIN = "drain"
    RECOVERY = "recovery"


class Disruption(StrEnum):
    NONE = "none"
    LIVE = "live"
    COLD = "cold"


class Precondition(Frozen, frozen=True, kw_only=True):
    """What must still hold when the call is made. `object` is named as for people."""

    object: str
    field: str
    equals: str


class Waits(Frozen, frozen=True, kw_only=True):
    """Why an action is not carried out yet, though nothing refuses it.

    `on` is a limit (`limits.migrations`), `driftGrace`, `window`, an object (`vm/db1`), `in-flight` or
    `sharing`; `until_s` is monotonic where an end is known.
    """

    on: str
    message: str = ""
    until_s: float | None = None


class Action(Frozen, frozen=True, kw_only=True):
    """One row for people and, where `waits` is None, one call that can be made now.

    `call` is the next call towards the row's end: a restart is one row but stop, set, start in turn.
    `node` is the name of the node it acts on or moves to.
    """

    id: str
    object: str
    verb: Verb
    cause: Cause
    reason: str
    message: str
    disruption: Disruption = Disruption.NONE
    estimate_s: float = 0.0
    preconditions: tuple[Precondition, ...] = ()
    waits: Waits | None = None
    call: Call | None = None
    node: str | None = None


class Rejection(Frozen, frozen=True, kw_only=True):
    """Why one node was not chosen; `needs` and `has` in the unit that `reason` implies (bytes, CPUs)."""

    node: str
    reason: str
    needs: int | None = None
    has: int | None = None


class Blocked(Frozen, frozen=True, kw_only=True):
    """What is not done and the rule that refused it, with its numbers."""

    object: str
    verb: Verb
    cause: Cause
    reason: str
    message: str
    remedy: str = ""
    needs: int | None = None
    best: Rejection | None = None
    rejected: tuple[Rejection, ...] = ()
    until_s: float | None = None


class Told(Frozen, frozen=True, kw_only=True):
    """A difference that is shown and not touched. `since_epoch_s`: since when, where it is known."""

    object: str
    reason: str
    message: str
    since_epoch_s: float | None = None


class Plan(Frozen, frozen=True, kw_only=True):
    """Everything that differs: what is or will be done, what refuses the rest, what is only told."""

    actions: tuple[Action, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    told: tuple[Told, ...] = ()
    next_s: float | None = None
    """Monotonic moment at which time alone changes this plan; None if nothing waits for time."""

    @property
    def empty(self) -> bool:
        return not self.actions and not self.blocked

    @property
    def ready(self) -> tuple[Action, ...]:
        return tuple(a for a in self.actions if a.waits is None and a.call is not None)

    def kept_waiting(self, waits: Waits) -> Plan:
        """This plan with nothing ready: what was, waits for the same."""
        return replace(
            self,
            actions=tuple(
                a if a.waits is not None else replace(a, waits=waits) for a in self.actions
            ),
        )


UP = (PowerState.RUNNING, PowerState.PAUSED)
"""Power states in which a VM has a domain and memory on its node."""
