"""Which prompt is read next, and how much of it: the mix of a step. Pure.

A step generates one token for every row that has read its prompt, and reads up to a budget of prompt tokens. The budget
is what bounds the time that running rows wait between two tokens; several short prompts share it, a long one takes
several steps. Beginnings that are copied from the prefix cache count into it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from scheduler.states import Level

SHORTEST: Final = 2
"""Tokens of the shortest piece of a longer prompt. Attention over a single new token adds in another order than over
several, and the 8-bit rounding behind it makes another answer of that; pieces of two and more give the same bits."""
SMALLEST_BUDGET: Final = 2 * SHORTEST
"""With less, some prompts could not be cut."""
COPIED_AS_ONE: Final = 8
"""Tokens copied from the prefix cache that count as one that is read: a long beginning, or those of many prompts, would
hold running rows up as well. With 135 M parameters on 2 cores a copied token takes a hundredth of the time of one that
is read, but a sixth where the system has yet to give the memory for it."""


@dataclass(frozen=True, slots=True)
class Reader:
    """A row that has a slot and has not read all of its prompt."""

    slot: int
    level: Level
    order: int
    """Rows that came first have lower numbers."""
    left: int
    """Prompt tokens that are not read."""


def next_reading(readers: Iterable[Reader], budget: int) -> tuple[Reader, int] | None:
    """Return whose prompt is read next and how many tokens of it; None when nobody reads or the budget is used up.

    No piece is shorter than SHORTEST, nor is what it leaves, but for a prompt that is shorter itself.

    More urgent rows read first, then those that came first: a prompt that was begun is finished before the next of its
    level, for half-read prompts bring nobody a token.
    """
    if budget < 1:
        return None
    first = min(readers, key=lambda reader: (reader.level, reader.order), default=None)
    if first is None:
        return None
    count = min(first.left, budget)
    if 0 < first.left - count < SHORTEST:
        count = first.left - SHORTEST
    return (first, count) if count >= min(SHORTEST, first.left) else None
