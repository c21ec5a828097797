"""Alerts. Real servers keep them outside the database: own counter, no entry in the counts."""

from collections import deque
from dataclasses import dataclass

from simulator.clock import Clock
from simulator.database import Database, Row
from simulator.datamodel import data_model
from simulator.values import ApiError, DateTime, Record, handle_invalid

USUAL_PRIORITY = 3
"""Of a message whose name no table knows."""


FORGOTTEN_KEPT = 1024
"""Deletions remembered for event.from."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One message and the generation at which it came."""

    ref: str
    generation: int
    record: Record


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A message that was destroyed at ``deleted``."""

    ref: str
    created: int
    deleted: int


class Messages:
    """All messages, oldest first."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self.generation = 0
        self._db = db
        self._clock = clock
        self._alerts: dict[str, Alert] = {}
        self.forgotten: deque[Forgotten] = deque(maxlen=FORGOTTEN_KEPT)

    def go_on_after(self, other: "Messages") -> None:
        """Count on from another's number: a new master has none of the old one's messages."""
        self.generation = other.generation

    def post(self, name: str, cls: str, row: Row, body: str) -> str:
        """A message of the server itself about an object; the priority comes from its table."""
        priority = data_model().message_priorities.get(name, USUAL_PRIORITY)
        return self.create(name, priority, cls, row.text("uuid"), body)

    def create(self, name: str, priority: int, cls: str, obj_uuid: str, body: str) -> str:
        """A new message; answers its reference."""
        record: Record = {
            "uuid": self._db.fresh_uuid(),
            "name": name,
            "priority": priority,
            "cls": cls,
            "obj_uuid": obj_uuid,
            "timestamp": self._clock.date(),
            "body": body,
        }
        self.generation += 1
        alert = Alert(self._db.fresh_ref(), self.generation, record)
        self._alerts[alert.ref] = alert
        self._db.wake_all()
        return alert.ref

    def listed(self) -> list[Alert]:
        """All that are kept, oldest first."""
        return list(self._alerts.values())

    def get(self, ref: str) -> Alert:
        """The message of that reference; HANDLE_INVALID if there is none."""
        if ref not in self._alerts:
            raise handle_invalid("message", ref)
        return self._alerts[ref]

    def by_uuid(self, uuid: str) -> Alert:
        """The message of that uuid; UUID_INVALID if there is none."""
        for alert in self._alerts.values():
            if alert.record["uuid"] == uuid:
                return alert
        raise ApiError("UUID_INVALID", "message", uuid)

    def since(self, moment: DateTime) -> list[Alert]:
        """Those of that moment and later."""
        return [a for a in self.listed() if str(a.record["timestamp"]) >= moment]

    def destroy(self, ref: str) -> None:
        """Forget one; HANDLE_INVALID if there is none."""
        alert = self.get(ref)
        del self._alerts[ref]
        self.generation += 1
        self.forgotten.append(Forgotten(ref, alert.generation, self.generation))
        self._db.wake_all()
