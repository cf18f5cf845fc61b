"""The runs under way in this process whose answer others may want, by key. Nothing here waits."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cache.ports import Key
from forebay.tasks.v1.envelope_pb2 import CacheQuestion
from scheduler.service.caching.served import Served
from scheduler.service.entry import Waiting

LENIENCE: Final = 17 / 16
"""How much more time than a run's a task may have and still wait for it: tasks with the same time from submit to
deadline, of which one started some milliseconds sooner, are not to be a run each."""


@dataclass(slots=True, eq=False)
class Flight:
    """One key's run: a task's of this process, or somebody else's."""

    key: Key
    question: CacheQuestion
    """What is asked, as its first task has it."""
    served: Served
    """What its answer must have been computed by."""
    leader: Waiting | None
    """None when somebody else computes."""
    fence: int | None = None
    """Its number among the shared flights; None when those did not answer."""
    attempt: int = 0
    """The attempt that computes; 0 before it is leased, and for a run whose answer must not be kept."""
    began_ms: int = 0
    """When that began; of somebody else's run, when it was found to be under way."""
    began_s: float = 0.0
    """When it was led, by the monotonic clock."""
    over: bool = False
    """Whether the run has ended, and its end is being looked at."""
    followers: list[Waiting] = field(default_factory=list)
    """Tasks of this process that ask the same."""
    early: int = 0
    """How many of them, from the first on, waited already when the run began."""
    found_in: str = ""
    """The tier where its answer was found before anybody computed it; empty for what was computed."""
    trace: str = ""
    """The traceparent of who computes it; empty where that is not known."""
    given_to: int | None = None
    """How many of them, from the first on, are given its answer; None: all."""
    beside: "Flight | None" = None
    """The run of the same key that was under way when this one began, and goes on."""

    def is_too_short_for(self, task: Waiting, now_ms: int) -> bool:
        """Whether the deadline of its leader leaves its run less time than a task's own run would have from now on: who
        waited for it could be too late by the deadline of somebody else.
        """
        leader = self.leader
        if leader is None or not self.attempt or self.over or not leader.deadline_ms or not task.deadline_ms:
            # Who has no deadline leads after it.
            return False
        return task.deadline_ms - now_ms > LENIENCE * (leader.deadline_ms - self.began_ms)


class FlightBoard:
    """All flights of one process. For one event loop."""

    def __init__(self) -> None:
        self._flights: dict[Key, Flight] = {}
        self._led: dict[str, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def of(self, key: Key) -> Flight | None:
        """Return the flight of a key."""
        return self._flights.get(key)

    def led_by(self, task: Waiting) -> Flight | None:
        """Return the flight that a task leads, by this very message of it."""
        flight = self._led.get(task.id)
        return flight if flight is not None and flight.leader is task else None

    def begin(self, flight: Flight) -> None:
        """Let a flight begin. Where there is one of its key, whoever asks from now on follows the new one."""
        flight.beside = self._flights.get(flight.key)
        self._flights[flight.key] = flight
        if flight.leader is not None:
            self._led[flight.leader.id] = flight

    def follow(self, flight: Flight) -> Waiting:
        """Let a flight be somebody else's, and return the task that was to lead it: it follows now, before others."""
        leader = flight.leader
        assert leader is not None, "only what a task was to lead can be another's"
        del self._led[leader.id]
        flight.leader = None
        flight.followers.insert(0, leader)
        return leader

    def end(self, flight: Flight) -> list[Waiting]:
        """Let a flight end, and return who followed it: whoever asks from now on begins anew."""
        if self._flights.get(flight.key) is flight:
            earlier = flight.beside
            if earlier is not None and self._leads(earlier):
                self._flights[flight.key] = earlier
            else:
                del self._flights[flight.key]
        # Or one that ended long ago would be kept by those after it, one by another.
        flight.beside = None
        if self._leads(flight):
            assert flight.leader is not None, "it is led"
            del self._led[flight.leader.id]
        followers, flight.followers = flight.followers, []
        return followers

    def _leads(self, flight: Flight) -> bool:
        return flight.leader is not None and self._led.get(flight.leader.id) is flight

    def any_led(self) -> bool:
        """Whether any task of this process leads."""
        return bool(self._led)

    def led(self) -> Sequence[Flight]:
        """Return the flights that tasks of this process lead."""
        return list(self._led.values())


def flight_key(question: CacheQuestion) -> Key:
    """Return the key under which those who ask this share one computation."""
    return Key(question.namespace, question.flight or question.digest)


def entry_key(question: CacheQuestion) -> Key:
    """Return the key under which its answer is kept."""
    return Key(question.namespace, question.digest)
