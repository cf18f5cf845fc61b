"""What tasks cost: foretold when they come into the window, learned when their runners settle them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from forebay.dispatch.v1.dispatch_service_pb2 import Settled
from forebay.tasks.v1.envelope_pb2 import Envelope
from scheduler.policies.expected import Expected, Spent, Traits
from scheduler.prediction import LearnedCost, Usual
from scheduler.service.entry import Waiting
from scheduler.service.rates import Rates
from scheduler.service.traits import traits_of
from scheduler.states import Level

RETURNED: Final = Settled.FATE_RETURNED
TERMINAL: Final = Settled.FATE_TERMINAL
ENOUGH: Final = 16
"""Of a message that settles many, about so many tasks are learned from: there are others where it came from."""


Share = tuple[str, Level, str, str]
"""Pool, level, tenant and model whose counters of work are corrected."""


class Learned(NamedTuple):
    """What comes of one report of a runner."""

    corrections: Mapping[Share, float]
    """By how many milliseconds of work what was charged at the start must be corrected. A task that came back without
    having been executed gets all of it back."""
    spent_ms: float
    """Work of the tasks that went well."""
    expected_ms: float
    """What it had been expected to be."""


class PredictionMetrics(Protocol):
    """Hears how good predictions were."""

    def predicted(self, model: str, ratios: Sequence[float]) -> None:
        """Take what tasks of one model did cost, divided by what they were expected to cost."""
        ...


class Learning:
    """The costs of each pool. Every task is looked at twice; what that costs is paid by every task."""

    def __init__(self, costs: Mapping[str, LearnedCost], rates: Rates, metrics: PredictionMetrics) -> None:
        """`costs` has a model of cost for each pool."""
        self._costs = costs
        self._rates = rates
        self._metrics = metrics

    def expect(self, pool: str, envelope: Envelope) -> Expected:
        """Return what a task is expected to cost."""
        return self._costs[pool].expect(traits_of(envelope))

    def expect_all(self, pool: str, envelopes: Iterable[Envelope]) -> list[tuple[Traits, Expected]]:
        """Return for each task of one bundle what its cost depends on, and what it is expected to cost. Tasks that are
        alike are foretold once: in a batch most are.
        """
        expect = self._costs[pool].expect
        known: dict[tuple[str | int, ...], tuple[Traits, Expected]] = {}
        found: list[tuple[Traits, Expected]] = []
        before: tuple[str | int, ...] = ()
        for envelope in envelopes:
            # As it is written: traits are made only of what differs from its neighbour.
            written = (
                envelope.model,
                envelope.tenant,
                envelope.priority,
                envelope.input_size,
                envelope.output_limit,
                envelope.kind,
            )
            if written != before:
                if written not in known:
                    traits = traits_of(envelope)
                    known[written] = traits, expect(traits)
                before, foretold = written, known[written]
            found.append(foretold)
        return found

    def usual(self, pool: str, most: int) -> list[Usual]:
        """Return what tasks of a pool cost as a rule; those of which there were most first."""
        return self._costs[pool].usual(most)

    def settled(self, settled: Sequence[tuple[Waiting, Settled]]) -> Learned:
        """Learn from what one runner settled."""
        sums: defaultdict[Share, list[float]] = defaultdict(lambda: [0.0, 0.0])
        ratios: defaultdict[str, list[float]] = defaultdict(list)
        spent_ms = charged_ms = 0.0
        every = len(settled) // ENOUGH or 1
        lane = tenant = model = None
        for number, (task, item) in enumerate(settled):
            expected_ms = task.expected.work_ms
            work_ms = 0.0
            well = False
            if item.HasField("cost"):
                cost = item.cost
                work_us = cost.work_us
                work_ms = work_us / 1000 if work_us > 0 else 0.0
                well = item.fate == TERMINAL and not item.failed
            elif item.fate != RETURNED:
                continue
            # Neighbours mostly are of one share.
            if task.lane is not lane or task.tenant != tenant or task.model != model:
                lane, tenant, model = task.lane, task.tenant, task.model
                total = sums[lane.pool, lane.level, tenant, model]
            total[0] += work_ms
            total[1] += expected_ms
            if not well:
                continue
            spent_ms += work_ms
            charged_ms += expected_ms
            if number % every == 0:
                spent = Spent(work_ms, max(0, cost.execute_us) / 1000, max(0, cost.output_tokens))
                self._costs[lane.pool].learn(traits_of(task.envelope), spent)
                ratios[task.model].append(work_ms / expected_ms)
        for (pool, level, _, model), (work_ms, _) in sums.items():
            if work_ms:
                self._rates.worked(pool, level, model, work_ms)
        for model, errors in ratios.items():
            self._metrics.predicted(model, errors)
        corrections = {share: work_ms - expected_ms for share, (work_ms, expected_ms) in sums.items()}
        return Learned(corrections, spent_ms, charged_ms)
