"""The model of cost that learns online: from what executions did cost to what others will.

Tensors by how long such tasks took; generations by how many tokens such tasks brought, times what the model takes for
one, so that another prompt or limit is foretold well. When errors keep falling on one side, what was learned where they
fell is forgotten at once.
"""

from functools import partial
from typing import Final

from scheduler.policies.expected import Expected, Spent, Traits
from scheduler.prediction.batches import tally
from scheduler.prediction.contexts import ANY, Cell, Context, History, cell_of, contexts_of
from scheduler.prediction.drift import OneSided
from scheduler.prediction.latest import Latest
from scheduler.prediction.leaf import Leaf
from scheduler.prediction.pace import OF_GENERATION, OF_TENSORS, Pace
from scheduler.prediction.shrinking import foretell
from scheduler.prediction.usual import Usual, UsualCosts

MOST_CELLS: Final = 2048
"""Cells that are remembered, the latest used ones."""
MOST_CONTEXTS: Final = 8192
"""Contexts, likewise."""
MOST_MODELS: Final = 256
"""Models, likewise."""

_REFRESH: Final = 64
"""So often a cell's expectation is used before its contexts are asked again."""


class LearnedCost:
    """Foretells what tasks cost, and takes in by the batch what they did cost."""

    def __init__(self) -> None:
        self._leaves: Latest[Cell, Leaf] = Latest(MOST_CELLS)
        self._contexts: Latest[Context, History] = Latest(MOST_CONTEXTS)
        self._paces: Latest[tuple[str, bool], Pace] = Latest(MOST_MODELS)
        self._drifts: Latest[tuple[str, str, str], OneSided] = Latest(MOST_CELLS)
        self._usual = UsualCosts(MOST_MODELS)

    def expect(self, traits: Traits) -> Expected:
        """Return what a task is expected to cost; never 0 or less, and no more than its limit allows.

        Now and then `least_ms` is 0 although it is known: were all tasks given up that seem to take too long, nobody
        would notice that they do not any more.
        """
        cell = cell_of(traits)
        leaf = self._leaves.get(cell) or self._leaf(cell, traits)
        leaf.uses += 1
        if leaf.uses > _REFRESH or leaf.epoch != leaf.pace.epoch:
            self._refresh(cell, leaf)
            return leaf.price(traits)._replace(least_ms=0.0)
        if leaf.traits == traits and leaf.version == leaf.pace.version:
            return leaf.expected
        return leaf.price(traits)

    def learn(self, traits: Traits, spent: Spent) -> None:
        """Take in what an execution cost that went well."""
        cell = cell_of(traits)
        leaf = self._leaves.get(cell) or self._leaf(cell, traits)
        leaf.observed.append((traits, spent))
        if len(leaf.observed) >= leaf.batch:
            self._take_in(cell, leaf)

    def usual(self, most: int) -> list[Usual]:
        """Return what tasks cost as a rule, by model, tenant and level, and of each model as a whole; those of which
        there were most first, at most `most`.
        """
        return self._usual.rows(most)

    def _leaf(self, cell: Cell, traits: Traits) -> Leaf:
        generates = traits.output_limit > 0
        usual = OF_GENERATION if generates else OF_TENSORS
        pace = self._paces.use((traits.model, generates), partial(Pace, usual))
        drift = self._drifts.use(cell[:3], OneSided)
        leaf = Leaf(traits, contexts_of(cell), pace, drift)
        self._refresh(cell, leaf)
        return leaf

    def _refresh(self, cell: Cell, leaf: Leaf) -> None:
        """Ask a cell's contexts again."""
        self._leaves.use(cell, lambda: leaf)
        histories = [self._contexts.get(context) for context in leaf.contexts]
        leaf.forget(filter(None, histories))
        leaf.uses, leaf.epoch, leaf.version = 0, leaf.pace.epoch, -1
        leaf.foretold = foretell(leaf.traits, histories, leaf.pace)

    def _take_in(self, cell: Cell, leaf: Leaf) -> None:
        """Pass what a cell has seen on to its contexts."""
        observed, leaf.observed = leaf.observed, []
        alarms = leaf.drift.alarms
        batch = tally(observed, leaf.pace, leaf.foretold.middle, leaf.drift, leaf.most())
        if leaf.drift.alarms != alarms:
            # All cells of the model look again.
            leaf.pace.epoch += 1
        histories = [
            self._contexts.use(context, partial(History, sized=context[3] != ANY))
            for context in leaf.contexts
        ]
        model, tenant, _, level, _, _ = cell
        self._usual.add(model, tenant, level, batch, leaf.long_run_ms(batch))
        leaf.forget(histories)
        amount, execute = batch.amount, batch.execute
        for history in histories:
            history.amount.add(amount.buckets, batch.count, amount.total)
            history.execute.add(execute.buckets, batch.count, execute.total)
        leaf.saw(batch)
        self._refresh(cell, leaf)
