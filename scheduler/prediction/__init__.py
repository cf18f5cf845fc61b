"""What tasks cost, learned from what others did cost: a model of cost with bounded memory. Pure, and deterministic."""

from scheduler.prediction.learned import LearnedCost
from scheduler.prediction.usual import Usual

__all__ = ["LearnedCost", "Usual"]
