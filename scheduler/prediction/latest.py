"""A table with a bound: what was not used for longest gives way."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class Latest(Generic[KeyT, ValueT]):
    """Up to `most` entries, the latest used ones."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[KeyT, ValueT] = OrderedDict()
        self.get = self._entries.get
        """Looks an entry up without using it; None where there is none."""

    def __len__(self) -> int:
        return len(self._entries)

    def items(self) -> Iterator[tuple[KeyT, ValueT]]:
        """Go through all entries, the one that was not used for longest first."""
        yield from self._entries.items()

    def use(self, key: KeyT, make: Callable[[], ValueT]) -> ValueT:
        """Return an entry, made where there is none."""
        entries = self._entries
        entry = entries.get(key)
        if entry is not None:
            entries.move_to_end(key)
            return entry
        entry = entries[key] = make()
        if len(entries) > self._most:
            entries.popitem(last=False)
        return entry
