"""Makes arrivals: when tasks come, how long they take, and until when. All chance comes from one seeded generator.

Lengths of real work have heavy tails (Harchol-Balter and Downey, "Exploiting Process Lifetime Distributions for Dynamic
Load Balancing", ACM TOCS, 1997), and requests come in bursts rather than one by one; both matter more to waits than
means do.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from math import exp, log
from random import Random

from benchmarks.scheduling.traces import Arrival
from scheduler.states import Level

Lengths = Callable[[Random], float]
"""Draws how long a task executes, in milliseconds."""


def about(mean_ms: float, spread: float = 0.1) -> Lengths:
    """Return lengths that are evenly spread around their mean, by that part of it."""
    return lambda chance: mean_ms * chance.uniform(1 - spread, 1 + spread)


def lognormal(mean_ms: float, sigma: float) -> Lengths:
    """Return lengths whose logarithm is normally distributed: above 1, `sigma` means a heavy tail."""
    mu = log(mean_ms) - sigma * sigma / 2
    return lambda chance: exp(chance.gauss(mu, sigma))


def pareto(least_ms: float, alpha: float, most_ms: float) -> Lengths:
    """Return lengths of a bounded Pareto distribution: of a few, most of the work."""
    low, high = least_ms**-alpha, most_ms**-alpha
    return lambda chance: float((low - chance.random() * (low - high)) ** (-1 / alpha))


@dataclass(frozen=True, slots=True)
class Kind:
    """Tasks that resemble each other."""

    lengths: Lengths
    name: str = ""
    part: float = 1.0
    """Of the tasks of its source, in proportion to those of other kinds."""
    ms_per_input: float = 0.0
    """How much of a task's length each unit of its input says; 0 when the input says nothing."""
    noise: float = 0.0
    """How far, as a part, the length is from what the input says."""


@dataclass(frozen=True, slots=True)
class Source:
    """Somebody who submits tasks."""

    tenant: str
    level: Level
    per_s: float
    """Tasks a second, in the long run."""
    kinds: tuple[Kind, ...]
    model: str = "model"
    on_s: float = 0.0
    """How long a burst lasts on the average; 0 for arrivals that are always alike."""
    off_s: float = 0.0
    """How long it is quiet between two."""
    slack: tuple[float, float] = (0.0, 0.0)
    """Between these many milliseconds after arrival and length together, evenly, is the deadline; 0 for none."""
    at_once: int = 0
    """So many tasks are there from the beginning."""

    def arrivals(self, chance: Random, seconds: float) -> Iterator[Arrival]:
        """Yield what comes within so many seconds, by time."""
        for _ in range(self.at_once):
            yield self._draw(chance, 0.0)
        for time_s in self._times(chance, seconds):
            yield self._draw(chance, 1000 * time_s)

    def _times(self, chance: Random, seconds: float) -> Iterator[float]:
        if not self.per_s:
            return
        bursts = self.on_s > 0
        rate = self.per_s * (self.on_s + self.off_s) / self.on_s if bursts else self.per_s
        time_s, until_s = 0.0, chance.expovariate(1 / self.on_s) if bursts else seconds
        while True:
            time_s += chance.expovariate(rate)
            while bursts and time_s > until_s:
                quiet_s = chance.expovariate(1 / self.off_s)
                # Arrivals without memory: what was drawn beyond the end of a burst goes on in the next one.
                time_s += quiet_s
                until_s += quiet_s + chance.expovariate(1 / self.on_s)
            if time_s >= seconds:
                return
            yield time_s

    def _draw(self, chance: Random, time_ms: float) -> Arrival:
        [kind] = chance.choices(self.kinds, [one.part for one in self.kinds])
        execute_ms = kind.lengths(chance)
        input_size = 0
        if kind.ms_per_input:
            input_size = max(1, round(execute_ms / kind.ms_per_input))
            execute_ms *= chance.uniform(1 - kind.noise, 1 + kind.noise)
        deadline_ms = time_ms + execute_ms + chance.uniform(*self.slack) if any(self.slack) else 0.0
        return Arrival(
            time_ms,
            self.tenant,
            self.level,
            self.model,
            execute_ms,
            kind.name,
            input_size,
            deadline_ms=deadline_ms,
        )


def generate(sources: Iterable[Source], seconds: float, seed: int) -> list[Arrival]:
    """Return what all sources submit, by time. Each has a generator of its own, so that one more changes no other."""
    streams = [
        source.arrivals(Random(f"{seed}/{source.tenant}/{source.level}/{place}"), seconds)
        for place, source in enumerate(sources)
    ]
    return list(merge(*streams, key=lambda row: row.time_ms))
