"""When an entry that was found below moves up: by use, and not on the first touch.

An entry is copied into the tiers above when it was found below for the `after`-th time while its key is among the last
`WINDOW` of its namespace that were found there. A scan touches each key once, and so moves nothing: what is above stays
there. Namespaces have windows of their own, so that one's scan does not hide another's use.
"""

from collections import OrderedDict
from typing import Final

from cache.ports import Key

WINDOW: Final = 4096
"""Keys remembered for each namespace."""
_NAMESPACES: Final = 4096
"""Namespaces with a window at a time; of more, the one that used its own least recently begins anew."""


class Promotion:
    """Uses of keys below, lately."""

    def __init__(self, after: int, window: int = WINDOW) -> None:
        self._after = after
        self._window = window
        self._namespaces: OrderedDict[bytes, OrderedDict[bytes, int]] = OrderedDict()

    def used(self, key: Key) -> bool:
        """Count a use below; True when the entry should be copied up, and then its count begins anew."""
        if self._after <= 1:
            return True
        namespace, digest = key
        uses = self._namespaces.get(namespace)
        if uses is None:
            uses = self._namespaces[namespace] = OrderedDict()
            if len(self._namespaces) > _NAMESPACES:
                self._namespaces.popitem(last=False)
        else:
            self._namespaces.move_to_end(namespace)
        count = uses.pop(digest, 0) + 1
        if count >= self._after:
            return True
        uses[digest] = count
        if len(uses) > self._window:
            uses.popitem(last=False)
        return False
