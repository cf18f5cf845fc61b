"""The run that goes on now: what others may ask and do while the engine's own thread is inside it."""

from collections.abc import Collection, Sequence
from typing import Any

from inference.engine import Array
from inference.tensor.batching import Item, Names
from inference.tensor.model import Model


class CurrentRun:
    """Runs a model. `contains` and `interrupt` are for any thread, the rest for the one that steps."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._running: tuple[Sequence[Item], Any] | None = None
        self._interrupted: set[str] = set()

    def contains(self, key: str) -> bool:
        """Tell whether a request runs now."""
        running = self._running
        return running is not None and any(item.key == key for item in running[0])

    def interrupt(self, key: str) -> None:
        """End the run of a request before its next operator. Does nothing when it does not run now."""
        running = self._running
        if running is not None and any(item.key == key for item in running[0]):
            self._interrupted.add(key)
            running[1].terminate = True

    def run(self, names: Names, feeds: dict[str, Array], batch: Sequence[Item]) -> list[Array]:
        """Run the model once for a batch and return the outputs named. Raises whatever the provider raises."""
        options = self._model.options()
        self._running = (batch, options)
        try:
            return self._model.run(names, feeds, options)
        finally:
            self._running = None

    def take_interrupted(self) -> Collection[str]:
        """Return which requests nobody wants any more, and forget it."""
        if not self._interrupted:
            return ()
        gone, self._interrupted = self._interrupted, set()
        return gone
