"""On what terms a runner takes tasks from its schedulers: how many it holds, how much room it keeps for CRITICAL ones,
and what it says of both when it attaches.
"""

from typing import Final

from forebay.dispatch.v1.dispatch_service_pb2 import Hello
from inference.engine import Engine, EngineKind, Preempts, SharesRuns
from inference.runner.ahead import Ahead
from inference.runner.credit import CreditPool
from inference.runner.settings import RunnerSettings

TENSOR_CREDITS: Final = 1024
"""Most tasks that a runner of a tensor model holds."""
LEAST_TOGETHER: Final = 64
"""Fewest that it holds, however long they take, where they share runs."""
LEAST_ALONE: Final = 3
"""The same where each task is a run of its own: one runs, the next is there, and one place is for CRITICAL."""
GENERATIONS_AHEAD: Final = 2
"""Tasks taken for each place of a generation engine: the next one is there when a place gets free."""


class Terms:
    """The terms of one runner, from when its engine is open."""

    def __init__(self, engine: Engine, settings: RunnerSettings) -> None:
        self._settings = settings
        self._answers_digest = engine.card.answers_digest
        self._slots = engine.together if isinstance(engine, SharesRuns) else engine.capacity
        generates = engine.card.kind is EngineKind.GENERATE
        sized = not generates and not settings.credits
        # An engine that preempts gives a CRITICAL task another one's place, so it must find room in the runner; where
        # none is given, it must be there when the present run ends. Credit that was set is meant as it stands.
        self._reserve = engine.capacity if isinstance(engine, Preempts) else int(sized)
        ahead = GENERATIONS_AHEAD * engine.capacity if generates else TENSOR_CREDITS
        self.credit = CreditPool(settings.credits or ahead + self._reserve)
        """What its schedulers share."""
        self._ahead: Ahead | None = None
        if sized:
            least = LEAST_ALONE if self._slots == 1 else LEAST_TOGETHER
            self._ahead = Ahead(self.credit, least, TENSOR_CREDITS)

    def ended(self, requests: int, work_s: float) -> None:
        """Take in that so many requests ended, and how much of the engine's time they took in all."""
        if self._ahead is not None:
            self._ahead.ended(requests, work_s)

    def hello(self, runner: str) -> Hello:
        """Return how the runner of that id introduces itself."""
        settings = self._settings
        return Hello(
            runner=runner,
            model=settings.answers_to,
            also=settings.also,
            pool=settings.pool,
            reserve=self._reserve,
            zone=settings.zone,
            weight=settings.weight,
            slots=self._slots,
            version=settings.version,
            answers_digest=self._answers_digest,
        )
