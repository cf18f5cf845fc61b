"""Reads the names of the counters of a queue (scripts/prelude.lua has the layout)."""

from functools import lru_cache
from typing import Final, NamedTuple

KINDS: Final = {"queued": 0, "running": 1, "waiting": 2}
"""Places of the numbers in a count."""


class Counter(NamedTuple):
    """What one counter counts."""

    pool: str
    level: int
    tenant_index: str
    """Name of the tenant's listing index; empty, as the model is, for what was recorded before there were lines."""
    model: str
    kind: int
    """A value of KINDS."""


@lru_cache(maxsize=100_000)
def read_counter(field: bytes) -> Counter:
    """Read `<pool>.<level>.<index>.<model>.<kind>`, of which only the model may have dots, or `<pool>.<level>.<kind>`.

    What is counted is counted over and over, in every partition and several times a second: names are read once.
    """
    queue, _, kind = field.decode().rpartition(".")
    pool, level, *line = queue.split(".", 3)
    index, model = line or ("", "")
    return Counter(pool, int(level), index, model, KINDS[kind])
