"""Facts about death: where a VM can still exist, who was to be powered off, what is proven.

They are known to a quorum before anything is done that depends on them. Losing some of them may cost
time, since less is proven then; it never makes anything look proven.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import field

from membership.values import Value
from schema.model import Frozen

Stamp = tuple[int, int]
"""(term, seq) of a fact: which of two is the later one."""

UNREAD = "may-run"
COLD_START = "cold-start"
LIVE_DRILL = "live-drill"


class Place(Frozen, frozen=True, kw_only=True):
    """A host (uuid) on which a domain can exist; `term` and `seq` are those of the fact that said so
    first. `boot` is a hint for people: what XenAPI shows of a boot proves nothing."""

    host: str
    term: int
    seq: int
    boot: str = ""

    @property
    def stamp(self) -> Stamp:
        return (self.term, self.seq)


class MayRun(Value, tag="may-run", frozen=True, kw_only=True):
    """Every place on which a domain of `vm` (uuid) can exist. Key `may-run/VM`.

    `reset`: somebody wrote into its record that it is Halted, and it has not been seen up since: no
    host's report of that is one.
    """

    vm: str
    places: tuple[Place, ...]
    reset: bool = False


class Unread(Value, tag="unread", frozen=True, kw_only=True):
    """What was said of any VM before this fact is not trusted: every host is a place of it. Key `may-run`.

    `dead` are hosts (uuids) that were dead by a certificate when this was said: nothing was begun on them
    since, so what can have been there is older than that certificate.
    """

    why: str
    dead: tuple[str, ...] = ()


class Attempt(Value, tag="fence", frozen=True, kw_only=True):
    """`node` is about to be powered off; or it was tried. Key `fence/NODE`.

    `stage` is begun, failed, proven or called-off. `why` is the evidence at the time, for people.
    """

    id: str
    node: str
    host: str
    devices: tuple[str, ...]
    stage: str
    by: str
    why: str
    message: str = ""


class Certificate(Value, tag="certificate", frozen=True, kw_only=True):
    """Nothing that was begun on `host` before this fact executes any more. Key `certificate/NODE`.

    `kind` is power-off (read back from every one of `devices`) or sworn (by whoever `by` names). `void`
    says why it is not to be trusted after all, "" while it is. An oath that served nothing expires at
    `until_epoch_s`, unless a promotion or an `Unread` rests on it by then. `boot_hint` is what XenAPI
    showed of the boot that ended: where it shows another one, the host came back since.
    """

    id: str
    node: str
    host: str
    kind: str
    by: str
    evidence: str
    devices: tuple[str, ...] = ()
    boot: str = ""
    boot_hint: str = ""
    until_epoch_s: float | None = None
    void: str = ""


class Unproven(Value, tag="unproven", frozen=True, kw_only=True):
    """`node` is believed dead, and no device proves it: it is held. Key `unproven/NODE`.

    Withdrawn once its death is proven, or believed no more. `message` says of each device why.
    """

    node: str
    host: str
    message: str


class FenceOrder(Value, tag="fence-order", frozen=True, kw_only=True):
    """`node` is to be powered off because `by` wants it, though nobody accuses it. Key `order/NODE`.

    Withdrawn once that is proven or has failed; void from `until_epoch_s` on.
    """

    node: str
    host: str
    by: str
    reason: str
    until_epoch_s: float


class Lost(Value, tag="lost", frozen=True, kw_only=True):
    """`vm` (uuid) ran on `node` when that died, and is to run again. Key `lost/VM`. `certificate` is that
    of the death; "" where all of the site was without power, and nobody had to die for it."""

    vm: str
    node: str
    host: str
    certificate: str


class Tie(StrEnum):
    """What ties a fence device to a node: both name the same hardware, or a live drill showed it. `other`:
    the device names another server."""

    IDENTITY = "identity"
    DRILL = "drill"
    NONE = "none"
    OTHER = "other"


class Found(StrEnum):
    """What a live drill showed. `bound`: the node fell silent by these devices, and no other. `lies`: they
    read off, and it lived on. `crossed`: another one fell. The rest says nothing of the devices: they did
    not read off (`failed`), the leader that had them switched off is gone (`interrupted`), or nothing was
    switched (`refused`)."""

    BOUND = "bound"
    LIES = "lies"
    CROSSED = "crossed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    REFUSED = "refused"


class Live(Frozen, frozen=True, kw_only=True):
    """What the last live drill showed of a device: `found` is bound, lies or crossed.

    `devices` are all that were off together: nothing is known of one of them alone. `wiring` is that of
    the device at that time (`DeviceUse.wiring`), `boot` the one of the node's daemon that ended.
    """

    found: Found
    devices: tuple[str, ...]
    wiring: str
    boot: str
    at_epoch_s: float
    by: str
    message: str


class Drill(Value, tag="drill", frozen=True, kw_only=True):
    """What trials of `device` for `node` have shown. Key `drill/DEVICE/NODE`.

    `live` is what the last live drill showed, which no later reading takes back: it binds a device that
    has no identity of its own to this `host`, or forbids to believe it. `passed_epoch_s` is when it last read
    as on while the node was well, 0.0 for never; `message` is what the last trial showed, of which
    `power` is on, off or unknown, and `tie` what ties the device to the node (`Tie`).
    """

    device: str
    node: str
    host: str
    live: Live | None = None
    passed_epoch_s: float = 0.0
    passed: bool = False
    message: str = ""
    power: str = "unknown"
    tie: Tie = Tie.NONE


class DrillStage(StrEnum):
    """Of a live drill: asked for; about to be switched off, or off; to be switched on again; over."""

    ASKED = "asked"
    OFF = "off"
    ON = "on"
    OVER = "over"


class LiveDrill(Value, tag="live-drill", frozen=True, kw_only=True):
    """`node` is to be switched off by `devices`, to see who falls silent, and on again. Key `live-drill`:
    there is one at a time. `by` wants it for `reason`; one that was not begun by `until_epoch_s` never is.

    `boot` is the one of the node's daemon before, `wirings` those of the devices that were switched off:
    a tree may change meanwhile. `found` is what was seen while it was off, None before that; `message` says
    it for people.
    """

    id: str
    node: str
    host: str
    devices: tuple[str, ...]
    stage: DrillStage
    by: str
    reason: str
    until_epoch_s: float
    boot: str = ""
    wirings: Mapping[str, str] = field(default_factory=dict)
    found: Found | None = None
    message: str = ""


class Synced(Value, tag="synced", frozen=True, kw_only=True):
    """The members `hosts` (uuids) have a copy of the pool's database in which everything is that facts
    older than (`term`, `seq`) say of VMs. Key `synced`.

    `open` are VMs (uuids) that were on their way by then: nothing is known of where the copy has them.
    """

    hosts: tuple[str, ...]
    term: int
    seq: int
    open: tuple[str, ...] = ()

    @property
    def stamp(self) -> Stamp:
        return (self.term, self.seq)


class Promotion(Value, tag="promotion", frozen=True, kw_only=True):
    """`host` (uuid, of `node`) is to be the pool's master in place of `old`, which `certificate` proves
    dead. Key `promotion`. It was begun in `term`, and there is one in a term at most.

    `stage` is begun; over, once every other member has joined or is certified dead; called-off, where
    the old master is back and nobody took its place. `copies` are the members whose copy of the database
    was as new as that of `host`, `stale` VMs that it may have in another place than they are. `started`
    is when each member's toolstack had started before, as the pool showed it: one that has joined shows
    another. `joined` are those that follow the new master and have compared what they run with what it
    has: only these answer for themselves.
    """

    id: str
    term: int
    node: str
    host: str
    old: str
    certificate: str
    by: str
    stage: str
    copies: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    started: Mapping[str, str] = field(default_factory=dict)
    joined: tuple[str, ...] = ()
    message: str = ""


class Boot(Frozen, frozen=True, kw_only=True):
    """One boot of a host: the epoch second (text) at which the pool says that it booted, and the boot that
    its daemon lives in; "" where that is not known."""

    hint: str
    daemon: str


class Boots(Value, tag="boots", frozen=True, kw_only=True):
    """In which boot each host (uuid) was seen last by whoever acted. Hints, which may add doubt and end
    none. Key `boots`."""

    hosts: Mapping[str, Boot]


class ColdStart(Value, tag="cold-start", frozen=True, kw_only=True):
    """All servers that are here were started anew while others are not here: perhaps the whole site was
    without power. Until each of `absent` (nodes) is here or certified nothing is started and nothing is
    powered off. `untold` answer, and the pool does not show yet that they booted: what it says of their
    VMs may be of before. Key `cold-start`."""

    absent: tuple[str, ...]
    untold: tuple[str, ...] = ()
