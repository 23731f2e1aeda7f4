"""The checker: what was acknowledged, what each stream saw, and what it was still owed.

A stream owes its client every acknowledged event of its user after its first position. If an event
does not arrive, an `sse.reset` must arrive before any newer event. The position of the reset is not
below the event's; if Redis acknowledged the event and then lost it, the reset comes after the
loss. An event that was not acknowledged may arrive, but never twice. All times are of one
monotonic clock.
"""

import bisect
import re
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

import msgspec

_ID = re.compile(r"(0|[1-9]\d{0,19})-(0|[1-9]\d{0,19})", re.ASCII)


def position_of(event_id: str) -> int:
    """Return the position of an event id, ordered as Redis orders ids. Raises ValueError."""
    match = _ID.fullmatch(event_id)
    if match is None:
        raise ValueError(f"{event_id!r} is no id of the log")
    return int(match[1]) << 64 | int(match[2])


def id_of(position: int) -> str:
    """Return the event id of a position."""
    return f"{position >> 64}-{position & (1 << 64) - 1}"


class Violation(StrEnum):
    """What a stream must never do to its client."""

    LOSS = "untold loss"
    DUPLICATE = "duplicate"
    ORDER = "order error"
    NEEDLESS = "needless reset"
    GIVEN_UP = "client given up"
    MALFORMED = "malformed"
    NO_ACCESS = "event without access"


class Acknowledged(msgspec.Struct, frozen=True):
    """An event whose id a node returned."""

    number: int
    position: int
    at: float


class Loss(msgspec.Struct, frozen=True):
    """A moment at which Redis lost events that it had acknowledged."""

    began_at: float
    """From here on a stream may be reset."""
    events: frozenset[tuple[str, int]]
    """User and number of the lost events."""


class Ledger:
    """What was sent and acknowledged; numbers of a user rise from 0 in the order of sending."""

    def __init__(self) -> None:
        """Begin with nothing sent."""
        self.sent_at: dict[str, list[float]] = {}
        """For each user the time of the first attempt, by number."""
        self.acknowledged: dict[str, dict[int, Acknowledged]] = {}
        self.losses: list[Loss] = []
        self._gone: set[tuple[str, int]] = set()

    def send(self, user: str, at: float) -> int:
        """Record an event before it is sent for the first time; return its number."""
        sent_at = self.sent_at.setdefault(user, [])
        sent_at.append(at)
        return len(sent_at) - 1

    def acknowledge(self, user: str, number: int, position: int, at: float) -> None:
        """Record the id that a node returned for an event."""
        events = self.acknowledged.setdefault(user, {})
        events[number] = Acknowledged(number, position, at)

    def trim(self, held: set[tuple[str, int]]) -> None:
        """Record that the log was trimmed to the events `held`: user and number of each."""
        self._gone.update(self._missing(held))

    def lose(
        self,
        began_at: float,
        held: set[tuple[str, int]],
        known: frozenset[tuple[str, int]] | None = None,
    ) -> int:
        """Record that Redis lost all events except `held`; return the number of lost events.

        From `began_at` on streams may be reset. Of events that are not among `known`, those that
        were acknowledged before `held` was read, nothing is said.
        """
        lost = self._missing(held)
        if known is not None:
            lost &= known
        self._gone.update(lost)
        self.losses.append(Loss(began_at, lost))
        return len(lost)

    def all_acknowledged(self) -> frozenset[tuple[str, int]]:
        """Return user and number of every event that has been acknowledged."""
        return frozenset(
            (user, number) for user, events in self.acknowledged.items() for number in events
        )

    def _missing(self, held: set[tuple[str, int]]) -> frozenset[tuple[str, int]]:
        return self.all_acknowledged() - held - self._gone


class Seen(msgspec.Struct, frozen=True):
    """An event that a stream dispatched."""

    position: int
    number: int


class Opened(msgspec.Struct, frozen=True):
    """`sse.open`, with its id."""

    position: int
    at: float


class Reset(msgspec.Struct, frozen=True):
    """`sse.reset`, with its id."""

    position: int
    at: float
    reason: str


class FaultBegan(msgspec.Struct, frozen=True):
    """From here on a stream's notes belong to this fault."""

    number: int


class Offence(msgspec.Struct, frozen=True):
    """A violation that the client sees without a ledger."""

    violation: Violation
    detail: str


Note = Seen | Opened | Reset | FaultBegan | Offence


class Journal:
    """What one client saw, over all its connections, in order."""

    def __init__(self, name: str, user: str) -> None:
        """Begin with nothing seen."""
        self.name = name
        self.user = user
        self.notes: list[Note] = []


class FaultTime(msgspec.Struct, frozen=True):
    """When a fault began, and whether it may reset streams."""

    name: str
    began_at: float
    may_reset: bool


class Case(msgspec.Struct, frozen=True):
    """One violation, proven."""

    violation: Violation
    fault: int
    """The number of the fault during which it happened; -1 before the first."""
    stream: str
    detail: str


def checker(ledger: Ledger, journals: Iterable[Journal], faults: Sequence[FaultTime]) -> list[Case]:
    """Return every violation in the journals."""
    return [case for journal in journals for case in _Trial(ledger, journal, faults).cases()]


class _Start(msgspec.Struct, frozen=True):
    """The position from which a stream is complete."""

    index: int
    position: int
    at: float


class _Trial:
    """The check of one journal."""

    def __init__(self, ledger: Ledger, journal: Journal, faults: Sequence[FaultTime]) -> None:
        self._ledger = ledger
        self._journal = journal
        self._faults = faults
        self._sent_at = ledger.sent_at.get(journal.user, [])
        self._starts: list[_Start] = []
        self._seen: dict[int, int] = {}  # by number, the index of its first note

    def cases(self) -> Iterator[Case]:
        """Return the violations that the journal shows, then those that need the ledger."""
        yield from self._read()
        yield from self._losses()

    def _read(self) -> Iterator[Case]:
        fault = -1
        position = number = -1  # the highest since the last start
        identities: set[tuple[int, int]] = set()
        numbers: set[int] = set()  # since the last start
        for index, note in enumerate(self._journal.notes):
            if isinstance(note, Seen):
                if (note.position, note.number) in identities or note.number in numbers:
                    yield self._case(Violation.DUPLICATE, fault, _text(note))
                elif note.position <= position or note.number <= number:
                    after = f"{_text(note)} after id {id_of(position)}, number {number}"
                    yield self._case(Violation.ORDER, fault, after)
                identities.add((note.position, note.number))
                numbers.add(note.number)
                self._seen.setdefault(note.number, index)
                position = max(position, note.position)
                number = max(number, note.number)
            elif isinstance(note, Opened):
                if not self._starts:
                    self._starts.append(_Start(index, note.position, note.at))
                elif note.position < position:
                    behind = f"sse.open at {id_of(note.position)} after id {id_of(position)}"
                    yield self._case(Violation.ORDER, fault, behind)
                position = max(position, note.position)
            elif isinstance(note, Reset):
                self._starts.append(_Start(index, note.position, note.at))
                position, number = note.position, -1
                numbers.clear()
                if fault < 0 or not self._faults[fault].may_reset:
                    yield self._case(Violation.NEEDLESS, fault, f"reason {note.reason}")
            elif isinstance(note, FaultBegan):
                fault = note.number
            else:
                yield self._case(note.violation, fault, note.detail)

    def _losses(self) -> Iterator[Case]:
        if not self._starts:
            yield self._case(Violation.LOSS, -1, "the stream was never opened")
            return
        acknowledged = self._ledger.acknowledged.get(self._journal.user, {})
        first_newer = len(self._journal.notes)
        found = []
        for number in range(len(self._sent_at) - 1, -1, -1):
            if number in self._seen:
                first_newer = min(first_newer, self._seen[number])
            elif number in acknowledged and not self._is_told(acknowledged[number], first_newer):
                found.append(acknowledged[number])
        began = [fault.began_at for fault in self._faults]
        for event in reversed(found):
            yield self._case(Violation.LOSS, bisect.bisect_right(began, event.at) - 1, _text(event))

    def _is_told(self, event: Acknowledged, before: int) -> bool:
        """Return whether a reset covers an event in time."""
        sent_at = self._sent_at[event.number]
        who = (self._journal.user, event.number)
        lost_at = [loss.began_at for loss in self._ledger.losses if who in loss.events]
        return any(
            (start.position >= event.position and start.at >= sent_at)
            or any(start.at >= at for at in lost_at)
            for start in self._starts
            if start.index < before
        )

    def _case(self, violation: Violation, fault: int, detail: str) -> Case:
        return Case(violation, fault, self._journal.name, detail)


def _text(event: Seen | Acknowledged) -> str:
    return f"number {event.number}, id {id_of(event.position)}"
