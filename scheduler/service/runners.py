"""The runners attached to this scheduler: their credit, what they hold, and the messages on their way to them."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
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
    outbox: asyncio.Queue[AttachResponse] = field(default_factory=lambda: asyncio.Queue(OUTBOX))
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
        )

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


class Roster:
    """All attached runners."""

    def __init__(self) -> None:
        self._streams: set[RunnerStream] = set()

    def __iter__(self) -> Iterator[RunnerStream]:
        return iter(self._streams)

    def add(self, stream: RunnerStream) -> None:
        """Let a runner take part."""
        self._streams.add(stream)

    def remove(self, stream: RunnerStream) -> list[Running]:
        """Forget a runner; returns what it held."""
        stream.attached = False
        self._streams.discard(stream)
        return [running for task_id in list(stream.holds) if (running := stream.release(task_id))]

    def credits(self, pool: str, now_s: float) -> dict[str, int]:
        """Sum up free credit for tasks of any level, by model."""
        credits: dict[str, int] = {}
        for stream in self._streams:
            if stream.pool == pool and stream.takes and (free := room(stream, stream.unreserved, now_s)) > 0:
                credits[stream.model] = credits.get(stream.model, 0) + free
        return credits

    def reserves(self, pool: str, now_s: float) -> dict[str, int]:
        """Sum up free credit that is kept for CRITICAL tasks, by model."""
        reserves: dict[str, int] = {}
        for stream in self._streams:
            if stream.reserve and stream.pool == pool and stream.takes:
                free = max(0, room(stream, stream.unreserved, now_s))
                kept = room(stream, stream.credits, now_s) - free
                if kept > 0:
                    reserves[stream.model] = reserves.get(stream.model, 0) + kept
        return reserves

    def served(self, pool: str) -> set[str]:
        """Return the models that attached runners of a pool run, whether they have credit or not."""
        return {stream.model for stream in self._streams if stream.pool == pool}

    def of_model(self, pool: str, model: str) -> list[RunnerStream]:
        """Return the attached runners of a model, sorted by id."""
        found = [stream for stream in self._streams if stream.pool == pool and stream.model == model]
        return sorted(found, key=lambda stream: stream.id)

    def outcome(self, stream: RunnerStream, outcomes: Iterable[bool], now_s: float) -> bool:
        """Take in how attempts of a runner ended, True for a failure that may be its own fault; returns whether it was
        taken out, or is back.
        """
        changed = False
        others: tuple[int, int] | None = None
        for failed in outcomes:
            if others is None:
                others = self._others(stream)
            changed |= stream.breaker.outcome(failed, now_s, others)
        return changed

    def holders(self, ids: Iterable[str]) -> dict[RunnerStream, list[str]]:
        """Find who holds which of these tasks."""
        found: dict[RunnerStream, list[str]] = {}
        for task_id in ids:
            for stream in self._streams:
                if task_id in stream.holds:
                    found.setdefault(stream, []).append(task_id)
        return found

    def call_back(self, ids: Iterable[str]) -> None:
        """Note what was cancelled while its lease is on its way."""
        for stream in self._streams:
            if stream.leasing:
                stream.called_back |= stream.leasing.intersection(ids)

    def find(self, task_id: str, attempt: int) -> tuple[RunnerStream, Running] | None:
        """Find the hold of one attempt at any runner."""
        for stream in self._streams:
            running = stream.holds.get(task_id)
            if running is not None and running.attempt == attempt:
                return stream, running
        return None

    def lost(self, ids: Iterable[str]) -> list[Running]:
        """Take from runners what they lost the leases of, and return it; they get nothing more until they speak."""
        taken: list[Running] = []
        for task_id in ids:
            for stream in self._streams:
                running = stream.release(task_id)
                if running is not None:
                    stream.silent = True
                    taken.append(running)
        return taken

    def running(self) -> int:
        """Count the tasks that attached runners hold."""
        return sum(len(stream.holds) for stream in self._streams)

    def _others(self, stream: RunnerStream) -> tuple[int, int]:
        """Sum up failures and outcomes of a model's other runners."""
        counts: Counter[str] = Counter()
        for other in self._streams:
            if other is not stream and other.model == stream.model and other.pool == stream.pool:
                failures, seen = other.breaker.failures
                counts["failures"] += failures
                counts["seen"] += seen
        return counts["failures"], counts["seen"]


def room(stream: RunnerStream, credit: int, now_s: float) -> int:
    """Return how much of a runner's credit its circuit lets through."""
    return stream.breaker.room(now_s, len(stream.holds) + len(stream.leasing), credit)
