"""What is claimed of the order of one tenant's tasks: by what is learned of their lengths, and by deadline."""

from collections.abc import Iterable

from benchmarks.scheduling import figures, scenarios
from benchmarks.scheduling.claims.finding import Bar, Finding, compare
from benchmarks.scheduling.contenders import DEADLINE, FIRST, SHORTEST, Contender, baselines, everyone, ours
from scheduler.policies.policy import DEFAULT_POLICY


def bursts(seed: int, scale: float) -> Iterable[Finding]:
    """Nothing is claimed where everything is mixed: a table of all policies."""
    scenario = scenarios.bursts(seed, scale)
    yield Finding(scenario, compare(scenario, everyone())[1])


def lengths(seed: int, scale: float) -> Iterable[Finding]:
    """What is learned of costs is nearly as good as knowing them."""
    scenario = scenarios.lengths(seed, scale)
    runs, rows = compare(scenario, _by_length())
    mean_ms = {name: figures.waits(run).mean_ms for name, run in runs.items()}
    over = mean_ms["shortest"] / mean_ms["clairvoyant shortest"] - 1
    below = 1 - mean_ms["shortest"] / mean_ms["FIFO"]
    learned = "learned shortest first: mean wait"
    bars = [
        Bar(f"{learned} over the clairvoyant one", f"{over:.0%}", "<= 25 %", over <= 0.25),
        Bar(f"{learned} below FIFO", f"{below:.0%}", ">= 30 %", below >= 0.3),
    ]
    yield Finding(scenario, rows, bars)


def secrets(seed: int, scale: float) -> Iterable[Finding]:
    """Nothing is claimed where nobody can know what tasks cost: a table only."""
    scenario = scenarios.lengths(seed, scale, scenarios.SECRET, "lengths that nobody can know")
    yield Finding(scenario, compare(scenario, _by_length())[1])


def deadlines(seed: int, scale: float) -> Iterable[Finding]:
    """Where all deadlines can be met, nearly all are."""
    scenario = scenarios.deadlines(seed, scale)
    named = {"deadline": DEADLINE, "balanced": DEFAULT_POLICY, "shortest": SHORTEST, "fifo": FIRST}
    contenders = baselines("FIFO", "clairvoyant shortest", "clairvoyant deadline") | ours(named)
    runs, rows = compare(scenario, contenders)
    ideal, part = (figures.in_time(runs[name]) for name in ("clairvoyant deadline", "deadline"))
    bars = [
        Bar(
            "clairvoyant earliest deadline first",
            f"{ideal:.1%}",
            "all, or the case is too hard",
            ideal == 1,
        ),
        Bar("earliest deadline first: deadlines met", f"{part:.1%}", ">= 95 %", part >= 0.95),
    ]
    yield Finding(scenario, rows, bars)


def _by_length() -> dict[str, Contender]:
    named = {"shortest": SHORTEST, "balanced": DEFAULT_POLICY, "fifo": FIRST}
    return baselines("FIFO", "clairvoyant shortest") | ours(named)
