"""The product's own parts in virtual time: lanes, window, cost model, roster and routers, put together as its scheduler
does, without servers in between.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import groupby
from math import ceil
from random import Random
from typing import Final

from benchmarks.scheduling.fleet import End, Job, Runner
from forebay.dispatch.v1.dispatch_service_pb2 import Hello
from forebay.tasks.v1.envelope_pb2 import Envelope
from scheduler.lanes import Lane, express_lane
from scheduler.policies.expected import CostModel, Spent
from scheduler.policies.policy import DEFAULT_POLICY, Policy
from scheduler.ports.lines import Line
from scheduler.ports.log import Delivery
from scheduler.prediction.learned import LearnedCost
from scheduler.routing.routers import Routers
from scheduler.service.entry import OpenBundle, Waiting
from scheduler.service.promotion import INTERVAL_S
from scheduler.service.runners import Roster, RunnerStream
from scheduler.service.sharing_out import share_out
from scheduler.service.traits import traits_of
from scheduler.states import Level
from scheduler.window import Window
from services.gateway.lanes import LaneChooser

POOL: Final = "default"
LANES: Final = 8
PER_LANE: Final = 256
"""As the scheduler's setting `window_per_lane`."""
BATCH: Final = 512
BUNDLE: Final = 256
"""Most tasks that travel in one message."""
LOOK_MS: Final = 1000 * INTERVAL_S
DAY_MS: Final = 86_400_000
"""Where virtual time begins on the wall clock: 0 would be no deadline."""


class _VirtualClock:
    """The time of the event that is dealt with."""

    def __init__(self) -> None:
        self.time_ms = 0.0

    def now_ms(self) -> int:
        return _wall(self.time_ms)

    def monotonic(self) -> float:
        return self.time_ms / 1000

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing sleeps in virtual time")


class Scheduled:
    """One scheduler with all runners attached."""

    def __init__(
        self,
        runners: Sequence[Runner],
        policy: Policy = DEFAULT_POLICY,
        *,
        seed: int = 0,
        cost: CostModel | None = None,
    ) -> None:
        self._policy = policy
        self._cost = cost or LearnedCost()
        self._window: Window[Envelope, OpenBundle] = Window(PER_LANE, policy)
        self._routers = Routers(Random(seed), policy=policy)
        self._clock = _VirtualClock()
        self._lanes = LaneChooser(LANES, self._clock)
        self._roster = Roster()
        self._streams: dict[Runner, RunnerStream] = {}
        self._runners: dict[RunnerStream, Runner] = {}
        for runner in runners:
            spec = runner.spec
            stream = RunnerStream.of(
                Hello(
                    runner=spec.id,
                    model=spec.model,
                    pool=POOL,
                    reserve=spec.reserve,
                    zone=spec.zone,
                    weight=spec.weight,
                    slots=spec.slots,
                )
            )
            stream.credits = spec.credit
            self._roster.add(stream)
            self._streams[runner], self._runners[stream] = stream, runner
        self._log: dict[Lane, deque[list[Job]]] = {}
        """Bundles that were not read yet."""
        self._jobs: dict[str, Job] = {}
        """Those in the window."""
        self._due: list[tuple[float, int, Job]] = []
        """When those that have a deadline run out of slack."""
        self._waiting_of: Counter[tuple[Level, str]] = Counter()
        self._heard_ms = -LOOK_MS
        self._publication: dict[int, Lane] = {}
        """The lane of the latest publication of what has a deadline and did not leave the log."""

    def arrive(self, jobs: Sequence[Job], now_ms: float) -> None:
        """Publish tasks to lanes, as a gateway does with those of one call."""
        self._clock.time_ms = now_ms
        if now_ms >= self._heard_ms + LOOK_MS:
            self._heard_ms = now_ms
            self._lanes.heard(
                Line(POOL, level, tenant, "", queued, 0, 0)
                for (level, tenant), queued in self._waiting_of.items()
            )
        self._waiting_of.update((job.arrival.level, job.arrival.tenant) for job in jobs)
        for (tenant, level), group in groupby(jobs, key=lambda job: (job.arrival.tenant, job.arrival.level)):
            together = list(group)
            for first in range(0, len(together), BUNDLE):
                bundle = together[first : first + BUNDLE]
                self._publish(self._lanes.choose(POOL, level, tenant, len(bundle)), bundle)
        self._read(now_ms)

    def assign(self, now_ms: float) -> Sequence[tuple[Job, Runner]]:
        """Promote what must hurry, and hand out what there is credit for."""
        self._promote(now_ms)
        given: list[tuple[Job, Runner]] = []
        while True:
            tasks = self._window.take(
                self._roster.credits(POOL, now_ms / 1000),
                BATCH,
                self._roster.reserves(POOL, now_ms / 1000),
                now_ms=_wall(now_ms),
            )
            if not tasks:
                return given
            self._read(now_ms)
            shares, left = share_out(self._roster, self._routers, POOL, tasks, now_ms / 1000)
            assert not left, "no more is taken than there is credit for"
            for stream, share in shares.items():
                for task in share:
                    job = self._jobs.pop(task.id)
                    self._waiting_of[task.lane.level, task.tenant] -= 1
                    if self._is_too_late(task, now_ms):
                        stream.credits += 1
                        self._window.correct(task.lane.level, task.tenant, task.model, -task.expected.work_ms)
                        job.end = End.CANNOT_FINISH if now_ms < job.arrival.deadline_ms else End.EXPIRED
                    else:
                        stream.hold(task, 1)
                        given.append((job, self._runners[stream]))

    def ended(self, job: Job, runner: Runner, now_ms: float) -> None:
        """Give the credit back, and learn."""
        stream = self._streams[runner]
        running = stream.release(job.id)
        assert running is not None
        stream.credits += 1
        task = running.task
        # Slots of one runner share its time.
        work_ms = job.spent_ms / runner.spec.slots
        self._window.correct(task.lane.level, task.tenant, task.model, work_ms - task.expected.work_ms)
        if job.end is End.DONE:
            stream.showed(work_ms, task.expected.work_ms)
            spent = Spent(work_ms, job.spent_ms, job.arrival.output_tokens)
            self._cost.learn(traits_of(task.envelope), spent)

    def _publish(self, lane: Lane, jobs: list[Job]) -> None:
        self._log.setdefault(lane, deque()).append(jobs)
        slack_ms = 1000 * self._policy.express_slack_s
        for job in jobs:
            if job.arrival.deadline_ms:
                self._publication[job.number] = lane
                if slack_ms and lane.index < LANES:
                    # Slack is looked at once a second.
                    due_ms = LOOK_MS * ceil((job.arrival.deadline_ms - slack_ms) / LOOK_MS)
                    heappush(self._due, (due_ms, job.number, job))

    def _promote(self, now_ms: float) -> None:
        """Publish anew what is still behind the window when its slack runs out."""
        moved = False
        while self._due and self._due[0][0] <= now_ms:
            job = heappop(self._due)[2]
            lane = self._publication.get(job.number)
            if lane is not None and lane.index < LANES:
                self._publish(express_lane(POOL, lane.level, LANES), [job])
                moved = True
        if moved:
            self._read(now_ms)

    def _read(self, now_ms: float) -> None:
        """Move bundles into the window as long as lanes have room there."""
        for lane, bundles in self._log.items():
            while bundles and self._window.has_room(lane):
                tasks = [self._waiting(job, lane) for job in bundles.popleft() if self._is_latest(job, lane)]
                self._window.extend(lane, tasks)

    def _is_latest(self, job: Job, lane: Lane) -> bool:
        """Whether a publication was not replaced by one in the express lane; the task leaves the log with it."""
        if not job.arrival.deadline_ms:
            return True
        if self._publication.get(job.number) != lane:
            return False
        del self._publication[job.number]
        return True

    def _waiting(self, job: Job, lane: Lane) -> Waiting:
        row = job.arrival
        envelope = Envelope(
            id=job.id,
            tenant=row.tenant,
            model=row.model,
            pool=POOL,
            priority=row.level.value,  # type: ignore[arg-type]  # levels have the numbers of priorities
            create_time_ms=_wall(row.time_ms),
            deadline_ms=_wall(row.deadline_ms) if row.deadline_ms else 0,
            input_size=row.input_size,
            output_limit=row.output_limit,
            kind=row.kind,
        )
        self._jobs[job.id] = job
        return Waiting(
            *(job.id, 1, row.model, lane, envelope.create_time_ms, envelope, _bundle(lane)),
            tenant=row.tenant,
            deadline_ms=envelope.deadline_ms,
            expected=self._cost.expect(traits_of(envelope)),
        )

    def _is_too_late(self, task: Waiting, now_ms: float) -> bool:
        need_ms = int(task.expected.least_ms) if self._policy.expire_early else 0
        return bool(task.deadline_ms) and task.deadline_ms <= _wall(now_ms) + need_ms


def scheduled(
    policy: Policy, *, seed: int = 0, cost: Callable[[], CostModel] = LearnedCost
) -> Callable[[Sequence[Runner]], Scheduled]:
    """Return a maker of schedulers that follow a policy."""
    return lambda runners: Scheduled(runners, policy, seed=seed, cost=cost())


def _wall(time_ms: float) -> int:
    return DAY_MS + round(time_ms)


def _bundle(lane: Lane) -> OpenBundle:
    return OpenBundle(Delivery(lane, b"", {}, None), 1)
