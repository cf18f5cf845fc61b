"""Entries that must not be served any more, whatever still holds them.

A purge does not look for entries: it is a marker, `cache.ports.Purge`, that says which are dead, and every gateway
holds all markers in memory. So it costs the same however much the tiers hold, reaches entries that are just on their
way into one, and takes effect at the moment at which a gateway hears of it. The entries themselves are removed later,
by the tiers' own sweeps. A marker is forgotten when everything that it could match has ended.

Markers only ever add up: of two with one selector the later one says it all. So any two sets of markers have a union,
and gateways that missed some, or a store that lost them, are brought together by exchanging what they hold.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from cache.ports import Entry, Key, Purge

MOST_PER_NAMESPACE: Final = 4_096
"""More markers than these become one that matches the whole namespace."""


class Selector(NamedTuple):
    """What a marker matches; None matches everything."""

    namespace: bytes | None
    model: str | None
    label: bytes | None
    digest: bytes | None


def selector_of(purge: Purge) -> Selector:
    """Return what a marker matches."""
    return Selector(purge.namespace, purge.model, purge.label, purge.digest)


_ALL: Final = Selector(None, None, None, None)


class Markers:
    """All markers that one gateway knows, indexed by namespace and model."""

    def __init__(self) -> None:
        self._index: dict[tuple[bytes | None, str | None], dict[tuple[bytes | None, bytes | None], int]] = {}
        """(namespace, model) -> (label, digest) -> before_ms."""
        self._counts: Counter[bytes | None] = Counter()
        self.changes = 0
        """Grows whenever a marker says something new."""

    def __len__(self) -> int:
        return self._counts.total()

    def __iter__(self) -> Iterator[Purge]:
        for (namespace, model), each in self._index.items():
            for (label, digest), before_ms in each.items():
                yield Purge(before_ms, namespace, model, label, digest)

    def add(self, purge: Purge) -> bool:
        """Take a marker in; False when it says nothing new."""
        namespace, model, label, digest = selector_of(purge)
        if self._all_of(namespace) >= purge.before_ms:
            return False
        each = self._index.setdefault((namespace, model), {})
        if each.get((label, digest), -1) >= purge.before_ms:
            return False
        if (label, digest) not in each:
            self._counts[namespace] += 1
        self.changes += 1
        each[label, digest] = purge.before_ms
        if (model, label, digest) == (None, None, None):
            self._drop_covered(namespace, purge.before_ms)
        if self._counts[namespace] > MOST_PER_NAMESPACE:
            self._fold(namespace)
        return True

    def missing_from(self, others: Iterable[Purge]) -> list[Purge]:
        """Return the markers here that say more than those others do."""
        known: dict[Selector, int] = {}
        for other in others:
            name = selector_of(other)
            known[name] = max(other.before_ms, known.get(name, -1))
        return [
            purge
            for purge in self
            if purge.before_ms
            > max(
                known.get(name, -1) for name in (selector_of(purge), _ALL._replace(namespace=purge.namespace))
            )
        ]

    def dead(self, key: Key, entry: Entry) -> bool:
        """Return whether a marker matches an entry that was created before it."""
        index = self._index
        # Nearly always there is none.
        if not index:
            return False
        namespace, model, created_ms = key.namespace, entry.model, entry.created_ms
        for place in ((namespace, model), (namespace, None), (None, model), (None, None)):
            each = index.get(place)
            if each is not None:
                for label in (None, *entry.labels):
                    for digest in (None, key.digest):
                        if each.get((label, digest), -1) > created_ms:
                            return True
        return False

    def forget(self, before_ms: int) -> int:
        """Drop markers that matter only to entries created before this time; return how many there were.

        `before_ms` is now less the longest time to live of any tier.
        """
        count = len(self)
        self._index = {
            place: kept
            for place, each in self._index.items()
            if (kept := {name: at_ms for name, at_ms in each.items() if at_ms > before_ms})
        }
        self._count()
        return count - len(self)

    def _fold(self, namespace: bytes | None) -> None:
        """Put one marker for all in place of a namespace's many: more is dead than must be, and nothing is less."""
        folded = [place for place in self._index if place[0] == namespace]
        before_ms = max(at_ms for place in folded for at_ms in self._index[place].values())
        for place in folded:
            del self._index[place]
        self._index[namespace, None] = {(None, None): before_ms}
        self._count()

    def _all_of(self, namespace: bytes | None) -> int:
        """Return before when everything of a namespace is dead; -1 where nothing says so."""
        return max(self._index.get((each, None), {}).get((None, None), -1) for each in {namespace, None})

    def _drop_covered(self, namespace: bytes | None, before_ms: int) -> None:
        """Drop markers that say less than the one for all of a namespace, or for all of them."""
        for place in [place for place in self._index if namespace is None or place[0] == namespace]:
            wide = (namespace, None) == place
            each = self._index[place]
            for name in [name for name, at_ms in each.items() if at_ms <= before_ms]:
                if not (wide and name == (None, None)):
                    del each[name]
                    self._counts[place[0]] -= 1
            if not each:
                del self._index[place]

    def _count(self) -> None:
        self._counts.clear()
        for (namespace, _), each in self._index.items():
            self._counts[namespace] += len(each)
