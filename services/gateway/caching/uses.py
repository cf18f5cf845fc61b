"""The tiers, with what is asked of them noted: for advice, and by model.

Noted is what is known at once: a hit when it is found, and a miss when its answer is kept, for then it is known how
large the entry is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cache.advice import SampledTrace
from cache.ports import Entry, Key
from cache.tiers import Below, Found, FoundMany, FrontTier, LayeredCache
from cache.tiers.layers import Dead

MOST_MODELS: Final = 1000
"""Models that are told apart; what others do is counted together, under the empty name."""


@dataclass(slots=True)
class ModelUse:
    """What the cached answers of one model brought."""

    hits: int = 0
    fills: int = 0
    filled_bytes: int = 0
    saved_ms: float = 0.0
    """Time of computation that the hits saved."""


class NotedCache(LayeredCache):
    """All tiers as one; see LayeredCache."""

    def __init__(
        self,
        front: FrontTier,
        below: Sequence[Below],
        *,
        dead: Dead,
        monotonic: Callable[[], float],
        trace: SampledTrace | None,
    ) -> None:
        super().__init__(front, below, dead=dead, monotonic=monotonic)
        self.trace: Final = trace
        self.models: Final[dict[str, ModelUse]] = {}
        """By name, without versions."""

    def find(self, key: Key, now_ms: int) -> Entry | None:
        """Look into the memory alone; see LayeredCache."""
        entry = super().find(key, now_ms)
        if entry is not None:
            # As `_hit`, without a call: this is the way of a hit in the memory.
            use = self.models.get(entry.model) or self._use(entry.model)
            use.hits += 1
            use.saved_ms += entry.cost_ms
            if self.trace is not None:
                self.trace.used(key, entry, now_ms)
        return entry

    async def get_below(self, key: Key, now_ms: int) -> Found:
        """Look into every tier but the memory; see LayeredCache."""
        found = await super().get_below(key, now_ms)
        if found.entry is not None:
            self._hit(key, found.entry, now_ms)
        return found

    async def look_again(self, key: Key, now_ms: int) -> Found:
        """Look into every tier once more; see LayeredCache."""
        found = await super().look_again(key, now_ms)
        if found.entry is not None:
            self._hit(key, found.entry, now_ms)
        return found

    async def look_all_below(self, keys: Sequence[Key], now_ms: int) -> FoundMany:
        """Look for many into every tier but the memory; see LayeredCache."""
        looked = await super().look_all_below(keys, now_ms)
        for key, entry in looked.found.items():
            self._hit(key, entry, now_ms)
        return looked

    async def put_through(self, key: Key, entry: Entry, now_ms: int) -> bool:
        """Keep an answer in every tier; see LayeredCache."""
        self._filled(key, entry, now_ms)
        return await super().put_through(key, entry, now_ms)

    def put_near(self, key: Key, entry: Entry, now_ms: int) -> None:
        """Keep an answer in the memory alone; see LayeredCache."""
        self._filled(key, entry, now_ms)
        super().put_near(key, entry, now_ms)

    def alive(self, key: Key, entry: Entry) -> bool:
        """Tell whether an entry that a tier holds may be given: no purge reached it."""
        return not self.dead(key, entry)

    def _hit(self, key: Key, entry: Entry, now_ms: int) -> None:
        use = self._use(entry.model)
        use.hits += 1
        use.saved_ms += entry.cost_ms
        if self.trace is not None:
            self.trace.used(key, entry, now_ms)

    def _filled(self, key: Key, entry: Entry, now_ms: int) -> None:
        use = self._use(entry.model)
        use.fills += 1
        use.filled_bytes += entry.size
        if self.trace is not None:
            self.trace.used(key, entry, now_ms)

    def _use(self, model: str) -> ModelUse:
        use = self.models.get(model)
        if use is None:
            if len(self.models) >= MOST_MODELS:
                model = ""
            use = self.models.setdefault(model, ModelUse())
        return use
