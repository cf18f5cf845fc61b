"""How the look-up of one call's tasks is counted, and told in its trace."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from cache.tiers import Look, Met
from forebay.tasks.v1.task_pb2 import TaskSpec
from observability import names, tracing
from services.gateway.caching.journey import ABSENT, BYPASSED, HIT, CacheCounter
from services.gateway.task_looks import TaskLooks


class Tally:
    """What one look-up met."""

    def __init__(self) -> None:
        self.uncached: Counter[str] = Counter()
        """Tasks that are executed as if there were no cache, by why."""
        self._looks: list[Look] = []
        self._hits: Counter[str] = Counter()
        """Tasks whose answer was found, by the tier."""
        self._absent: Counter[str] = Counter()
        """Tasks that wanted a cached answer or none, by their model."""

    def looked(self, looks: Iterable[Look]) -> None:
        """Take in what tiers said."""
        self._looks += looks

    def hit(self, tier: str, tasks: int) -> None:
        """Take in that so many tasks end with an answer from a tier."""
        self._hits[tier] += tasks

    def absent(self, model: str) -> None:
        """Take in a task that wanted a cached answer or none, and there is none."""
        self._absent[_name(model)] += 1

    def count(self, counter: CacheCounter) -> None:
        """Count it, but for what it found: see `count_hits`."""
        for why, count in self.uncached.items():
            counter.uncached(why, count)
        for look in self._looks:
            counter.look(look.tier, look.met.value, look.took_s, look.keys)
        for model, count in self._absent.items():
            counter.call(model, ABSENT, count)

    def tell(self, span: tracing.Span, looks: TaskLooks, tasks: int) -> None:
        """Tell of it in the span of the look-up of so many tasks."""
        came = {HIT: len(looks.ends), "asked_later": len(looks.questions), ABSENT: len(looks.refused)}
        came[BYPASSED] = tasks - sum(came.values())
        said: Counter[tuple[str, Met]] = Counter()
        for look in self._looks:
            said[look.tier, look.met] += look.keys
        told = {
            names.CACHE_OUTCOME: _counts(came),
            names.CACHE_TIER: _counts(self._hits),
            names.CACHE_LOOKS: _counts({f"{tier}:{met.value}": count for (tier, met), count in said.items()}),
            names.CACHE_REFUSAL: _counts(self.uncached),
        }
        for name, value in told.items():
            if value:
                span.set(name, value)


def count_hits(counter: CacheCounter, specs: Sequence[TaskSpec], ended: Collection[int]) -> None:
    """Count the tasks at these places, which were recorded as ended: one that is repeated under its key counts once."""
    for model, count in Counter(_name(specs[place].model) for place in ended).items():
        counter.call(model, HIT, count)


def _name(model: str) -> str:
    """Return a model's name without a version."""
    return model.partition("@")[0]


def _counts(counted: Mapping[str, int]) -> str:
    return " ".join([f"{word}={count}" for word, count in counted.items() if count])
