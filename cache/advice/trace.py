"""Keeps which keys were asked, of a fixed part of all keys: enough to foretell, and a bounded amount of memory.

A key is in the sample or not, by its digest; so all uses of a sampled key are seen, and the distances between them,
divided by the rate, are those of the whole. (SHARDS: Waldspurger, Park, Garthwaite and Ahmad, "Efficient MRC
Construction with SHARDS", FAST 2015.) Digests are keyed, and so evenly distributed and not for anybody to choose. All
gateways sample the same keys, and their samples can be put together.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from cache.ports import Entry, Key

RATE: Final = 0.01
MOST: Final = 65_536
"""Uses that are kept, the latest: about 16 MB."""

_SPACE: Final = 1 << 32


class Access(NamedTuple):
    """One use of a sampled key, whether it was a hit or not."""

    key: Key
    size: int
    """Bytes of its entry. Should be the same for all uses of a key."""
    at_ms: int
    cost_ms: float
    """What the answer takes to compute."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What was sampled, and of how much."""

    accesses: tuple[Access, ...]
    """In the order of their times."""
    rate: float
    """The part of all keys that is in the sample."""
    total: int
    """How many uses of all keys there were in the same time."""

    @classmethod
    def merged(cls, samples: Iterable["Sample"]) -> "Sample":
        """Put the samples of several gateways together. Raises ValueError when their rates differ."""
        each = list(samples)
        if len({sample.rate for sample in each}) != 1:
            raise ValueError("samples of different rates cannot be put together")
        accesses = sorted(
            (access for sample in each for access in sample.accesses), key=lambda use: use.at_ms
        )
        return cls(tuple(accesses), each[0].rate, sum(sample.total for sample in each))

    def latest(self, most: int) -> "Sample":
        """Return the latest part with at most so many uses; its total is estimated."""
        if len(self.accesses) <= most:
            return self
        share = most / len(self.accesses)
        return Sample(self.accesses[len(self.accesses) - most :], self.rate, round(self.total * share))

    def counted(self, beyond_bytes: int, least_bytes: int) -> "Sample":
        """Return it with sizes as a tier counts them: so much more for each entry, and at least so much."""
        accesses = tuple(
            access._replace(size=max(least_bytes, access.size + beyond_bytes)) for access in self.accesses
        )
        return Sample(accesses, self.rate, self.total)

    def of(self, namespace: bytes) -> "Sample":
        """Return the part of one namespace; its total is estimated."""
        own = tuple(access for access in self.accesses if access.key.namespace == namespace)
        return Sample(own, self.rate, round(self.total * len(own) / max(1, len(self.accesses))))


class Part(NamedTuple):
    """What a trace took in since some time before."""

    accesses: tuple[Access, ...]
    seen: int
    """How many uses of all keys there were."""
    up_to: int
    """What `SampledTrace.shared` takes, once the part has reached the others."""


class SampledTrace:
    """The latest uses of the sampled keys."""

    def __init__(self, rate: float = RATE, most: int = MOST) -> None:
        """`rate`: the part of all keys to sample, above 0 and up to 1. Raises ValueError."""
        if not 0 < rate <= 1:
            raise ValueError(f"rate is {rate}; it must be above 0 and at most 1")
        self._threshold = round(rate * _SPACE)
        self._accesses: deque[tuple[int, Access]] = deque(maxlen=most)
        self._seen = 0
        self._shared = 0

    @property
    def rate(self) -> float:
        """The part of all keys that is sampled, exactly."""
        return self._threshold / _SPACE

    def note(self, key: Key, size: int, at_ms: int, cost_ms: float) -> None:
        """Take in a use, once it is known how large the entry is."""
        self._seen += 1
        if self._samples(key):
            self._accesses.append((self._seen, Access(key, size, at_ms, cost_ms)))

    def used(self, key: Key, entry: Entry, at_ms: int) -> None:
        """Take in the use of an entry; as `note`, but of most keys its size need not be known."""
        self._seen += 1
        if self._samples(key):
            self._accesses.append((self._seen, Access(key, entry.size, at_ms, entry.cost_ms)))

    def sample(self) -> Sample:
        """Return what is kept."""
        accesses = tuple(access for _, access in self._accesses)
        before = self._accesses[0][0] - 1 if len(self._accesses) == self._accesses.maxlen else 0
        return Sample(accesses, self.rate, self._seen - before)

    def part(self, most: int) -> Part:
        """Return what was noted since the part that was shared last: its beginning, with at most so many uses."""
        accesses: list[Access] = []
        up_to = self._seen
        for number, access in reversed(self._accesses):
            if number <= self._shared:
                break
            accesses.append(access)
        accesses.reverse()
        if len(accesses) > most:
            after = len(self._accesses) - len(accesses) + most
            up_to = self._accesses[after][0] - 1
            del accesses[most:]
        return Part(tuple(accesses), up_to - self._shared, up_to)

    def shared(self, up_to: int) -> None:
        """Take in that everything up to there has reached the others."""
        self._shared = max(self._shared, up_to)

    def _samples(self, key: Key) -> bool:
        return int.from_bytes(key.digest[:4], "big") < self._threshold
