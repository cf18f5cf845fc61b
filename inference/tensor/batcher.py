"""Which requests run next: the last place where a level counts.

Requests wait in buckets of what can share a run. The policy chooses the level of a run (scheduler/policies/
level_modes.py); its oldest request decides on the bucket, what else fits follows: first of that level, oldest first,
then of the others, the most urgent first. A level pays for the rows that it gets. What has waited longer than the
policy's `ageing_s` gets one of `ageing_every` runs, so that strict levels starve nobody.
"""

from collections.abc import Collection, Hashable
from typing import Final

from inference.repository.definition import DynamicBatching
from inference.tensor.batching import ALONE, Item
from inference.tensor.bucket import Bucket
from inference.tensor.gathering import Gathering
from scheduler.policies.level_modes import levels_for
from scheduler.policies.policy import DEFAULT_POLICY, Policy
from scheduler.states import Level

LEVELS: Final = sorted(Level)
"""The most urgent first."""


class Batcher:
    """Requests that wait for a run. Owned by the thread that steps; whoever fills it bounds it."""

    def __init__(self, batching: DynamicBatching | None = None, policy: Policy = DEFAULT_POLICY) -> None:
        batching = batching or DynamicBatching()
        self._gathering = Gathering(batching)
        self.delays = batching.longest_delay_s > 0
        """Whether anything ever waits for more."""
        self._in_order = batching.preserve_ordering
        self._policy = policy
        self._levels = levels_for(policy)
        self._buckets: dict[Hashable, Bucket] = {}
        """Only those in which something waits."""
        self._spare: Bucket | None = None
        """The last one that became empty: most models have one bucket, which comes and goes."""
        self._present: list[Level] = []
        """Levels of which something waits."""
        self._compete = False
        """Whether there was more than one since nothing waited: only then is there anything to count."""
        self._waiting = [0] * (max(Level) + 1)
        """Requests by level."""
        self._count = 0
        self._number = 0
        self._since_aged = 0
        """Runs since the last one for the sake of age."""

    def __len__(self) -> int:
        return self._count

    def follow(self, policy: Policy) -> None:
        """Choose by another policy from now on; what waits stays."""
        self._policy = policy
        self._levels = levels_for(policy, self._levels)

    def add(self, item: Item) -> None:
        """Let a request wait behind those of its level."""
        self._number += 1
        item.number = self._number
        bucket = self._buckets.get(item.bucket)
        if bucket is None:
            bucket = self._buckets[item.bucket] = self._spare or Bucket()
            self._spare = None
        level = item.level
        if not self._waiting[level]:
            self._arrive(level)
        bucket.lines[level].append(item)
        bucket.rows += item.layout.rows
        self._waiting[level] += 1
        self._count += 1

    def remove(self, item: Item) -> None:
        """Forget a request. Does nothing when it does not wait here."""
        if not item.number:
            return
        bucket = self._buckets[item.bucket]
        bucket.lines[item.level].remove(item)
        item.number = 0
        bucket.rows -= item.layout.rows
        self._left(item.bucket, bucket, item.level, 1)

    def clear(self) -> None:
        """Forget everything."""
        self._buckets.clear()
        self._present.clear()
        self._waiting = [0] * len(self._waiting)
        self._count = 0

    def due_s(self, most_rows: int) -> float:
        """Return the monotonic time before which `take` returns nothing unless more is added; 0 for at once."""
        if not self.delays or not self._count:
            return 0.0
        return min(self._due_s(key, bucket, most_rows) for key, bucket in self._buckets.items())

    def take(self, most_rows: int, now_s: float, *, hurry: bool = False) -> list[Item]:
        """Remove and return the requests of the next run, in the order of their rows.

        At most `most_rows` rows, or a single request; with 0 always a single one. Nothing while it is worth waiting
        for more, unless in a `hurry`.
        """
        buckets = self._buckets
        levels: Collection[Level] = self._present
        if self.delays and not hurry:
            due = {
                key: bucket for key, bucket in buckets.items() if self._due_s(key, bucket, most_rows) <= now_s
            }
            # Where order matters, what is older goes before what is due.
            buckets = buckets if due and self._in_order else due
            levels = [level for level in levels if any(bucket.lines[level] for bucket in buckets.values())]
        if not levels:
            return []
        level = self._next_level(levels, buckets, now_s)
        key, bucket = self._bucket_of_oldest(level, buckets)
        most = 0 if key == ALONE else self._gathering.size(bucket.rows, most_rows) if most_rows else 0
        batch: list[Item] = []
        rows = self._draw(key, bucket, level, batch, 0, most)
        if rows < most and key in self._buckets:
            for other in LEVELS:
                rows = self._draw(key, bucket, other, batch, rows, most)
        return batch

    def ran(self, requests: int, now_s: float) -> None:
        """Take note of the end of a run of so many requests, which may all come again soon."""
        if self.delays:
            self._gathering.ran(requests, self._count, now_s)

    def _arrive(self, level: Level) -> None:
        """Note that a level that had nothing waiting has something now."""
        present = self._present
        if not present:
            self._compete = False
        else:
            if not self._compete:
                self._compete = True
                self._levels.arrive(present[0])
            self._levels.arrive(level, present)
        present.append(level)

    def _next_level(self, levels: Collection[Level], buckets: dict[Hashable, Bucket], now_s: float) -> Level:
        self._since_aged += 1
        if len(levels) == 1:
            return next(iter(levels))
        policy = self._policy
        if policy.ageing_s and self._since_aged >= policy.ageing_every:
            heads = [head for bucket in buckets.values() for head in bucket.heads()]
            oldest = min(heads, key=lambda item: item.came_s)
            if now_s - oldest.came_s > policy.ageing_s:
                self._since_aged = 0
                return oldest.level
        level = self._levels.pick(levels)
        assert level is not None, "something waits"
        return level

    @staticmethod
    def _bucket_of_oldest(level: Level, buckets: dict[Hashable, Bucket]) -> tuple[Hashable, Bucket]:
        if len(buckets) == 1:
            return next(iter(buckets.items()))
        having = (pair for pair in buckets.items() if pair[1].lines[level])
        return min(having, key=lambda pair: pair[1].lines[level][0].number)

    def _draw(
        self, key: Hashable, bucket: Bucket, level: Level, batch: list[Item], rows: int, most: int
    ) -> int:
        """Move requests of one level into a batch as long as the next one fits; return the rows that it has then."""
        line = bucket.lines[level]
        if not line or (batch and rows >= most):
            return rows
        before = rows
        count = len(batch)
        last = self._last_in_order(level, bucket) if self._in_order else None
        while line:
            item = line[0]
            after = rows + item.layout.rows
            if batch and (after > most or not most):
                break
            if last is not None and item.number > last:
                break
            item.number = 0
            batch.append(line.popleft())
            rows = after
            if rows >= most:
                break
        if taken := len(batch) - count:
            bucket.rows -= rows - before
            if self._compete:
                self._levels.charge(level, max(rows - before, taken), taken)
            self._left(key, bucket, level, taken)
        return rows

    def _last_in_order(self, level: Level, bucket: Bucket) -> int | None:
        """Return the number of the oldest request of a level in another bucket: what is younger must not overtake."""
        others = (each.lines[level] for each in self._buckets.values() if each is not bucket)
        return min((line[0].number for line in others if line), default=None)

    def _left(self, key: Hashable, bucket: Bucket, level: Level, count: int) -> None:
        self._count -= count
        self._waiting[level] -= count
        if not self._waiting[level]:
            self._present.remove(level)
        if not any(bucket.lines):
            self._spare = self._buckets.pop(key)

    def _due_s(self, key: Hashable, bucket: Bucket, most_rows: int) -> float:
        if key == ALONE or not most_rows:
            return 0.0
        oldest_s = min(item.came_s for item in bucket.heads())
        return self._gathering.due_s(bucket.rows, most_rows, oldest_s, self._count)
