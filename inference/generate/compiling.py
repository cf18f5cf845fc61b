"""Requests with constrained answers whose grammars are being compiled: they wait without holding anybody up."""

from concurrent.futures import wait

from inference.generate.row import Generation


class Compiling:
    """The requests that wait for their constraints, in order of their arrival."""

    def __init__(self) -> None:
        self._waiting: list[Generation] = []

    def __len__(self) -> int:
        return sum(len(generation.rows) for generation in self._waiting)

    def add(self, generation: Generation) -> None:
        """Let a request wait until all its grammars are compiled."""
        self._waiting.append(generation)

    def remove(self, generation: Generation) -> None:
        """Forget a request. Does nothing when it does not wait here; what it had compiled is kept for others."""
        if generation in self._waiting:
            self._waiting.remove(generation)

    def take(self, wait_s: float) -> list[Generation]:
        """Remove and return the requests that need to wait no more, whether their grammars are of use or not.

        When there is none yet, waits for the first of them, `wait_s` seconds at most.
        """
        if not self._waiting:
            return []
        if wait_s:
            wait(self._waiting[0].compiling, timeout=wait_s)
        ready = [generation for generation in self._waiting if generation.compiled]
        for generation in ready:
            self._waiting.remove(generation)
        return ready
