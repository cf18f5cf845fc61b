"""Which models are wanted, in memory."""

from scheduler.ports.clock import Clock
from scheduler.ports.wanted_models import WantedModel


class MemoryWantedModels:
    """WantedModels in memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0
        self._wanted: dict[str, WantedModel] = {}

    async def want(self, model: str, *, loaded: bool) -> int:
        """Keep a word; see WantedModels."""
        self._last = max(self._last + 1, self._clock.now_ms())
        self._wanted[model] = WantedModel(self._last, model, loaded)
        return self._last

    async def forget(self, model: str, number: int) -> None:
        """Forget a word; see WantedModels."""
        if model in self._wanted and self._wanted[model].number == number:
            del self._wanted[model]

    async def wanted(self) -> list[WantedModel]:
        """Return the last words; see WantedModels."""
        return sorted(self._wanted.values())
