"""The log in virtual time: lanes that gateways publish to and that a window is filled from, and the express lanes."""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from itertools import groupby
from math import ceil
from typing import Final

from benchmarks.scheduling.jobs import Job
from scheduler.lanes import Lane, express_lane
from scheduler.ports.lines import Line
from scheduler.service.promotion import INTERVAL_S
from scheduler.states import Level
from services.gateway.lanes import LaneChooser

POOL: Final = "default"
LANES: Final = 8
BUNDLE: Final = 256
"""Most tasks that travel in one message."""
LOOK_MS: Final = 1000 * INTERVAL_S
DAY_MS: Final = 86_400_000
"""Where virtual time begins on the wall clock: 0 would be no deadline."""


def wall(time_ms: float) -> int:
    """Return a virtual time as one on the wall clock."""
    return DAY_MS + round(time_ms)


class VirtualClock:
    """The time of the event that is dealt with."""

    def __init__(self) -> None:
        self.time_ms = 0.0

    def now_ms(self) -> int:
        """Return the time of day."""
        return wall(self.time_ms)

    def monotonic(self) -> float:
        """Return the time, in seconds."""
        return self.time_ms / 1000

    async def sleep(self, seconds: float) -> None:
        """Refuse."""
        raise AssertionError("nothing sleeps in virtual time")


class Log:
    """Tasks on their lanes, in bundles, as gateways publish them and schedulers promote them."""

    def __init__(self, express_slack_s: float) -> None:
        self._slack_ms = 1000 * express_slack_s
        self._clock = VirtualClock()
        self._chooser = LaneChooser(LANES, self._clock)
        self._bundles: dict[Lane, deque[list[Job]]] = {}
        """Those that were not read yet."""
        self._due: list[tuple[float, int, Job]] = []
        """When those that have a deadline run out of slack."""
        self._waiting: Counter[tuple[Level, str]] = Counter()
        self._heard_ms = -LOOK_MS
        self._publication: dict[int, Lane] = {}
        """The lane of the latest publication of what has a deadline and was not read."""

    def publish(self, jobs: Sequence[Job], now_ms: float) -> None:
        """Publish tasks as a gateway does with those of one call, which counts what waits once a second."""
        self._clock.time_ms = now_ms
        if now_ms >= self._heard_ms + LOOK_MS:
            self._heard_ms = now_ms
            self._chooser.heard(
                Line(POOL, level, tenant, "", queued, 0, 0)
                for (level, tenant), queued in self._waiting.items()
            )
        self._waiting.update((job.arrival.level, job.arrival.tenant) for job in jobs)
        for (tenant, level), group in groupby(jobs, key=lambda job: (job.arrival.tenant, job.arrival.level)):
            together = list(group)
            for first in range(0, len(together), BUNDLE):
                bundle = together[first : first + BUNDLE]
                self._publish(self._chooser.choose(POOL, level, tenant, len(bundle)), bundle)

    def promote(self, now_ms: float) -> bool:
        """Publish anew what is still unread when its slack runs out; returns whether there was any."""
        moved = False
        while self._due and self._due[0][0] <= now_ms:
            job = heappop(self._due)[2]
            lane = self._publication.get(job.number)
            if lane is not None and lane.index < LANES:
                self._publish(express_lane(POOL, lane.level, LANES), [job])
                moved = True
        return moved

    def lanes(self) -> Iterator[Lane]:
        """Yield the lanes that have something unread."""
        return (lane for lane, bundles in self._bundles.items() if bundles)

    def read(self, lane: Lane) -> list[Job]:
        """Read the next bundle of a lane that has one: what was not published anew since."""
        return [job for job in self._bundles[lane].popleft() if self._is_latest(job, lane)]

    def holds(self, lane: Lane) -> bool:
        """Whether a lane has something unread."""
        return bool(self._bundles[lane])

    def left(self, job: Job) -> None:
        """Note that a task does not wait any more."""
        self._waiting[job.arrival.level, job.arrival.tenant] -= 1

    def _publish(self, lane: Lane, jobs: list[Job]) -> None:
        self._bundles.setdefault(lane, deque()).append(jobs)
        for job in jobs:
            if job.arrival.deadline_ms:
                self._publication[job.number] = lane
                if self._slack_ms and lane.index < LANES:
                    # Slack is looked at once a second.
                    due_ms = LOOK_MS * ceil((job.arrival.deadline_ms - self._slack_ms) / LOOK_MS)
                    heappush(self._due, (due_ms, job.number, job))

    def _is_latest(self, job: Job, lane: Lane) -> bool:
        """Whether a publication was not replaced by one in the express lane; the task leaves the log with it."""
        if not job.arrival.deadline_ms:
            return True
        if self._publication.get(job.number) != lane:
            return False
        del self._publication[job.number]
        return True
