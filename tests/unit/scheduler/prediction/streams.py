"""Tasks and what they cost, as tests of prediction make them up; all from a seed."""

from collections.abc import Callable, Iterator
from itertools import islice
from random import Random
from statistics import median

from scheduler.policies.expected import CostModel, Spent, Traits

Stream = Iterator[tuple[Traits, Spent]]

CHAT_TOKENS = 30.0
REPORT_TOKENS = 400.0
MS_PER_TOKEN = 5.0
MS_PER_BYTE = 0.02


def generations(random: Random, *, factor: float = 1.0, longer: float = 1.0, sigma: float = 0.6) -> Stream:
    """Short chats and long reports with lognormal tails; `factor` on the time that the model takes, `longer` on how
    much it writes.
    """
    while True:
        kind, tokens = random.choice((("chat", CHAT_TOKENS), ("report", REPORT_TOKENS)))
        size, limit = random.randrange(200, 4000), 2048
        brought = min(limit, max(1, int(tokens * longer * random.lognormvariate(0, sigma))))
        work_ms = (MS_PER_BYTE * size + MS_PER_TOKEN * brought) * factor * random.lognormvariate(0, 0.1)
        yield Traits("lm", "acme", 3, size, limit, kind), Spent(work_ms, 4 * work_ms, brought)


def tensors(random: Random, *, work_ms: float = 2.0, model: str = "digits") -> Stream:
    """Rows of a small model, all alike."""
    while True:
        spent_ms = work_ms * random.lognormvariate(0, 0.2)
        yield Traits(model, "acme", 3, 3200), Spent(spent_ms, 8 * spent_ms)


def teach(costs: CostModel, stream: Stream, tasks: int) -> None:
    """Let a model of cost see the next tasks of a stream."""
    for traits, spent in islice(stream, tasks):
        costs.expect(traits)
        costs.learn(traits, spent)


def error(costs: CostModel, stream: Stream, tasks: int, of: Callable[[Spent], float]) -> float:
    """Return the median of |expected work / what was spent - 1|, with the model of cost left as it is."""
    return median(
        abs(costs.expect(traits).work_ms / of(spent) - 1) for traits, spent in islice(stream, tasks)
    )
