"""What tasks of a model, tenant and level cost as a rule: the shape that a forecast gives to a backlog.

Means over some hundred tasks of each. What one kind of task does differently all at once does not make them forget the
other kinds: a mean over a mix says nothing once it is made of a few tasks. Instead, all means of a model are scaled
alike by how fast it is now: what its last tasks took, over what tasks of their own cells take in the long run (a ratio
estimator: Cochran, "Sampling Techniques", Wiley 1977). And a mean counts as far as chance cannot have brought it away
from that of all tasks of the model (shrinkage: Efron and Morris, "Stein's Paradox in Statistics", Scientific American,
1977): a dozen tasks of which by chance none was long would be taken for quick ones.
"""

from typing import Final, NamedTuple

from scheduler.policies.expected import Expected
from scheduler.prediction.batches import Batch
from scheduler.prediction.latest import Latest
from scheduler.prediction.leaf import bounded
from scheduler.prediction.sketch import Sketch

MOST_USUAL: Final = 1024
"""Models, tenants and levels that are known, the latest used ones."""

_LAST: Final = 256
"""Of the tasks that tell how fast a model is now, one that came so many tasks ago weighs half."""
_MOST_SCALE: Final = 64.0

Key = tuple[str, str, int]
"""Model, tenant (empty for all) and number of the level (0 for all)."""


class Usual(NamedTuple):
    """What tasks of one model, tenant and level cost as a rule."""

    model: str
    tenant: str
    """Empty for all."""
    level: int
    """Number of a level; 0 for all."""
    expected: Expected
    spread: float
    """Half of the tasks' work lies within the median divided by and multiplied with this; at least 1."""
    tasks: int
    """How many were seen."""


class _Scale:
    """How fast one model is now."""

    __slots__ = ("_spent", "_usual")

    def __init__(self) -> None:
        self._spent = self._usual = 0.0

    def note(self, tasks: int, spent_ms: float, usual_ms: float) -> None:
        """Take in some tasks of one cell: what they took, and what such tasks take in the long run."""
        keeps = 2.0 ** (-tasks / _LAST)
        self._spent = self._spent * keeps + spent_ms
        self._usual = self._usual * keeps + usual_ms

    def factor(self) -> float:
        """Return by what usual costs are multiplied."""
        return min(_MOST_SCALE, max(1.0 / _MOST_SCALE, self._spent / self._usual))


class _Mean:
    """Work and execution of the tasks of one key."""

    __slots__ = ("execute", "tasks", "work")

    def __init__(self) -> None:
        self.work = Sketch()
        """Milliseconds."""
        self.execute = Sketch()
        """Milliseconds."""
        self.tasks = 0

    def add(self, batch: Batch) -> None:
        """Take in tasks."""
        self.work.add(batch.work.buckets, batch.count, batch.work.total)
        self.execute.add(batch.execute.buckets, batch.count, batch.execute.total)
        self.tasks += batch.count


class UsualCosts:
    """Knows what is usual, by model, tenant and level, and by model. Bounded in memory."""

    def __init__(self, most_models: int) -> None:
        self._means: Latest[Key, _Mean] = Latest(MOST_USUAL)
        self._scales: Latest[str, _Scale] = Latest(most_models)

    def __len__(self) -> int:
        return len(self._means) + len(self._scales)

    def add(self, model: str, tenant: str, level: int, batch: Batch, long_run_ms: float) -> None:
        """Take in tasks of one cell, in which a task takes `long_run_ms` in the long run."""
        self._scales.use(model, _Scale).note(batch.count, batch.work.total, batch.count * long_run_ms)
        self._means.use((model, "", 0), _Mean).add(batch)
        if tenant:
            self._means.use((model, tenant, level), _Mean).add(batch)

    def rows(self, most: int) -> list[Usual]:
        """Return what is usual, of what there was most first, at most `most`."""
        ranked = sorted(self._means.items(), key=lambda item: -item[1].tasks)
        deviations: dict[str, float] = {}
        return [self._row(key, mean, deviations) for key, mean in ranked[:most]]

    def _row(self, key: Key, mean: _Mean, deviations: dict[str, float]) -> Usual:
        """Return what is usual; `deviations` remembers those of whole models."""
        scale, all_ = self._scales.get(key[0]), self._means.get((key[0], "", 0))
        factor = scale.factor() if scale else 1.0
        work_ms, execute_ms = mean.work.mean(), mean.execute.mean()
        if all_ is not None and all_ is not mean:
            deviation = deviations.get(key[0])
            if deviation is None:
                deviation = deviations[key[0]] = all_.work.deviation()
            part = _counts(work_ms - all_.work.mean(), deviation**2 / mean.work.count)
            work_ms = part * work_ms + (1 - part) * all_.work.mean()
            execute_ms = part * execute_ms + (1 - part) * all_.execute.mean()
        expected = Expected(bounded(work_ms * factor), bounded(execute_ms * factor))
        spread = (mean.work.quantile(0.75) / mean.work.quantile(0.25)) ** 0.5
        return Usual(*key, expected, spread, mean.tasks)


def _counts(away: float, by_chance: float) -> float:
    """Return how far a mean counts that is so far away from that of all, where chance makes for such a variance."""
    return max(0.0, 1.0 - by_chance / away**2) if away else 1.0
