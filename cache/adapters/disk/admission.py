"""Which entries the index takes, and what goes from the database for them."""

from collections.abc import Sequence

from cache.adapters.disk.jobs import Packed, counted
from cache.adapters.disk.layout import Facts
from cache.ports import Key
from cache.tiers.counts import Counts
from cache.tiers.partition import Partitions


def admit(
    index: Partitions[int],
    counts: Counts,
    packed: Sequence[Packed],
    now_ms: int,
    removed: list[tuple[Key, int]],
) -> list[tuple[Key, Facts, bytes]]:
    """Take entries into the index and return those to be written; what must go for them is added to `removed`, with
    its number of pieces.
    """
    writes: dict[Key, tuple[Facts, bytes]] = {}
    for key, facts, stored in packed:
        held = index.look(key)
        gone = None
        if facts is not None:
            gone = index.put(key, facts.pieces, counted(facts), facts.until_ms)
        if gone is None or facts is None:
            refuse(index, counts, key, removed)
            if held is not None:
                removed.append((key, held.value))
            continue
        counts.fills += 1
        if held is not None and held.value > facts.pieces:
            removed.append((key, held.value))
        writes[key] = (facts, stored)
        for victim, slot in gone:
            if slot.until_ms <= now_ms:
                counts.expired += 1
            else:
                counts.evictions += 1
            writes.pop(victim, None)
            removed.append((victim, slot.value))
    return [(key, facts, stored) for key, (facts, stored) in writes.items()]


def refuse(index: Partitions[int], counts: Counts, key: Key, removed: list[tuple[Key, int]]) -> None:
    """Note that an entry is not taken; an older one of its key goes."""
    counts.refusals += 1
    slot = index.remove(key)
    if slot is not None:
        removed.append((key, slot.value))
