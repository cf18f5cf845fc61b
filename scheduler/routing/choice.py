"""What routing chooses from, and what each routing policy must offer. Plain data; no clock, no chance of its own."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol
from zlib import crc32


class Candidate(NamedTuple):
    """A runner that has free credit for a task."""

    id: str
    free: int
    """Credit that may be used up."""
    held: int
    """Tasks that it holds."""
    outstanding_ms: float
    """Expected work of what it holds, in milliseconds of its time at the speed that it has shown."""
    slots: int = 1
    """Tasks that it executes at the same time."""
    weight: int = 100
    zone: str = ""


class Errand(NamedTuple):
    """A task, as far as routing looks at it."""

    key: int
    """A hash of what shall meet the same runner again: `key_of`."""
    prefixes: tuple[int, ...] = ()
    """Chained hashes of the blocks that its prompt begins with, the shortest beginning first; empty for no prompt."""
    work_ms: float = 1.0


def key_of(tenant: str, kind: str) -> int:
    """Return the key of errands of a tenant and kind: the same for tasks and for calls, so that they meet."""
    return crc32(f"{tenant}\0{kind}".encode())


class Router(Protocol):
    """Chooses a runner for one task after the other. What it remembers is bounded."""

    def choose(self, candidates: Sequence[Candidate], errand: Errand) -> int:
        """Return the place of the chosen one. `candidates` is never empty and sorted by id."""
        ...
