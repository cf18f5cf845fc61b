"""In which contexts a task's cost is learned, and what is remembered of one.

Generations: their length depends most on what kind of task it is, then on whose, then on prompt and limit. Tensors:
on how many elements there are, before all else.
"""

from typing import Final

from scheduler.policies.expected import Traits
from scheduler.prediction.drift import OneSided
from scheduler.prediction.sketch import Sketch

Cell = tuple[str, str, str, int, int, int]
"""Tasks that are foretold alike, but for what prompt and limit say within a factor of two: model, tenant, kind, level,
and the binary orders of magnitude of input size and output limit.
"""
Context = tuple[str, str, str, int, int]
"""Model, tenant, kind, and the two orders of magnitude; empty or ANY for all."""
ANY: Final = -1
_REMEMBERED: Final = 0.5
"""How many tasks all that came before a drift weighs."""
_DRIFTS: Final = 64
"""Drifts that a context tells apart; most meet one or two."""


def cell_of(traits: Traits) -> Cell:
    """Return the cell of a task."""
    model, tenant, level, input_size, output_limit, kind = traits
    return model, tenant, kind, level, input_size.bit_length(), output_limit.bit_length()


def contexts_of(cell: Cell) -> tuple[Context, ...]:
    """Return the contexts that foretell a cell, coarse to fine."""
    model, tenant, kind, _, inputs, limit = cell
    owners = [("", "")]
    if tenant:
        owners.append((tenant, ""))
    if kind:
        owners.append(("", kind))
        if tenant:
            owners.append((tenant, kind))
    found: list[Context] = []
    for of_tenant, of_kind in owners:
        if limit:
            found.append((model, of_tenant, of_kind, ANY, ANY))
        found.append((model, of_tenant, of_kind, inputs, limit))
    return tuple(found)


class History:
    """What is remembered of one context."""

    __slots__ = ("_forgot", "amount", "execute", "sized")

    def __init__(self, *, sized: bool = True) -> None:
        self.amount = Sketch()
        """Tokens of generations, work in milliseconds of tensors."""
        self.execute = Sketch()
        """Milliseconds."""
        self.sized = sized
        """Whether all its tasks are of about the same size and limit."""
        self._forgot: dict[OneSided, int] | None = None
        """After how many alarms of which drifts; None for none."""

    def forget(self, drift: OneSided) -> None:
        """Let what came so far weigh next to nothing, unless the same alarm had it do so already."""
        forgot = self._forgot
        if forgot is None or len(forgot) >= _DRIFTS:
            forgot = self._forgot = {}
        if forgot.get(drift) != drift.alarms:
            forgot[drift] = drift.alarms
            self.amount.forget(_REMEMBERED)
            self.execute.forget(_REMEMBERED)
