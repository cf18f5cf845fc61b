"""How many rows a run may have so that it does not last too long: what came in meanwhile waits for its end."""

AHEAD = 4
"""How many times the target's worth of requests is held: a slow model leaves the others where they can still be given
back."""


class Pace:
    """Learns from the length of runs. Until the first one a run may have `max_rows`."""

    def __init__(self, target_s: float, max_rows: int, capacity: int) -> None:
        self._target_s = target_s
        self._max_rows = max_rows
        self._capacity = capacity
        self._in_time = max(max_rows, capacity)
        """Rows for which the target is long enough, however few of them a run may have."""
        self.rows = max_rows
        """Most rows of the next run. A single request may have more."""

    @property
    def requests(self) -> int:
        """How many requests to hold at once."""
        return min(self._capacity, AHEAD * self._in_time) if self._target_s else self._capacity

    def ran(self, rows: int, seconds: float, *, full: bool = False) -> None:
        """Take note of a run; `full` when it had as many rows as it could have.

        Where every row costs the same the next full run meets the target; where a run has a cost of its own, as on a
        GPU, full runs grow until they do.
        """
        if not self._target_s or not rows or seconds <= 0:
            return
        if full or rows >= self.rows or seconds > self._target_s:
            self._in_time = max(1, int(rows * self._target_s / seconds))
            self.rows = min(self._max_rows, self._in_time)
