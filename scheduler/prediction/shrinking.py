"""From what is remembered in several contexts to what one cell's tasks are expected to take.

A fine context counts by how many tasks it has seen, and what it lacks comes from the coarser ones (shrinkage: Efron
and Morris, "Stein's Paradox in Statistics", Scientific American, 1977).
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from scheduler.policies.expected import Traits
from scheduler.prediction.contexts import History
from scheduler.prediction.pace import Pace

_HALF: Final = 8.0
"""A context that saw so many tasks counts half."""
_CENTRED: Final = 16.0
"""Tasks that it must have seen to say what their median is."""
_SURE: Final = 50.0
"""Tasks that it must have seen to say how long most of them take at least."""
_SHORTEST: Final = 0.1
"""The part of the tasks that may take less than that."""
_BELOW: Final = 0.9
"""Brings a quantile below the bucket that it fell into."""


class Foretold(NamedTuple):
    """What one cell's tasks are expected to take."""

    amount: float
    """Tokens of generations, work in milliseconds of tensors."""
    execute_ms: float
    """Of tensors; 0 for generations, of which the tokens tell."""
    least_ms: float
    """Nine of ten take longer to execute; 0 while too few were seen."""
    middle: int
    """Bucket of the median amount; 0 while too few were seen."""


def foretell(traits: Traits, histories: Sequence[History | None], pace: Pace) -> Foretold:
    """Foretell a cell's tasks from its contexts, coarse to fine, None for one that nothing is remembered of.

    `traits` are those of any of its tasks. What no context knows comes from the pace of the model, and of the length
    of a generation, from half of its limit.
    """
    limit = traits.output_limit
    if limit:
        amount, execute_ms = limit / 2, 0.0
    else:
        amount, execute_ms = pace.work.ms(traits.input_size, 1), pace.execute.ms(traits.input_size, 1)
    for history in histories:
        if history is None:
            continue
        count = history.amount.count
        part = count / (count + _HALF)
        if limit:
            amount += part * (history.amount.mean(limit) - amount)
        else:
            amount += part * (history.amount.mean() - amount)
            execute_ms += part * (history.execute.mean() - execute_ms)
    return Foretold(amount, execute_ms, _least_ms(histories), _middle(histories))


def _least_ms(histories: Sequence[History | None]) -> float:
    for history in reversed(histories):
        if history is not None and history.sized and history.execute.count >= _SURE:
            return history.execute.quantile(_SHORTEST) * _BELOW
    return 0.0


def _middle(histories: Sequence[History | None]) -> int:
    for history in reversed(histories):
        if history is not None and history.amount.count >= _CENTRED:
            return history.amount.bucket_at(0.5)
    return 0
