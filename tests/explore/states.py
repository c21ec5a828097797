"""One moment of a small pool, as a value: servers, the pool's one record of one VM, and what nodes know.

Hosts and nodes are numbers from 0. A stamp is (term, number within the term). Moments that differ by
the names of hosts, or by numbers whose order is the same, are one: `canonical` picks it.
"""

from __future__ import annotations

from itertools import permutations, product
from typing import NamedTuple

Stamp = tuple[int, int]
Places = tuple[tuple[int, Stamp], ...]


class Host(NamedTuple):
    """`heard`: others hear it, and it reaches the pool's database. `domain`: the VM lives on it."""

    on: bool = True
    heard: bool = True
    domain: bool = False


class Told(NamedTuple):
    """What a ledger tells of may-run of the VM: when it was said, each host with its stamp."""

    stamp: Stamp
    places: Places
    reset: bool = False


class Paper(NamedTuple):
    """A certificate. `current`: the host has not come back since, as far as XenAPI shows its boot."""

    stamp: Stamp
    current: bool = True


class Book(NamedTuple):
    """One node's ledger: may-run, the certificate of each host, and since when nothing is trusted."""

    told: Told | None
    certificates: tuple[Paper | None, ...]
    unread: Stamp | None = None


class Record(NamedTuple):
    """The pool's record of the VM. `on`: Running there; None: Halted. `going` is where a start or a
    migration under way goes to; `moved`: that migration is over but for the record. `reset`: somebody
    set it to Halted."""

    on: int | None = None
    going: int | None = None
    moved: bool = False
    reset: bool = False


class Call(NamedTuple):
    """A call that the leader has decided upon and that the pool does not have yet. `kind` is start,
    migrate or reset."""

    kind: str
    target: int


class Climb(NamedTuple):
    """Where the leader's ladder for one host is; `look`: its devices are being read for it, `shot`:
    switched off. A shot outlives the ladder, and then is `stray`."""

    rung: str = "idle"
    level: int = 0
    shots: int = 0
    asked: bool = False
    look: bool = False
    shot: bool = False
    stray: bool = False


class State(NamedTuple):
    """`faults` is how many more may come; `lied`: a fence device said what was not true; `rolled`: the
    pool's database went back, and nobody has led since."""

    hosts: tuple[Host, ...]
    record: Record
    books: tuple[Book, ...]
    climbs: tuple[Climb, ...]
    leader: int | None
    term: int
    call: Call | None
    faults: int
    lied: bool = False
    rolled: bool = False


def first(count: int, faults: int) -> State:
    """The VM runs on host 0, whose node leads; every ledger says so."""
    told = Told((1, 1), ((0, (1, 1)),))
    return State(
        hosts=tuple(Host(domain=number == 0) for number in range(count)),
        record=Record(on=0),
        books=(Book(told, (None,) * count),) * count,
        climbs=(Climb(),) * count,
        leader=0,
        term=1,
        call=None,
        faults=faults,
    )


# --- one of many ----------------------------------------------------------------------------------


def canonical(state: State) -> State:
    """The one moment that stands for all which differ by names and numbers alone."""
    state = _numbered(state)
    keys = [_look_of(state, number) for number in range(len(state.hosts))]
    groups = [
        [number for number, other in enumerate(keys) if other == key] for key in sorted({*keys})
    ]
    if all(len(group) == 1 for group in groups):
        return _renamed(state, [number for (number,) in groups])
    orders = (
        [number for group in chosen for number in group]
        for chosen in product(*map(permutations, groups))
    )
    return min((_renamed(state, order) for order in orders), key=_rank)


def _rank(state: State) -> str:
    return repr(state)


def _look_of(state: State, number: int) -> str:
    """What of this host does not depend on the names of others."""
    record, call, book = state.record, state.call, state.books[number]
    told = book.told
    marks = (
        state.leader == number,
        record.on == number,
        record.going == number,
        call is not None and call.target == number,
        told.stamp if told else None,
        [stamp for host, stamp in (told.places if told else ()) if host == number],
        book.certificates[number],
        book.unread,
    )
    return repr((state.hosts[number], state.climbs[number], marks))


def _renamed(state: State, order: list[int]) -> State:
    """`order`: the present number of each host of the new moment."""
    new = {old: number for number, old in enumerate(order)}
    books = tuple(_rewritten(state.books[old], order, new) for old in order)
    record, call = state.record, state.call
    return state._replace(
        hosts=tuple(state.hosts[old] for old in order),
        climbs=tuple(state.climbs[old] for old in order),
        books=books,
        record=record._replace(
            on=None if record.on is None else new[record.on],
            going=None if record.going is None else new[record.going],
        ),
        leader=None if state.leader is None else new[state.leader],
        call=None if call is None else call._replace(target=new[call.target]),
    )


def _rewritten(book: Book, order: list[int], new: dict[int, int]) -> Book:
    told = book.told
    if told is not None:
        places = tuple(sorted((new[host], stamp) for host, stamp in told.places))
        told = told._replace(places=places)
    return Book(told, tuple(book.certificates[old] for old in order), book.unread)


def _numbered(state: State) -> State:
    """Stamps are compared and never counted: the least numbers with the same order do."""
    stamps = sorted({stamp for book in state.books for stamp in stamps_of(book)})
    terms = {term: number for number, term in enumerate(sorted({term for term, _ in stamps}), 1)}
    last = terms.setdefault(state.term, len(terms) + 1)
    new: dict[Stamp, Stamp] = {}
    for term, _ in stamps:
        within = [stamp for stamp in stamps if stamp[0] == term]
        new.update({stamp: (terms[term], place) for place, stamp in enumerate(within, 1)})
    books = tuple(_restamped(book, new) for book in state.books)
    return state._replace(books=books, term=last)


def stamps_of(book: Book) -> list[Stamp]:
    """Every stamp that this ledger has."""
    found = [paper.stamp for paper in book.certificates if paper is not None]
    if book.unread is not None:
        found.append(book.unread)
    if book.told is not None:
        found += [book.told.stamp, *(stamp for _, stamp in book.told.places)]
    return found


def _restamped(book: Book, new: dict[Stamp, Stamp]) -> Book:
    told = book.told
    if told is not None:
        places = tuple((host, new[stamp]) for host, stamp in told.places)
        told = Told(new[told.stamp], places, told.reset)
    certificates = tuple(
        None if paper is None else paper._replace(stamp=new[paper.stamp])
        for paper in book.certificates
    )
    return Book(told, certificates, None if book.unread is None else new[book.unread])
