"""The runners attached to this scheduler: their credit, what they hold, and the messages on their way to them."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from forebay.dispatch.v1.dispatch_service_pb2 import AttachResponse, Hello
from scheduler.service.entry import Waiting
from scheduler.states import Level

OUTBOX = 4096
"""Messages to one runner that may wait to be written. Credit bounds what is in them; a runner that does not read
this many is given up."""


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

    @classmethod
    def of(cls, hello: Hello) -> "RunnerStream":
        """Make one of a runner's first message."""
        return cls(hello.runner, hello.model, hello.pool, reserve=hello.reserve)

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

    def add(self, stream: RunnerStream) -> None:
        """Let a runner take part."""
        self._streams.add(stream)

    def remove(self, stream: RunnerStream) -> list[Running]:
        """Forget a runner; returns what it held."""
        stream.attached = False
        self._streams.discard(stream)
        held = list(stream.holds.values())
        stream.holds.clear()
        return held

    def credits(self, pool: str) -> dict[str, int]:
        """Sum up free credit for tasks of any level, by model."""
        credits: dict[str, int] = {}
        for stream in self._streams:
            if stream.pool == pool and stream.takes and (free := stream.unreserved) > 0:
                credits[stream.model] = credits.get(stream.model, 0) + free
        return credits

    def reserves(self, pool: str) -> dict[str, int]:
        """Sum up free credit that is kept for CRITICAL tasks, by model."""
        reserves: dict[str, int] = {}
        for stream in self._streams:
            if stream.reserve and stream.pool == pool and stream.takes:
                kept = stream.credits - max(0, stream.unreserved)
                reserves[stream.model] = reserves.get(stream.model, 0) + kept
        return reserves

    def served(self, pool: str) -> set[str]:
        """Return the models that attached runners of a pool run, whether they have credit or not."""
        return {stream.model for stream in self._streams if stream.pool == pool}

    def share_out(self, pool: str, tasks: Iterable[Waiting]) -> dict[RunnerStream, list[Waiting]]:
        """Give each task to the runner of its model with the most free credit, and use that credit up.

        The caller takes no more tasks of a model than `credits` and, for CRITICAL ones, `reserves` say.
        """
        shares: dict[RunnerStream, list[Waiting]] = {}
        candidates: dict[str, list[RunnerStream]] = {}
        for task in tasks:
            streams = candidates.get(task.model)
            if streams is None:
                streams = candidates[task.model] = [
                    s for s in self._streams if s.pool == pool and s.model == task.model and s.takes
                ]
            stream = streams[0]
            if len(streams) > 1:
                critical = task.lane.level is Level.CRITICAL
                stream = max(streams, key=lambda s: s.credits if critical else s.unreserved)
            stream.credits -= 1
            shares.setdefault(stream, []).append(task)
        return shares

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
                running = stream.holds.pop(task_id, None)
                if running is not None:
                    stream.silent = True
                    taken.append(running)
        return taken

    def running(self) -> int:
        """Count the tasks that attached runners hold."""
        return sum(len(stream.holds) for stream in self._streams)
