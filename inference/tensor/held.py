"""Every request that a tensor engine has admitted and not answered: it waits in the batcher, or behind earlier calls of
its sequence, or it runs.
"""

from inference.engine import Failed
from inference.tensor.batcher import Batcher
from inference.tensor.batching import Item
from inference.tensor.sequences import SequenceTable
from scheduler.errors import SequenceUnknown


class Held:
    """Owned by the thread that steps."""

    def __init__(self, batcher: Batcher, sequences: SequenceTable | None) -> None:
        """`sequences` is None where a model keeps no state."""
        self._batcher = batcher
        self._sequences = sequences
        self._items: dict[str, Item] = {}
        self._lost: list[Failed] = []
        """Calls that lost their state while they waited."""

    def __len__(self) -> int:
        return len(self._items) + len(self._lost)

    def __contains__(self, key: str) -> bool:
        return key in self._items

    @property
    def any_lost(self) -> bool:
        """Whether there is something for `take_lost`."""
        return bool(self._lost)

    def add(self, item: Item, tenant: str) -> None:
        """Take a request in. Raises SequenceUnknown, Overloaded when there are too many sequences."""
        if self._sequences is None:
            self._batcher.add(item)
        elif self._sequences.admit(item, tenant):
            # The first of a sequence's calls was found to have its state when it was admitted.
            self._sequences.prepare(item)
            self._batcher.add(item)
        self._items[item.key] = item

    def cancel(self, key: str) -> None:
        """Let go of a request that does not run now. Unknown keys are ignored."""
        item = self._items.get(key)
        if item is None:
            self._lost = [lost for lost in self._lost if lost.key != key]
            return
        self._batcher.remove(item)
        self.end(item)

    def end(self, item: Item) -> None:
        """Let go of a request that waits no more: the next call of its sequence can run, or fails where its state is
        lost.
        """
        del self._items[item.key]
        if self._sequences is None:
            return
        following = self._sequences.ended(item)
        while following is not None:
            if self._sequences.prepare(following):
                self._batcher.add(following)
                return
            del self._items[following.key]
            self._lost.append(Failed(following.key, SequenceUnknown()))
            following = self._sequences.ended(following)

    def take_lost(self) -> list[Failed]:
        """Return the failures of calls whose state was lost, and forget them."""
        lost, self._lost = self._lost, []
        return lost

    def clear(self) -> None:
        """Forget everything."""
        self._items.clear()
        self._lost.clear()
        self._batcher.clear()
        if self._sequences is not None:
            self._sequences.clear()
