"""One attached runner: its credit, what it holds, how it does, and the messages on their way to it."""

import asyncio
from dataclasses import dataclass, field

from forebay.dispatch.v1.dispatch_service_pb2 import AttachResponse, Hello
from scheduler.routing.breaker import Breaker
from scheduler.service.entry import Waiting

OUTBOX = 4096
"""Messages to one runner that may wait to be written. Credit bounds what is in them; a runner that does not read
this many is given up."""
PACE_KEEPS = 0.9
"""Part of what was known of a runner's pace that one more report leaves; the rest is the report."""


@dataclass(slots=True, eq=False)
class Running:
    """A task that was leased to a runner."""

    task: Waiting
    attempt: int


@dataclass(slots=True, eq=False)
class RunnerStream:
    """One attached runner."""

    id: str
    model: str
    """The name that its starts and its work are counted under."""
    pool: str
    credits: int = 0
    """Tasks that it is ready to take and that were not assigned yet; below 0 while it takes credit back."""
    reserve: int = 0
    """How much of its credit it wants kept for CRITICAL tasks."""
    holds: dict[str, Running] = field(default_factory=dict)
    """Changed by `hold`, `release` and the roster alone."""
    leasing: set[str] = field(default_factory=set)
    """Tasks whose lease for it was asked for and not answered yet."""
    called_back: set[str] = field(default_factory=set)
    """Those among them that are known to be cancelled: their cancellation may be heard before their lease."""
    outbox: asyncio.Queue[AttachResponse | None] = field(default_factory=lambda: asyncio.Queue(OUTBOX))
    """None is the end."""
    given_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it did not read what was meant for it: its stream is ended then."""
    attached: bool = True
    leaving: bool = False
    """Whether it said that it goes: it gets nothing more, and what it settles still counts."""
    silent: bool = False
    """Whether it lost a lease and has not been heard since: it may be frozen, and gets nothing until it speaks."""
    zone: str = ""
    weight: int = 100
    slots: int = 1
    """Tasks that it executes at the same time."""
    pace: float = 1.0
    """How much work its tasks turned out to be for each unit that was expected: 2 for a runner of half the speed."""
    breaker: Breaker = field(default_factory=Breaker)
    also: tuple[str, ...] = ()
    """Other names that tasks may ask for its model by."""
    version: int = 0
    """The version of its model; 0 for a model without versions."""
    answers_digest: str = ""
    """Of everything that it runs with and that can change an answer; empty when that is not known."""
    _work_ms: float = 0.0

    @classmethod
    def of(cls, hello: Hello) -> "RunnerStream":
        """Make one of a runner's first message."""
        return cls(
            hello.runner,
            hello.model,
            hello.pool,
            reserve=hello.reserve,
            zone=hello.zone,
            weight=hello.weight or 100,
            slots=max(1, hello.slots),
            also=tuple(hello.also),
            version=hello.version,
            answers_digest=hello.answers_digest,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that tasks may ask for its model by."""
        return (self.model, *self.also)

    @property
    def takes(self) -> bool:
        """Whether it may be given CRITICAL tasks."""
        return self.credits > 0 and not self.silent and not self.leaving

    @property
    def unreserved(self) -> int:
        """Credit for tasks of any level."""
        if not self.reserve:
            return self.credits
        # Several schedulers share a runner's credit: the reserve must not be all that one of them has.
        granted = self.credits + len(self.holds) + len(self.leasing)
        return self.credits - min(self.reserve, granted // 3)

    @property
    def outstanding_ms(self) -> float:
        """Expected work of what it holds, at its own pace."""
        return self._work_ms * self.pace

    def hold(self, task: Waiting, attempt: int) -> None:
        """Note that it was given a task."""
        self.holds[task.id] = Running(task, attempt)
        self._work_ms += task.expected.work_ms

    def release(self, task_id: str) -> Running | None:
        """Take a task from it; None when it does not hold it."""
        running = self.holds.pop(task_id, None)
        if running is not None:
            # Sums of fractions drift: nothing held is nothing outstanding.
            self._work_ms = self._work_ms - running.task.expected.work_ms if self.holds else 0.0
        return running

    def showed(self, spent_ms: float, expected_ms: float) -> None:
        """Learn its pace from a report of what some of its tasks did cost."""
        if expected_ms > 0 and spent_ms > 0:
            # One report in which the expectation was far out says little about the runner.
            ratio = min(10.0, max(0.1, spent_ms / expected_ms))
            self.pace = PACE_KEEPS * self.pace + (1 - PACE_KEEPS) * ratio

    def send(self, message: AttachResponse) -> None:
        """Let a message wait to be written. One for which there is no room is dropped, and the runner given up: what
        it holds is looked at again, and a lease that it never heard of runs out.
        """
        try:
            self.outbox.put_nowait(message)
        except asyncio.QueueFull:
            self.given_up.set()

    def close(self) -> None:
        """Say nothing any more: the stream ends, and what waits to be written is dropped."""
        while not self.outbox.empty():
            self.outbox.get_nowait()
        self.outbox.put_nowait(None)


def room(stream: RunnerStream, credit: int, now_s: float) -> int:
    """Return how much of a runner's credit its circuit lets through."""
    return stream.breaker.room(now_s, len(stream.holds) + len(stream.leasing), credit)
