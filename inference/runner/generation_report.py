"""From what a generating engine says after each step to the metrics."""

import time
from collections.abc import Sequence

from inference.engine import Chunk, Done, GenerateOutput, ReportsGeneration, Update
from observability.generation import GenerationMetrics


class GenerationReport:
    """Tells the metrics how one engine generates. For the thread that steps it; a few microseconds a step."""

    def __init__(self, engine: ReportsGeneration, metrics: GenerationMetrics) -> None:
        self._engine = engine
        self._metrics = metrics

    def admitted(self, waited_s: float) -> None:
        """Tell that a request was let in, and how long it had waited since the runner got it."""
        self._metrics.admitted(waited_s)

    def stepped(self, updates: Sequence[Update], queued: int) -> None:
        """Tell of a step by what it brought; `queued` tasks of the runner wait to be let in."""
        tokens = 0
        for update in updates:
            if type(update) is Chunk:
                tokens += len(update.token_ids)
            elif type(update) is Done:
                if update.tail is not None:
                    tokens += len(update.tail.token_ids)
                if isinstance(update.output, GenerateOutput):
                    self._metrics.finished([choice.finish.value for choice in update.output.choices])
            else:
                self._metrics.finished([self._metrics.ERROR])
        self._metrics.stepped(self._engine.times, tokens, time.monotonic())
        self._metrics.holds(self._engine.stats(), queued)

    def rests(self) -> None:
        """Tell that the engine has nothing to do."""
        self._metrics.holds(self._engine.stats(), 0)
