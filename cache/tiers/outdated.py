"""What was computed anew lately, so that nothing older comes back: neither from a look-up that was under way, nor from
a computation that began before, nor from a tier that has not let go of it.
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice
from typing import Final

from cache.ports import Entry, Invalidation, Key

MOST: Final = 8_192
"""Keys that are remembered, and that wait to be told, the latest; about 2 MB."""


class Outdated:
    """Keys of which what is older than a time is not given any more, and which of them are still to be told."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._before_ms: OrderedDict[Key, int] = OrderedDict()
        self._untold: OrderedDict[Key, int] = OrderedDict()
        self._known: OrderedDict[Key, int] = OrderedDict()
        """Of those: what others were told, and a tier that is shared has not let go of."""

    def covers(self, key: Key, entry: Entry) -> bool:
        """Tell whether something was computed in place of an entry."""
        return self._before_ms.get(key, -1) > entry.created_ms

    def note(self, one: Invalidation) -> None:
        """Remember one."""
        self._keep(self._before_ms, one)

    def tell(self, one: Invalidation) -> None:
        """Let one wait to be told."""
        self._keep(self._untold, one)

    def untold(self, most: int) -> list[Invalidation]:
        """Return those that have waited longest."""
        return [Invalidation(*each) for each in islice(self._untold.items(), most)]

    def unknown(self, those: Sequence[Invalidation]) -> list[Invalidation]:
        """Return which of those others were not told."""
        return [one for one in those if self._known.get(one.key) != one.before_ms]

    def postpone(self, those: Sequence[Invalidation]) -> None:
        """Put those last, of which others know now: a tier that is shared was away."""
        for one in those:
            self._keep(self._known, one)
            if one.key in self._untold:
                self._untold.move_to_end(one.key)

    def told(self, those: Sequence[Invalidation]) -> None:
        """Let those wait no longer, unless there is a later one of their key by now."""
        for key, before_ms in those:
            if self._untold.get(key) == before_ms:
                del self._untold[key]
                self._known.pop(key, None)

    def _keep(self, where: OrderedDict[Key, int], one: Invalidation) -> None:
        before_ms = max(one.before_ms, where.pop(one.key, one.before_ms))
        where[one.key] = before_ms
        if len(where) > self._most:
            where.popitem(last=False)
