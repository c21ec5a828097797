"""What goes to single members of the pool, and to all of them, and comes back: effects and events of
putting one in the place of a dead master, and of keeping their copies of its database fresh."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from schema.model import Frozen


class Role(StrEnum):
    """What a member answers that is asked to let somebody in. `ALONE`: its toolstack was started and did
    not get to its master. `BOOTING`: it does not know yet; nor does `UNKNOWN` tell, which answers."""

    MASTER = "master"
    SLAVE = "slave"
    ALONE = "alone"
    BOOTING = "booting"
    UNKNOWN = "unknown"
    SILENT = "silent"


class Said(Frozen, frozen=True, kw_only=True):
    """`follows` is the address of the master that a slave names."""

    role: Role
    follows: str = ""
    message: str = ""


class AskMembers(Frozen, frozen=True, kw_only=True):
    """Ask each member what it takes itself for, all at the same time, and come back with `MembersAsked`.
    `addresses` by uuid. Changes nothing anywhere."""

    addresses: Mapping[str, str]
    within_s: float


class MembersAsked(Frozen, frozen=True, kw_only=True):
    """What each of them said, by uuid."""

    said: Mapping[str, Said]


class MakeMaster(Frozen, frozen=True, kw_only=True):
    """Have the member at this address become the pool's master, if it is not yet, and come back with
    `MasterMade`. `promotion` is the id of the fact that says so.

    Not begun where too few voters know what was shared before, nor outside of the lease.
    """

    promotion: str
    address: str
    within_s: float


class MasterMade(Frozen, frozen=True, kw_only=True):
    """It was told so, or is master already; or `message` says what came of it. It proves nothing."""

    promotion: str
    message: str = ""


class TellMembers(Frozen, frozen=True, kw_only=True):
    """Have the new master tell the other members that it is; come back with `MembersTold`."""

    promotion: str
    within_s: float


class MembersTold(Frozen, frozen=True, kw_only=True):
    """The members (uuids) that took it in; `message` says why none can be named."""

    promotion: str
    hosts: tuple[str, ...] = ()
    message: str = ""


class SendCopies(Frozen, frozen=True, kw_only=True):
    """Have the master send its database to every other member; come back with `CopiesSent`."""

    within_s: float


class CopiesSent(Frozen, frozen=True, kw_only=True):
    """All that could be reached have it; or `message` says what came of it."""

    message: str = ""


MemberEffect = AskMembers | MakeMaster | TellMembers | SendCopies
MemberEvent = MembersAsked | MasterMade | MembersTold | CopiesSent
