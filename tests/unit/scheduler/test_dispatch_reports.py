"""What a runner's report of costs and failures changes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace

import pytest

from forebay.dispatch.v1.dispatch_service_pb2 import AttachRequest, AttachResponse, Hello, Settled
from forebay.tasks.v1.envelope_pb2 import Envelope
from forebay.tasks.v1.task_pb2 import PRIORITY_NORMAL
from scheduler.adapters.clock import FakeClock
from scheduler.adapters.memory import MemoryStore
from scheduler.adapters.memory.log import MemoryLog
from scheduler.lanes import Lane
from scheduler.policies.expected import Expected
from scheduler.routing.breaker import LEAST, Circuit
from scheduler.service.dispatch_service import DispatchServicer
from scheduler.service.entry import OpenBundle, Waiting
from scheduler.service.rates import WINDOW_S, Rates
from scheduler.service.republisher import Republisher
from scheduler.service.resting import Resting
from scheduler.service.runner_stream import RunnerStream
from scheduler.service.runners import Roster
from scheduler.service.settlement import Settlement
from scheduler.states import Level

from .costs import learning_of

LANE = Lane("default", Level.NORMAL, 0)
EXPECTED = Expected(10.0, 20.0)


class Bench:
    """The door of a scheduler, with a runner that has reported all it has to say."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        log, store = MemoryLog(), MemoryStore(self.clock)
        self.roster = Roster()
        self.rates = Rates(self.clock)
        self.learning = learning_of(self.clock, self.rates)
        self.corrections: dict[tuple[str, Level, str, str], float] = {}
        self.resting = Resting(1.0, self.clock, lambda task: None)
        self.wake = asyncio.Event()
        self.servicer = DispatchServicer(
            self.roster,
            Settlement(log.consumer([LANE])),
            self.resting,
            Republisher(log.publisher(), store.records, store.records, 1),
            self.rates,
            self.learning,
            self.wake,
            self.clock,
            lease_ms=1000,
            correct=self.correct,
        )

    def correct(self, pool: str, level: Level, tenant: str, model: str, delta_ms: float) -> None:
        self.corrections[pool, level, tenant, model] = delta_ms

    async def report(self, runner: str, settled: Sequence[Settled]) -> RunnerStream:
        """Attach, hold what is settled, report it, and leave."""

        async def requests() -> AsyncIterator[AttachRequest]:
            yield AttachRequest(hello=Hello(runner=runner, model="m", pool="default"))
            await asyncio.sleep(0)
            streams.extend(stream for stream in self.roster if stream.id == runner)
            for item in settled:
                envelope = Envelope(id=item.id, model="m", tenant="acme", priority=PRIORITY_NORMAL)
                bundle = OpenBundle(SimpleNamespace(), len(settled) + 1)  # type: ignore[arg-type]  # never finished
                task = Waiting(item.id, 1, "m", LANE, 0, envelope, bundle, tenant="acme", expected=EXPECTED)
                streams[0].hold(task, item.attempt)
            yield AttachRequest(settled=settled)

        class Context:
            async def write(self, message: AttachResponse) -> None:
                pass

        streams: list[RunnerStream] = []
        await self.servicer.Attach(requests(), Context())  # type: ignore[arg-type]
        return streams[0]


def ended(number: int, work_ms: float, *, failed: bool = False) -> Settled:
    item = Settled(id=f"07-{number}", attempt=1, fate=Settled.FATE_TERMINAL, failed=failed)
    item.cost.work_us, item.cost.execute_us = int(1000 * work_ms), int(2000 * work_ms)
    return item


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_costs_teach_correct_and_count(bench: Bench) -> None:
    stream = await bench.report("r1", [ended(number, 30.0) for number in range(20)])
    envelope = Envelope(model="m", tenant="acme", priority=PRIORITY_NORMAL)
    assert bench.learning.expect("default", envelope).work_ms == pytest.approx(30.0, rel=0.1)
    assert bench.corrections == {("default", Level.NORMAL, "acme", "m"): pytest.approx(400.0)}
    assert bench.rates.work_per_second("default", Level.NORMAL) == pytest.approx(600.0 / WINDOW_S)
    assert stream.pace > 1.0
    assert stream.outstanding_ms == 0.0


async def test_a_runner_that_fails_where_others_do_not_is_taken_out(bench: Bench) -> None:
    other = RunnerStream("healthy", "m", "default")
    bench.roster.add(other)
    bench.roster.outcome(other, [False] * 2 * LEAST, 0.0)
    stream = await bench.report("bad", [ended(number, 1.0, failed=True) for number in range(LEAST)])
    assert stream.breaker.state(bench.clock.monotonic()) is Circuit.OPEN
    assert bench.wake.is_set()


async def test_what_was_not_executed_or_was_broken_off_says_nothing_of_its_runner(bench: Bench) -> None:
    fenced = ended(1, 5.0)
    fenced.fate = Settled.FATE_FENCED
    stream = await bench.report("r1", [fenced, Settled(id="07-2", attempt=1, fate=Settled.FATE_TERMINAL)])
    assert stream.breaker.failures == (0, 0)
