"""Traces of keys, and an LRU cache so simple that it must be right."""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import accumulate
from random import Random

from cache.advice import Access, Sample, SampledTrace
from cache.ports import Key

OURS = b"o" * 16


def key(number: int, namespace: bytes = OURS) -> Key:
    return Key(namespace, blake2b(number.to_bytes(8, "big"), digest_size=32).digest())


def uses(numbers: Iterable[int], sizes: dict[int, int] | None = None, every_ms: int = 1) -> list[Access]:
    return [
        Access(key(number), (sizes or {}).get(number, 1_000), place * every_ms, 10.0)
        for place, number in enumerate(numbers)
    ]


def whole(accesses: Sequence[Access]) -> Sample:
    """A sample of everything."""
    return Sample(tuple(accesses), 1.0, len(accesses))


def sampled(accesses: Sequence[Access], rate: float) -> Sample:
    trace = SampledTrace(rate, most=len(accesses))
    for access in accesses:
        trace.note(access.key, access.size, access.at_ms, access.cost_ms)
    return trace.sample()


def zipf(keys: int, count: int, seed: int) -> list[int]:
    chance = Random(seed)
    weights = list(accumulate(1 / rank for rank in range(1, keys + 1)))
    return chance.choices(range(keys), cum_weights=weights, k=count)


def brute_lru_hits(accesses: Sequence[Access], capacity_bytes: int) -> int:
    """Count the hits of an LRU cache by keeping a list of what it holds."""
    held: list[tuple[Key, int]] = []
    hits = 0
    for access in accesses:
        found = next((item for item in held if item[0] == access.key), None)
        if found is not None:
            hits += 1
            held.remove(found)
        held.append((access.key, access.size))
        while sum(size for _, size in held) > capacity_bytes:
            held.pop(0)
    return hits
