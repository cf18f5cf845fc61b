"""What a runner needs of an engine, and what some engines can do beside it.

A runner calls an engine from one thread, never concurrently: `admit` while `active < capacity`, then `step`
again and again while `active`. An engine that batches (all of them) does its work for every admitted request in each
step.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, runtime_checkable

from inference.engine.card import ModelCard
from inference.engine.counts import GenerationStats, RunCounts, StepTimes
from inference.engine.requests import Request
from inference.engine.updates import Update
from scheduler.policies.policy import Policy
from scheduler.states import Level


class Engine(Protocol):
    """One loaded model. Not thread-safe: the runner's engine thread owns it."""

    @property
    def card(self) -> ModelCard:
        """What is known of the model."""
        ...

    @property
    def capacity(self) -> int:
        """How many requests can be admitted at once."""
        ...

    @property
    def active(self) -> int:
        """How many requests are admitted and not ended."""
        ...

    def admit(self, key: str, request: Request) -> None:
        """Take a request in; it ends through `step`. The caller checks `active < capacity` first, or `Preempts`.

        Raises InvalidInput (all faults at once, fields as paths inside the request) when it can never run; a model
        with state also SequenceUnknown, and Overloaded when it keeps too many sequences.
        """
        ...

    def cancel(self, key: str) -> None:
        """Forget a request: no update of it follows. Unknown keys are ignored."""
        ...

    def step(self) -> Sequence[Update]:
        """Advance every admitted request by one model run and return what came of it.

        An error that concerns one request is a Failed update of that request, never an exception.
        """
        ...

    def warm_up(self) -> None:
        """Run the model once on made-up input, so that the first request does not pay for first-run work."""
        ...

    def close(self) -> None:
        """Let go of the model. Idempotent."""
        ...


@runtime_checkable
class Interruptible(Protocol):
    """An engine whose single step may last long, and can be stopped in the middle."""

    def runs(self, key: str) -> bool:
        """Tell, on any thread, whether a request runs now."""
        ...

    def interrupt(self, key: str) -> None:
        """Cancel a request that runs now, from any thread. Does nothing when it does not run now."""
        ...


@runtime_checkable
class TellsRuns(Protocol):
    """An engine that runs only some of what it holds in a step, and says which."""

    def tell_runs(self, tell: Callable[[Sequence[str]], None]) -> None:
        """Have `tell` called, on the thread that steps, with the keys of what is about to run, at least when they are
        others than before.
        """
        ...


@runtime_checkable
class SharesRuns(Protocol):
    """An engine whose capacity is not how much it executes at the same time."""

    @property
    def together(self) -> int:
        """Return how many requests one run takes at most."""
        ...


@runtime_checkable
class Preempts(Protocol):
    """An engine that can pause what it holds for the sake of something more urgent."""

    def preemptable(self, level: Level) -> int:
        """Return how many requests of a level can be admitted although no place is free."""
        ...


@runtime_checkable
class Delays(Protocol):
    """An engine that may hold requests back for a moment so that more can share a run."""

    @property
    def due_s(self) -> float:
        """Return the monotonic time before which a step would do nothing unless more is admitted; 0 for at once."""
        ...


@runtime_checkable
class KnowsShort(Protocol):
    """An engine that knows of some steps that they are over before another thread would have begun with them."""

    def short(self, requests: Iterable[Request]) -> bool:
        """Tell, while nothing is admitted, whether taking these in and stepping is known to be over at once, whatever
        is in them.
        """
        ...


@runtime_checkable
class Follows(Protocol):
    """An engine that chooses by level among what it holds, and so follows the policy."""

    def follow(self, policy: Policy) -> None:
        """Choose by another policy from now on. Called on the thread that steps."""
        ...


@runtime_checkable
class CountsRuns(Protocol):
    """An engine that counts its runs."""

    def counts(self) -> RunCounts:
        """Return what was counted. On the thread that steps."""
        ...


@runtime_checkable
class ReportsGeneration(Protocol):
    """An engine that tells how it generates. For the thread that steps it."""

    @property
    def times(self) -> StepTimes:
        """Where the latest step spent its time."""
        ...

    def stats(self) -> GenerationStats:
        """Count what is held. Cheap: called after every step."""
        ...
