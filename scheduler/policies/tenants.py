"""Fair sharing between the tenants of one level and model.

The virtual token counter (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024), counting expected work
in place of tokens: every tenant has a counter that grows by work / weight with each start, and whose is lowest is
next. A tenant that had nothing waiting is lifted to the lowest counter of those who wait, or to that of the last one
who did, less a few starts at most that it did not use of its share lately: being away for long earns nothing more, and
a flood is behind everybody who asks for less.
"""

from heapq import heapify, heappop, heappush, heapreplace
from math import inf, nextafter
from typing import Final

from scheduler.policies.levels import OWED
from scheduler.policies.policy import Policy
from scheduler.policies.usual_start import UsualStart

REMEMBERED: Final = 1_000
"""Most tenants with nothing waiting whose counters are kept. Of more, those that are least ahead are forgotten."""
LEAST_WEIGHT: Final = 1e-6
"""Weights below count as this: a single start must not put a counter beyond what can be counted."""

Place = tuple[float, int, str]
"""Of a tenant in line: its counter, a number that grows with each place given, and its name."""


class TenantShares:
    """Chooses whose task is next. Work is in milliseconds of one runner's time."""

    __slots__ = ("_counters", "_line", "_now", "_places", "_turn", "_usual", "_weights")

    def __init__(self, policy: Policy) -> None:
        self._weights = policy.tenant_weights
        self._counters: dict[str, float] = {}
        self._places: dict[str, Place] = {}
        """Of those who have something waiting."""
        self._line: list[Place] = []
        """A heap of places. Those that are not in `_places` do not count any more."""
        self._now = 0.0
        """The lowest counter of those who wait, when it was last asked for; then that of the last one who did."""
        self._turn = 0
        self._usual = UsualStart()

    def arrive(self, tenant: str) -> None:
        """Note that a tenant who had nothing waiting has something now."""
        now = self._present()
        # Who is not known has no credit: else ever new names would shut out everybody.
        self._counters[tenant] = max(self._counters.get(tenant, now), now - self._credit(tenant))
        self._put_in_line(tenant)

    def leave(self, tenant: str) -> None:
        """Note that a tenant who waited has nothing waiting any more."""
        del self._places[tenant]
        if not self._places:
            self._line.clear()
            self._now = max(self._now, self._counters[tenant])
        self._keep(tenant, self._counters[tenant])

    def next(self) -> str:
        """Return whose turn it is; somebody must wait. Of equals, the one who has waited longer for a turn."""
        line, places = self._line, self._places
        while places.get(line[0][2]) is not line[0]:
            heappop(line)
        return line[0][2]

    def charge(self, tenant: str, work_ms: float, starts: int = 1) -> None:
        """Count `starts` starts in a row, of a tenant that waits, that are expected to take `work_ms` together."""
        before = self._counters[tenant]
        after = before + work_ms / self._weight(tenant)
        # Beside a very large counter, little work would be nothing at all, and its tenant always the next.
        self._counters[tenant] = after if after > before else nextafter(before, inf)
        self._usual.note(work_ms / starts, starts)
        self._put_in_line(tenant)

    def correct(self, tenant: str, work_ms: float) -> None:
        """Add what a start did take beyond what it was charged; below 0 when it was charged too much."""
        now = self._present()
        counter = self._counters.get(tenant, now)
        weight = self._weight(tenant)
        least = min(counter, now - self._credit(tenant))
        counter = max(counter + work_ms / weight, least)
        if tenant in self._places:
            self._counters[tenant] = counter
            self._put_in_line(tenant)
        else:
            self._keep(tenant, counter)

    def follow(self, policy: Policy) -> None:
        """Share by another policy's weights from now on: what a tenant is ahead, in work, stays as it is."""
        now = self._present()
        before = {tenant: self._weight(tenant) for tenant in self._counters}
        self._weights = policy.tenant_weights
        for tenant, counter in self._counters.items():
            self._counters[tenant] = now + (counter - now) * before[tenant] / self._weight(tenant)
        self._places = {
            tenant: (self._counters[tenant], turn, tenant) for tenant, (_, turn, _) in self._places.items()
        }
        self._tidy()

    def _weight(self, tenant: str) -> float:
        return max(self._weights.get(tenant, 1.0), LEAST_WEIGHT) if self._weights else 1.0

    def _present(self) -> float:
        if self._places:
            # Never back: what one tenant has left of its credit is not the present of those who come.
            self._now = max(self._now, self._counters[self.next()])
        return self._now

    def _credit(self, tenant: str) -> float:
        """Return how far before the present a tenant may be that did not use its share lately."""
        return OWED * self._usual.cost / self._weight(tenant)

    def _put_in_line(self, tenant: str) -> None:
        """Give a tenant its place, by its counter, behind those who have the same."""
        self._turn += 1
        line, place = self._line, (self._counters[tenant], self._turn, tenant)
        before = self._places.get(tenant)
        self._places[tenant] = place
        if before is not None and line[0] is before:
            heapreplace(line, place)
            return
        heappush(line, place)
        if len(line) > 2 * len(self._places) + 64:
            self._tidy()

    def _tidy(self) -> None:
        self._line = list(self._places.values())
        heapify(self._line)

    def _keep(self, tenant: str, counter: float) -> None:
        """Remember the counter of a tenant with nothing waiting."""
        self._counters[tenant] = counter
        if len(self._counters) - len(self._places) > REMEMBERED:
            idle = sorted((self._counters[name], name) for name in self._counters.keys() - self._places)
            # Those who are least ahead gain least by being forgotten.
            for place, (known, name) in enumerate(idle):
                if place >= REMEMBERED // 2 and known > self._now:
                    break
                del self._counters[name]
