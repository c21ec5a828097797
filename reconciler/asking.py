"""Asking: what becomes of a person's request. Refused with a reason, or turned into facts and records."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from membership.clock import Now
from membership.ledger import HOLD, SCOPES, Approval, Drain, FactValue, Freeze, Hold, Withdrawn
from membership.view import PeerState, View
from reconciler.decision import Decision, refused
from reconciler.facts import Facts
from reconciler.messages import (
    Ask,
    AskApply,
    AskBootstrap,
    AskConfirmOff,
    AskDrain,
    AskFence,
    AskFreeze,
    AskHandOver,
    AskHold,
    AskLiveDrill,
    AskLook,
    AskReadDevices,
    AskRelease,
    AskRetry,
    AskThaw,
    AskUndrain,
    Reply,
)
from reconciler.oaths import bootstrap, confirm_off, fence, live_drill, read_devices
from reconciler.records import AnyEntry, Excepted, Retried
from reconciler.revisions import HeadState
from reconciler.sameness import plan_digest
from schema.model import Desired

LONGEST_S = 366 * 86400.0


def decide(ask: Ask, facts: Facts, now: Now) -> Decision:
    """What to do about a request, by the state of this moment."""
    if isinstance(ask, AskLook):
        return Decision(Reply(accepted=True), look=True)
    if isinstance(ask, AskApply) and facts.revisions.state is HeadState.GATED:
        return _apply(ask, facts)  # The first revision of all may wait for approval too.
    match ask:
        case AskHold():
            return _hold(ask, facts, now)
        case AskRelease():
            return _release(ask, facts)
        case AskHandOver():
            return _hand_over(ask, facts)
    desired = facts.desired
    if desired is None:
        return refused("NoTarget", "no revision is in force yet, so there is nothing to act on")
    if isinstance(ask, AskApply):
        return _apply(ask, facts)
    if not facts.decides:
        return refused(
            "NotActing", _not_acting(facts)
        )  # A fact of a leader that is none may get lost.
    match ask:
        case AskFreeze():
            return _freeze(ask, desired, now)
        case AskThaw():
            return _thaw(ask, facts, now)
        case AskDrain():
            return _drain(ask, desired, now)
        case AskUndrain():
            return _undrain(ask, desired, facts)
        case AskRetry():
            return _retry(ask, facts)
        case AskConfirmOff():
            return confirm_off(ask, facts)
        case AskFence():
            return fence(ask, facts, now)
        case AskReadDevices():
            return read_devices(ask, facts)
        case AskLiveDrill():
            return live_drill(ask, facts, now)
        case AskBootstrap():
            return bootstrap(ask, facts)


def _apply(ask: AskApply, facts: Facts) -> Decision:
    gated = facts.revisions.state is HeadState.GATED
    shown = facts.proposed if gated else facts.plan
    if ask.plan is not None and (shown is None or ask.plan != plan_digest(shown)):
        return refused("StalePlan", "the plan is no longer the one that was read")
    candidate = facts.revisions.candidate
    target = facts.revisions.target
    waiting = facts.revisions.state is HeadState.GATED
    ready = waiting and candidate is not None and candidate.head.revision == ask.revision
    if ready and not facts.decides:
        return refused("NotActing", _not_acting(facts))
    agreed = facts.ledger.target
    if ready and agreed is not None and facts.revisions.outdated(agreed):
        return _goes_back(agreed.revision, ask.revision)
    if ready and candidate is not None:
        approval = Approval(revision=ask.revision, digest=candidate.digest, by=ask.by)
        message = f"r{ask.revision} approved by {ask.by}"
        entry = Excepted(object="cluster", message=message, fact=approval)
        return Decision(
            Reply(accepted=True, message=message),
            entries=(entry,),
            facts=(("approval", approval),),
            approve=ask.revision,
        )
    in_force = target.head.revision if target is not None else 0
    if ask.revision == in_force:
        return Decision(
            Reply(accepted=True, message=f"r{ask.revision} is in force"),
            entries=tuple(_impatient(facts, ask.by)),
        )
    if ask.revision < in_force:
        return _goes_back(in_force, ask.revision)
    return refused("NotTheHead", f"r{ask.revision} is not the head that waits for approval")


def _goes_back(in_force: int, asked: int) -> Decision:
    message = f"r{in_force} is in force; going back to r{asked} is a commit of its content"
    return refused("WouldGoBack", message)


def _not_acting(facts: Facts) -> str:
    view = facts.view
    if view.leader != facts.me:
        return f"{facts.me} does not lead; {view.leader or 'nobody'} does"
    why = facts.hindrance or f"it takes over, stage {facts.stage.value}"
    return f"{facts.me} leads and may not decide yet: {why}; ask again shortly"


def _impatient(facts: Facts, by: str) -> Iterator[Retried]:
    """Whoever applies what is in force wants what waits for back-off to be tried now."""
    for name, subject in facts.subjects.items():
        if subject in facts.journal.backoff:
            yield Retried(object=name, subject=subject, by=by)


def _unknown(objects: tuple[str, ...], desired: Desired) -> str | None:
    for name in objects:
        kind, _, rest = name.partition("/")
        if name == "all" or (kind == "vm" and rest in desired.vms):
            continue
        if kind == "node" and rest in desired.nodes:
            continue
        return name
    return None


def _freeze(ask: AskFreeze, desired: Desired, now: Now) -> Decision:
    stranger = _unknown(ask.objects, desired)
    if stranger is not None:
        return refused("UnknownObject", f"{stranger} is no object of the tree in force")
    odd = next((scope for scope in ask.scopes if scope not in SCOPES), None)
    if odd is not None or not ask.scopes:
        return refused("UnknownScope", f"scopes are {', '.join(SCOPES)}, not {odd}")
    if not ask.reason.strip():
        return refused("NoReason", "a freeze needs a reason: somebody will ask why nothing happens")
    if ask.for_s is not None and not 0.0 < ask.for_s <= LONGEST_S:
        return refused("BadSpan", "a freeze lasts longer than nothing and at most a year")
    until = None if ask.for_s is None else now.epoch_s + ask.for_s
    entries: list[AnyEntry] = []
    facts: list[tuple[str, FactValue]] = []
    for name in ask.objects:
        freeze = Freeze(
            object=name, scopes=ask.scopes, until_epoch_s=until, reason=ask.reason, by=ask.by
        )
        message = f"frozen by {ask.by} ({', '.join(ask.scopes)}): {ask.reason}"
        entries.append(Excepted(object=name, message=message, fact=freeze))
        facts.append((f"freeze/{name}", freeze))
    reply = Reply(accepted=True, notes=tuple(f"{name} is frozen" for name in ask.objects))
    return Decision(reply, entries=tuple(entries), facts=tuple(facts))


def _thaw(ask: AskThaw, facts: Facts, now: Now) -> Decision:
    frozen = {freeze.object for freeze in facts.ledger.freezes(now)}
    names = sorted(frozen) if "all" in ask.objects and "all" not in frozen else ask.objects
    names = [name for name in names if name in frozen]
    if not names:
        return refused("NotFrozen", f"nothing of {', '.join(ask.objects)} is frozen")
    gone = Withdrawn(by=ask.by)
    return Decision(
        Reply(accepted=True, notes=tuple(f"{name} is thawed" for name in names)),
        entries=tuple(
            Excepted(object=name, message=f"thawed by {ask.by}", fact=gone) for name in names
        ),
        facts=tuple((f"freeze/{name}", gone) for name in names),
    )


def _drain(ask: AskDrain, desired: Desired, now: Now) -> Decision:
    if ask.node not in desired.nodes:
        return refused("UnknownObject", f"node/{ask.node} is no node of the tree in force")
    until = None if ask.for_s is None else now.epoch_s + ask.for_s
    drain = Drain(node=ask.node, until_epoch_s=until, reason=ask.reason, by=ask.by)
    message = f"drain asked for by {ask.by}: {ask.reason}"
    return Decision(
        Reply(accepted=True, message=f"node/{ask.node} is to be emptied"),
        entries=(Excepted(object=f"node/{ask.node}", message=message, fact=drain),),
        facts=((f"drain/{ask.node}", drain),),
    )


def _undrain(ask: AskUndrain, desired: Desired, facts: Facts) -> Decision:
    node = desired.nodes.get(ask.node)
    declared = node is not None and node.maintenance is not None
    if ask.node not in facts.ledger.drains():
        if declared:
            return refused(
                "DeclaredInTree",
                f"maintenance of node/{ask.node} is in the tree: ending it is a commit",
            )
        return refused("NotDrained", f"node/{ask.node} is not being drained by command")
    gone = Withdrawn(by=ask.by)
    notes = (f"the tree still declares maintenance of node/{ask.node}",) if declared else ()
    name = f"node/{ask.node}"
    return Decision(
        Reply(accepted=True, message=f"{name} may take VMs again", notes=notes),
        entries=(Excepted(object=name, message=f"undrained by {ask.by}", fact=gone),),
        facts=((f"drain/{ask.node}", gone),),
    )


def _hold(ask: AskHold, facts: Facts, now: Now) -> Decision:
    """Its id names the node and the moment: two nodes never give the same one. Nor does one node twice, be
    it asked by two people at once or its clock set back: who releases one would release both."""
    if not ask.reason.strip():
        return refused("NoReason", "a hold needs a reason: somebody has to decide when it ends")
    stamps = (f"H-{facts.me}-{stamp:x}" for stamp in count(int(now.epoch_s * 100.0)))
    free = next(id_ for id_ in stamps if f"{HOLD}{id_}" not in facts.ledger.facts)
    hold = Hold(id=free, reason=ask.reason, by=ask.by)
    message = f"held by {ask.by}: {ask.reason}"
    return Decision(
        Reply(accepted=True, message=hold.id, notes=(f"cxm release {hold.id} ends it",)),
        entries=(Excepted(object="cluster", message=message, fact=hold),),
        facts=((f"hold/{hold.id}", hold),),
    )


def _release(ask: AskRelease, facts: Facts) -> Decision:
    holds = {hold.id for hold in facts.ledger.holds}
    if ask.id not in holds:
        known = f"there is {', '.join(sorted(holds))}" if holds else "nothing is held"
        return refused("NoSuchHold", f"no hold has the id {ask.id}; {known}")
    why = f": {ask.reason}" if ask.reason else ""
    gone = Withdrawn(by=ask.by)
    message = f"hold {ask.id} released by {ask.by}{why}"
    return Decision(
        Reply(accepted=True, message=f"{ask.id} is released"),
        entries=(Excepted(object="cluster", message=message, fact=gone),),
        facts=((f"hold/{ask.id}", gone),),
    )


def _hand_over(ask: AskHandOver, facts: Facts) -> Decision:
    view = facts.view
    if view.alone:
        return refused("Alone", "one daemon is the whole cluster: there is nobody to hand over to")
    if view.leader != facts.me:
        return refused("NotLeader", f"{view.leader or 'nobody'} leads, not {facts.me}")
    if ask.to == facts.me:
        return refused("LeadsAlready", f"{facts.me} leads already")
    others = {name: peer.state for name, peer in view.peers.items() if name != facts.me}
    if ask.to is not None and ask.to not in others:
        there = ", ".join(sorted(others)) or "none"
        return refused("UnknownPeer", f"there is no peer {ask.to}; the others are: {there}")
    if ask.to is not None and others[ask.to] is not PeerState.ALIVE:
        return refused("NotAlive", f"{ask.to} cannot lead: it is {others[ask.to].value}")
    heirs = [
        name for name, state in others.items() if state is PeerState.ALIVE and _may_lead(name, view)
    ]
    if not heirs:
        states = ", ".join(f"{name} is {state.value}" for name, state in sorted(others.items()))
        message = f"nobody else could lead: {states or 'there is no other peer'}"
        return refused("NobodyElse", f"{message}; {facts.me} goes on")
    if ask.to is not None and ask.to not in heirs:
        return refused("NoVoter", f"{ask.to} cannot lead: it has no vote yet (cxm leader)")
    message = f"{facts.me} hands over to {ask.to or 'whoever can lead'}, asked by {ask.by}"
    return Decision(Reply(accepted=True, message=message), hand_over=ask.to or "")


def _may_lead(name: str, view: View) -> bool:
    """Voters elect one of themselves; an engine that counts no votes lets any peer lead."""
    return not view.voters.names or name in view.voters.names


def _retry(ask: AskRetry, facts: Facts) -> Decision:
    subjects = facts.subjects
    stranger = next((name for name in ask.objects if name not in subjects), None)
    if stranger is not None:
        return refused(
            "UnknownObject", f"{stranger} is not in the tree in force, or not in the pool"
        )
    return Decision(
        Reply(accepted=True, notes=tuple(f"{name} is tried again" for name in ask.objects)),
        entries=tuple(
            Retried(object=name, subject=subjects[name], by=ask.by) for name in ask.objects
        ),
    )
