"""The product's own parts in virtual time: lanes, window, cost model, roster and routers, put together as its scheduler
does, without servers in between.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from benchmarks.scheduling.fleet import Runner
from benchmarks.scheduling.jobs import End, Job
from benchmarks.scheduling.lanes import LANES, POOL, Log, wall
from forebay.dispatch.v1.dispatch_service_pb2 import Hello
from forebay.tasks.v1.envelope_pb2 import Envelope
from scheduler.lanes import Lane
from scheduler.policies.expected import CostModel, Spent
from scheduler.policies.policy import DEFAULT_POLICY, Policy
from scheduler.ports.log import Delivery
from scheduler.prediction.learned import LearnedCost
from scheduler.routing.routers import Routers
from scheduler.service.entry import OpenBundle, Waiting
from scheduler.service.runners import Roster, RunnerStream
from scheduler.service.settings import SchedulerSettings
from scheduler.service.sharing_out import share_out
from scheduler.service.traits import traits_of
from scheduler.window import Window

PER_LANE: Final = SchedulerSettings().window_per_lane
BATCH: Final = SchedulerSettings().assign_batch


class Scheduled:
    """One scheduler with all runners attached."""

    def __init__(
        self,
        runners: Sequence[Runner],
        policy: Policy = DEFAULT_POLICY,
        *,
        seed: int = 0,
        cost: CostModel | None = None,
        per_lane: int = PER_LANE,
    ) -> None:
        self._policy = policy
        self._cost = cost or LearnedCost()
        self._window: Window[Envelope, OpenBundle] = Window(per_lane, policy)
        self._routers = Routers(Random(seed), policy=policy)
        self._log = Log(policy.express_slack_s)
        self._roster = Roster()
        self._streams: dict[Runner, RunnerStream] = {}
        self._runners: dict[RunnerStream, Runner] = {}
        for runner in runners:
            stream = _attached(runner)
            self._roster.add(stream)
            self._streams[runner], self._runners[stream] = stream, runner
        self._jobs: dict[str, Job] = {}
        """Those in the window."""

    def arrive(self, jobs: Sequence[Job], now_ms: float) -> None:
        """Publish tasks to lanes, as a gateway does with those of one call."""
        self._log.publish(jobs, now_ms)
        self._read()

    def assign(self, now_ms: float) -> Sequence[tuple[Job, Runner]]:
        """Promote what must hurry, and hand out what there is credit for."""
        if self._log.promote(now_ms):
            self._read()
        given: list[tuple[Job, Runner]] = []
        while True:
            tasks = self._window.take(
                self._roster.credits(POOL, now_ms / 1000),
                BATCH,
                self._roster.reserves(POOL, now_ms / 1000),
                now_ms=wall(now_ms),
            )
            if not tasks:
                return given
            self._read()
            shares, left = share_out(self._roster, self._routers, POOL, tasks, now_ms / 1000)
            assert not left, "no more is taken than there is credit for"
            for stream, share in shares.items():
                for task in share:
                    job = self._jobs.pop(task.id)
                    self._log.left(job)
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

    def _read(self) -> None:
        """Move bundles into the window as long as lanes have room there."""
        for lane in self._log.lanes():
            while self._log.holds(lane) and self._window.has_room(lane):
                self._window.extend(lane, [self._waiting(job, lane) for job in self._log.read(lane)])

    def _waiting(self, job: Job, lane: Lane) -> Waiting:
        row = job.arrival
        envelope = Envelope(
            id=job.id,
            tenant=row.tenant,
            model=row.model,
            pool=POOL,
            priority=row.level.value,  # type: ignore[arg-type]  # levels have the numbers of priorities
            create_time_ms=wall(row.time_ms),
            deadline_ms=wall(row.deadline_ms) if row.deadline_ms else 0,
            input_size=row.input_size,
            output_limit=row.output_limit,
            kind=row.kind,
        )
        self._jobs[job.id] = job
        return Waiting(
            *(job.id, 1, row.model, lane, envelope.create_time_ms, envelope, _bundle(lane)),
            tenant=row.tenant,
            deadline_ms=envelope.deadline_ms,
            urgent=lane.index == LANES,
            expected=self._cost.expect(traits_of(envelope)),
        )

    def _is_too_late(self, task: Waiting, now_ms: float) -> bool:
        need_ms = int(task.expected.least_ms) if self._policy.expire_early else 0
        return bool(task.deadline_ms) and task.deadline_ms <= wall(now_ms) + need_ms


def scheduled(
    policy: Policy,
    *,
    seed: int = 0,
    cost: Callable[[], CostModel] = LearnedCost,
    per_lane: int = PER_LANE,
) -> Callable[[Sequence[Runner]], Scheduled]:
    """Return a maker of schedulers that follow a policy."""
    return lambda runners: Scheduled(runners, policy, seed=seed, cost=cost(), per_lane=per_lane)


def _attached(runner: Runner) -> RunnerStream:
    """Return a runner's stream, with all of its credit."""
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
    return stream


def _bundle(lane: Lane) -> OpenBundle:
    return OpenBundle(Delivery(lane, b"", {}, None), 1)
