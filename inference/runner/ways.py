"""Two ways lead to one engine: what it tells goes back to the one that a request came by."""

from collections.abc import Sequence

from inference.engine import Update
from inference.runner.direct.call_table import CallTable
from inference.runner.workload import Workload


class BothWays:
    """Divides what the engine's thread tells between leased tasks and direct calls."""

    def __init__(self, workload: Workload, calls: CallTable) -> None:
        self._workload = workload
        self._calls = calls

    def updated(self, updates: Sequence[Update]) -> None:
        """Take what the engine brought, in order."""
        if self._calls:
            updates = self._calls.updated(updates)
        if updates:
            self._workload.updated(updates)

    def returned(self, keys: Sequence[str]) -> None:
        """Take back what the engine never saw."""
        self._workload.returned(self._calls.returned(keys))
