"""What an `off` and a `status` of each fence agent prove, as data: who may certify a death, and who may not.

Only agents whose "off" was looked at are here. An agent that reads every unknown answer as off
(fence_ilo_ssh, fence_drac5, fence_amt in its sleep) would certify a running server dead; one that
cuts storage or writes a poison pill switches nothing off. Whoever needs another agent wraps it in a
program of his own (`exec`), and so takes upon himself what its answers mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType

from schema.forms import SECRETS_BELONG, names_a_secret
from schema.model import Frozen


class Kind(StrEnum):
    """What is at the other end of an agent."""

    BMC = "bmc"
    PDU = "pdu"
    PROGRAM = "program"
    HUMAN = "human"


class Identity(StrEnum):
    """How a device tells which server it belongs to."""

    IPMI = "ipmi"
    REDFISH = "redfish"


class FenceAgent(Frozen, frozen=True, kw_only=True):
    """An agent that may certify. `needs` are options without which its answers mean nothing."""

    kind: Kind
    needs: tuple[str, ...] = ()
    identity: Identity | None = None

    @property
    def plugged(self) -> bool:
        """Whether a node is a plug of the device, not the device itself."""
        return self.kind is Kind.PDU


_IPMI = FenceAgent(kind=Kind.BMC, identity=Identity.IPMI)
_BMC = FenceAgent(kind=Kind.BMC)
_PDU = FenceAgent(kind=Kind.PDU)

MAY_CERTIFY: Mapping[str, FenceAgent] = MappingProxyType(
    {
        "exec": FenceAgent(kind=Kind.PROGRAM, needs=("program",)),
        "manual": FenceAgent(kind=Kind.HUMAN),
        "fence_idrac": _IPMI,
        "fence_ilo3": _IPMI,
        "fence_ilo4": _IPMI,
        "fence_ilo5": _IPMI,
        "fence_imm": _IPMI,
        "fence_ipmilan": _IPMI,
        "fence_ipmilanplus": _IPMI,
        # Without systems_uri it takes the last system that the controller lists, whoever is meant.
        "fence_redfish": FenceAgent(
            kind=Kind.BMC, needs=("systems_uri",), identity=Identity.REDFISH
        ),
        "fence_ilo": _BMC,
        "fence_ilo2": _BMC,
        "fence_rsa": _BMC,
        "fence_rsb": _BMC,
        "fence_apc": _PDU,
        "fence_apc_snmp": _PDU,
        "fence_cdu": _PDU,
        "fence_cyberpower_ssh": _PDU,
        "fence_eaton_snmp": _PDU,
        "fence_emerson": _PDU,
        "fence_eps": _PDU,
        "fence_ipdu": _PDU,
        "fence_lindypdu": _PDU,
        "fence_netio": _PDU,
        "fence_raritan": _PDU,
        "fence_raritan_px3": _PDU,
        "fence_tripplite_snmp": _PDU,
        "fence_wti": _PDU,
    }
)

_WATCHDOG = "a watchdog in a service VM resets that VM, not the server"
_STORAGE = "it cuts paths and leaves the server running"
_ANY_IS_OFF = "it takes every answer that it does not know for off"

CANNOT_CERTIFY: Mapping[str, str] = MappingProxyType(
    {
        "fence_sbd": "it is done once the message is written, whether or not the server reads it",
        "fence_watchdog": _WATCHDOG,
        "fence_brocade": _STORAGE,
        "fence_cisco_mds": _STORAGE,
        "fence_ifmib": _STORAGE,
        "fence_mpath": _STORAGE,
        "fence_sanbox2": _STORAGE,
        "fence_scsi": _STORAGE,
        "fence_ack_manual": "cxm's own word for a human's oath is agent: manual",
        "fence_kdump": "it waits for a crash dump to begin, and switches nothing off",
        "fence_heuristics_ping": "it pings, and switches nothing off",
        "fence_dummy": "it writes a file, and switches nothing off",
        "fence_xenapi": "it stops VMs, not servers",
        "fence_ovh": "it cannot read the power back",
        "fence_rcd_serial": "it cannot read the power back",
        "fence_amt": "it takes a sleeping server for one that is off",
        "fence_drac5": _ANY_IS_OFF,
        "fence_ilo_ssh": _ANY_IS_OFF,
        "fence_ilo3_ssh": _ANY_IS_OFF,
        "fence_ilo4_ssh": _ANY_IS_OFF,
        "fence_ilo5_ssh": _ANY_IS_OFF,
        "fence_intelmodular": _ANY_IS_OFF,
    }
)
"""Agents whose success is no proof, with the reason that people are told."""

REFUSED_OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "action": "cxm says what is to be done",
        "plug": "plugs says it, by node",
        "port": "plugs says it, by node",
        "method": "only onoff reads the power back",
        "missing_as_off": "what is missing is not off",
        "plug_separator": "one node, one plug; two devices in one level are two plugs",
        "delay": "the FencingPolicy has a delay, which cxm counts",
        "disable_timeout": "an agent without an end outlives the leader that began it",
        "login_timeout": "timeouts: {login: ...} says it",
        "power_timeout": "timeouts: {power: ...} says it",
        "debug": "it writes secrets into a file",
        "debug_file": "it writes secrets into a file",
        "verbose": "it shows secrets",
        "verbose_level": "it shows secrets",
        "help": "it switches nothing",
        "version": "it switches nothing",
        "ssh_options": "with it a commit would run programs on the nodes",
        "identity_file": "with it a commit would read files on the nodes",
        "use_sudo": "with it a commit would run programs on the nodes",
        "sudo": "with it a commit would run programs on the nodes",
    }
)
"""Options that take away what an answer proves, or give whoever may commit more than fencing."""

_PROGRAM = re.compile(r".*_(path|script)")
_RUNS = "with it a commit would run programs on the nodes"
_WORD = re.compile(r"(?!-)[!#-&(-\[\]-_a-~]+")
_MORE = "agents put it into a command line, where it would be more than one word"

ALLOWED_VALUES: Mapping[str, frozenset[str]] = MappingProxyType({"method": frozenset({"onoff"})})
"""Refused options that may be given all the same, with the value that changes nothing."""


_ASKED = ("action", "plug", "node")
"""What a program of one's own is told by cxm."""


class Refused(Frozen, frozen=True, kw_only=True):
    """`option` is None where the agent itself is refused."""

    code: str
    option: str | None
    message: str
    hint: str


def faults(agent: str, options: Mapping[str, str]) -> Iterator[Refused]:
    """Why a device of this agent with these options could never certify a death."""
    known = MAY_CERTIFY.get(agent)
    if known is None:
        yield _unproven(agent)
        return
    for option, value in options.items():
        why = refusal(option, value)
        if names_a_secret(option):
            message = f'"{option}" would put a secret into the open'
            yield Refused(code="V031", option=option, message=message, hint=SECRETS_BELONG)
        # A program of one's own gives its options the meaning that it likes.
        elif why and (known.kind is not Kind.PROGRAM or option in _ASKED):
            message = f'option "{option}" is not for {agent} to be given: {why}'
            yield Refused(
                code="V034",
                option=option,
                message=message,
                hint="write one word" if why == _MORE else "remove it",
            )
    for option in known.needs:
        if not options.get(option):
            yield _missing(agent, option)


def refusal(option: str, value: str) -> str:
    """Why an agent must not be given this option; empty where it may."""
    name = option.replace("-", "_").lower()
    if value in ALLOWED_VALUES.get(name, ()):
        return ""
    if _PROGRAM.fullmatch(name):
        return _RUNS
    return REFUSED_OPTIONS.get(name, "" if _WORD.fullmatch(value) else _MORE)


def _unproven(agent: str) -> Refused:
    why = CANNOT_CERTIFY.get(agent)
    message = f"agent: {agent} can prove no death"
    if why:
        return Refused(code="V033", option=None, message=f"{message}: {why}", hint=_OTHERS)
    message = f"agent: {agent} is none whose answers cxm knows the meaning of"
    return Refused(code="V033", option=None, message=message, hint=_OTHERS)


_OTHERS = (
    "use another agent, exec with a program of your own, or manual; cxm explain V033 lists them"
)
_EXAMPLES = MappingProxyType(
    {"systems_uri": "/redfish/v1/Systems/1", "program": "NAME, a file in fence.d beside node.yaml"}
)


def _missing(agent: str, option: str) -> Refused:
    message = f"agent: {agent} needs the option {option}"
    hint = f"add options: {{{option}: {_EXAMPLES[option]}}}"
    return Refused(code="V028", option=None, message=message, hint=hint)
