"""Everything that can happen next in a moment: what nodes do, what is on its way, people, faults, time.

Timers are happenings: whatever time would bring may come now or never. Two things are taken for
granted of real time: a server does not boot sooner than a call or a reading that was begun is over;
and what people do to a record is seen before the next decision rests on it.
"""

from __future__ import annotations

from collections.abc import Iterator

from membership.roster import Voters
from tests.explore.minds import Minds, Seen, looked, next_stamp, stepped, switched
from tests.explore.states import Book, Call, Climb, Host, Paper, Record, State

Next = tuple[str, State]


class Happenings:
    """`kinds` are the faults that may come."""

    def __init__(self, minds: Minds, kinds: frozenset[str]) -> None:
        self._minds = minds
        self._kinds = kinds
        self._names = tuple(range(len(minds.names)))

    def after(self, state: State) -> Iterator[Next]:
        """What can happen, and the moment that comes of it."""
        yield from self._leads(state)
        yield from self._elections(state)
        yield from self._tellings(state)
        yield from self._accepted(state)
        yield from self._operation(state)
        yield from self._devices(state)
        yield from self._servers(state)
        yield from self._people(state)
        if state.faults:
            yield from self._faults(state._replace(faults=state.faults - 1))

    # --- the leader -----------------------------------------------------------------------------

    def _seen(self, state: State) -> Seen | None:
        """What the leader decides by; None where there is none, or it does not reach the pool."""
        me = state.leader
        if me is None or not heard(state.hosts[me]):
            return None
        reached = tuple(heard(host) for host in state.hosts)
        return Seen(me, reached, state.record, state.books[me], state.call)

    def _leads(self, state: State) -> Iterator[Next]:
        seen = self._seen(state)
        if seen is None:
            return
        minds = self._minds
        noted = minds.noted(seen, next_stamp(seen.book, state.term))
        told = _with_book(state, seen.me, noted)
        verdicts = minds.thought(seen).verdicts
        climbs = tuple(map(stepped, state.climbs, verdicts))
        if told.books != state.books or climbs != state.climbs:
            yield "step", told._replace(climbs=climbs)
        if state.call is not None:
            return
        for call in self._wishes(state):
            if minds.permits(seen, call.kind, call.target):
                after = told._replace(call=call)
                if call.kind != "reset":
                    known = seen._replace(book=noted)
                    grown = minds.grown(known, call.target, next_stamp(noted, state.term))
                    after = _with_book(after, seen.me, grown)
                yield f"decide {call.kind} {call.target}", after

    def _wishes(self, state: State) -> Iterator[Call]:
        """Every call that could be wanted: what a plan wants is among them."""
        record = state.record
        if record.going is not None:
            return
        if record.on is None:
            yield from (Call("start", number) for number in self._names)
        else:
            others = (number for number in self._names if number != record.on)
            yield from (Call("migrate", number) for number in others)
            yield Call("reset", record.on)

    # --- leading, and what peers know -----------------------------------------------------------

    def _elections(self, state: State) -> Iterator[Next]:
        """Anybody who is heard, at any time, with the ledgers of a quorum where there can be one."""
        reached = [number for number in self._names if heard(state.hosts[number])]
        others_needed = Voters(epoch=1, names=self._minds.names).quorum - 1
        if len(self._names) == 2:
            others_needed = 0
        for me in reached:
            others = [number for number in reached if number != me]
            if me == state.leader or len(others) < others_needed:
                continue
            readings: list[tuple[int, ...]] = [(other,) for other in others]
            for read in readings or [()]:
                yield f"elect {me} reading {read}", self._elected(state, me, read)

    def _elected(self, state: State, me: int, read: tuple[int, ...]) -> State:
        """The predecessor's session is ended: a call that the pool does not have yet never comes."""
        book = state.books[me]
        for other in read:
            book = self._minds.merged(book, state.books[other])
        term = state.term + 1
        reached = tuple(heard(host) for host in state.hosts)
        if state.rolled or self._minds.unread(me, reached, read):
            book = book._replace(unread=next_stamp(book, term))
        after = _with_book(state, me, book)
        climbs = tuple(Climb(stray=climb.shot or climb.stray) for climb in state.climbs)
        return after._replace(leader=me, term=term, call=None, climbs=climbs, rolled=False)

    def _tellings(self, state: State) -> Iterator[Next]:
        """A message with facts arrives. All others are lost."""
        me = state.leader
        if me is None or not heard(state.hosts[me]):
            return
        for other in self._names:
            if other == me or not heard(state.hosts[other]):
                continue
            for teller, hearer in ((me, other), (other, me)):
                whole = self._minds.merged(state.books[hearer], state.books[teller])
                if whole != state.books[hearer]:
                    yield f"{teller} tells {hearer}", _with_book(state, hearer, whole)

    # --- calls ----------------------------------------------------------------------------------

    def _accepted(self, state: State) -> Iterator[Next]:
        """The pool takes the call, or refuses it: it has one database, and does one thing at a time."""
        call, record = state.call, state.record
        if call is None or state.leader is None or not heard(state.hosts[state.leader]):
            return
        done = state._replace(call=None)
        if not self._taken(state, call):
            yield f"{call.kind} refused", done
        elif call.kind == "reset":
            yield "reset done", done._replace(record=Record())
        elif self._minds.enough(state):
            yield f"{call.kind} begun", done._replace(record=record._replace(going=call.target))

    def _taken(self, state: State, call: Call) -> bool:
        record = state.record
        if record.going is not None:
            return False
        if call.kind == "reset":
            return record.on is not None
        target = state.hosts[call.target]
        if not heard(target) or target.domain:
            return False  # A server that answers refuses what it has.
        if call.kind == "start":
            return record.on is None
        return record.on not in (None, call.target) and heard(state.hosts[record.on or 0])

    def _operation(self, state: State) -> Iterator[Next]:
        """A start or a migration under way comes to its end, or to none."""
        record, to = state.record, state.record.going
        if to is None:
            return
        target = state.hosts[to]
        if record.on is None:
            yield "start forgotten", state._replace(record=Record(reset=record.reset))
            if target.on:
                after = _with_host(state, to, target._replace(domain=True))
                seen = Record(on=to) if target.heard else record
                if after != state:
                    yield "started", after._replace(record=seen)
            return
        source = state.hosts[record.on]
        if not record.moved:
            yield "migration failed", state._replace(record=record._replace(going=None))
            if heard(source) and heard(target) and source.domain:
                after = _with_host(state, record.on, source._replace(domain=False))
                after = _with_host(after, to, target._replace(domain=True))
                yield "moved", after._replace(record=record._replace(moved=True))
        elif heard(target):
            yield "arrived", state._replace(record=_shown(state, Record(on=to), to))
        elif heard(source):
            yield "source reports it gone", state._replace(record=Record())
        else:
            left = record._replace(going=None, moved=False)
            yield "migration forgotten", state._replace(record=left)

    # --- devices --------------------------------------------------------------------------------

    def _devices(self, state: State) -> Iterator[Next]:
        for number, climb in enumerate(state.climbs):
            if climb.look:
                yield f"read {number}", self._read(state, number, on=state.hosts[number].on)
            if climb.shot:
                after = _switched_off(state, number)
                yield f"shot {number}", _with_climb(after, number, switched(climb))
            if climb.stray and state.hosts[number].on:
                after = _with_climb(state, number, climb._replace(stray=False))
                yield f"stray shot {number}", _switched_off(after, number)

    def _read(self, state: State, number: int, *, on: bool) -> State:
        """What the device says reaches the leader: no other one has asked."""
        seen, climb = self._seen(state), state.climbs[number]
        if seen is None:
            return _with_climb(state, number, climb._replace(look=False))
        verdict = self._minds.thought(seen).verdicts[number]
        after, proven = looked(climb, verdict, on=on)
        state = _with_climb(state, number, after)
        if not proven:
            return state
        certificates = list(seen.book.certificates)
        certificates[number] = Paper(next_stamp(seen.book, state.term))
        book = seen.book._replace(certificates=tuple(certificates))
        return _with_book(state, seen.me, book)

    # --- servers, people, faults ----------------------------------------------------------------

    def _servers(self, state: State) -> Iterator[Next]:
        """Servers come back. What a server has is in the record as soon as it is heard."""
        waits = state.call is not None
        for number, host in enumerate(state.hosts):
            climb = state.climbs[number]
            if not host.on and not (waits or climb.look):
                after = _booted(state, number)
                yield (
                    f"boot {number}",
                    after._replace(record=_shown(after, _over(state, number), number)),
                )
            if host.on and not host.heard:
                after = _with_host(state, number, host._replace(heard=True))
                yield f"heal {number}", after._replace(record=_shown(after, state.record, number))

    def _people(self, state: State) -> Iterator[Next]:
        """A guest shuts down."""
        for number, host in enumerate(state.hosts):
            if host.domain and heard(host) and state.record == Record(on=number):
                after = _with_host(state, number, host._replace(domain=False))
                yield "guest stops", after._replace(record=Record())

    def _faults(self, state: State) -> Iterator[Next]:
        """Power fails, a cable is pulled; people start or reset the VM; devices do nothing, or lie;
        the pool's database is an older one."""
        for number, host in enumerate(state.hosts):
            if "power" in self._kinds and host.on:
                yield f"power of {number} fails", _switched_off(state, number)
            if "cut" in self._kinds and heard(host):
                yield f"cut {number}", _with_host(state, number, host._replace(heard=False))
            yield from self._bad_device(state, number)
        record = state.record
        alive = any(host.domain for host in state.hosts)
        if "start" in self._kinds and record.on is None and record.going is None and not alive:
            for number, host in enumerate(state.hosts):
                if heard(host):
                    after = _with_host(state, number, host._replace(domain=True))
                    yield f"people start it on {number}", after._replace(record=Record(on=number))
        running = record.on is not None and record.going is None
        if "reset" in self._kinds and running and state.call is None:
            yield "people reset it", state._replace(record=Record(reset=True))
        if "rollback" in self._kinds:
            yield "the database goes back", self._rolled_back(state)

    def _bad_device(self, state: State, number: int) -> Iterator[Next]:
        climb, host = state.climbs[number], state.hosts[number]
        if "dud" in self._kinds and climb.shot:
            yield f"dud shot {number}", _with_climb(state, number, switched(climb))
        if "lie" in self._kinds and climb.look and host.on:
            yield f"lie of {number}", self._read(state, number, on=False)._replace(lied=True)

    def _rolled_back(self, state: State) -> State:
        """The record is that of before the VM was started, but for what servers say of themselves."""
        after = state._replace(record=Record(), leader=None, call=None, rolled=True)
        for number, host in enumerate(state.hosts):
            if heard(host):
                after = after._replace(record=_shown(after, after.record, number))
        climbs = tuple(Climb(stray=climb.shot or climb.stray) for climb in state.climbs)
        return after._replace(climbs=climbs)


# --- parts ----------------------------------------------------------------------------------------


def heard(host: Host) -> bool:
    return host.on and host.heard


def _shown(state: State, record: Record, number: int) -> Record:
    """The record once this host has told what it has."""
    if state.hosts[number].domain:
        return Record(on=number)
    if record.on == number and record.going is None:
        return Record()
    return record


def _over(state: State, number: int) -> Record:
    """What was under way on a server that boots has failed; what it had not written down is lost."""
    record, to = state.record, state.record.going
    if record.moved and to not in (None, number) and heard(state.hosts[to or 0]):
        return Record(on=to)
    if record.on == number or (record.going == number and record.on is None):
        return Record()
    if record.going == number:
        return record._replace(going=None, moved=False)
    return record


def _switched_off(state: State, number: int) -> State:
    host = state.hosts[number]
    return _with_host(state, number, host._replace(on=False, heard=False, domain=False))


def _with_host(state: State, number: int, host: Host) -> State:
    hosts = list(state.hosts)
    hosts[number] = host
    return state._replace(hosts=tuple(hosts))


def _booted(state: State, number: int) -> State:
    """XenAPI shows another boot of it than the one that any certificate speaks of."""
    books: list[Book] = []
    for book in state.books:
        papers = list(book.certificates)
        paper = papers[number]
        papers[number] = None if paper is None else paper._replace(current=False)
        books.append(book._replace(certificates=tuple(papers)))
    return _with_host(state, number, Host())._replace(books=tuple(books))


def _with_book(state: State, number: int, book: Book) -> State:
    books = list(state.books)
    books[number] = book
    return state._replace(books=tuple(books))


def _with_climb(state: State, number: int, climb: Climb) -> State:
    climbs = list(state.climbs)
    climbs[number] = climb
    return state._replace(climbs=tuple(climbs))
