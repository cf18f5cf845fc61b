"""Looks idempotency keys up in memory."""

from collections.abc import Sequence

from scheduler.adapters.memory.state import State


class MemoryKeys:
    """KeyStore in memory."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def known(self, tenant: str, keys: Sequence[tuple[int, str]]) -> list[bool]:
        """Look keys up; see KeyStore."""
        now_ms = self._state.clock.now_ms()
        kept = self._state.keys
        return [(found := kept.get((tenant, key))) is not None and found[2] > now_ms for _, key in keys]
