"""Learning of costs for one pool, with what it tells written down."""

from collections.abc import Sequence

from scheduler.ports.clock import Clock
from scheduler.prediction import LearnedCost
from scheduler.service.learning import Learning
from scheduler.service.rates import Rates


class Heard:
    """Takes prediction errors."""

    def __init__(self) -> None:
        self.ratios: dict[str, list[float]] = {}

    def predicted(self, model: str, ratios: Sequence[float]) -> None:
        self.ratios.setdefault(model, []).extend(ratios)


def learning_of(clock: Clock, rates: Rates | None = None, heard: Heard | None = None) -> Learning:
    return Learning({"default": LearnedCost()}, rates or Rates(clock), heard or Heard())
