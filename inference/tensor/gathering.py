"""Whether a run that is not full waits for more requests. Only while others can be expected: nobody waits for nobody.

How many to expect is what was here together at the last run: those that it answered, who may come again, and those
that it left. When as many are back there is nothing to wait for; when the last run is longer ago than the delay, nobody
is on the way.
"""

from inference.repository.definition import DynamicBatching


class Gathering:
    """Decides when runs are due."""

    def __init__(self, batching: DynamicBatching) -> None:
        self._delay_s = batching.longest_delay_s
        self._preferred = batching.preferred_sizes
        self._expected = 0
        self._ended_s = float("-inf")

    def size(self, rows: int, most_rows: int) -> int:
        """Return the most rows of a run when `rows` wait that can share it: the largest preferred size that they
        fill, or everything.
        """
        if not self._preferred:
            return most_rows
        most = min(rows, most_rows)
        return max((size for size in self._preferred if size <= most), default=most_rows)

    def due_s(self, rows: int, most_rows: int, oldest_s: float, waiting: int) -> float:
        """Return the monotonic time at which `rows` that can share a run do so even if no more come; 0 for at once.

        `oldest_s` is when the first of them came, `waiting` counts all requests that wait.
        """
        full = min(self._preferred, default=most_rows)
        if rows >= min(full, most_rows) or waiting >= self._expected:
            return 0.0
        if oldest_s - self._ended_s > self._delay_s:
            return 0.0
        return oldest_s + self._delay_s

    def ran(self, requests: int, left: int, now_s: float) -> None:
        """Take note of a run's end: of how many requests it was, and how many wait still."""
        self._expected = requests + left
        self._ended_s = now_s
