"""Which lane a batch of a tenant's tasks takes, by what this gateway has sent lately.

Nobody tells a gateway how long a lane is, so it goes by its own sends: a count per lane that halves every second.
Other gateways do the same, and over a second or two their choices balance out.
"""

from typing import Final

from scheduler.lanes import Lane, shorter_lane, tenant_lanes
from scheduler.ports.clock import Clock
from scheduler.states import Level

_HALF_LIFE_S: Final = 1.0


class LaneChooser:
    """Chooses by weight sent lately. Holds two numbers for each lane that was ever used."""

    def __init__(self, lanes: int, clock: Clock) -> None:
        self._lanes = lanes
        self._clock = clock
        self._sent: dict[Lane, tuple[float, float]] = {}

    def choose(self, pool: str, level: Level, tenant: str, tasks: int) -> Lane:
        """Return the lane for that many tasks, and count them there."""
        now = self._clock.monotonic()
        own = [Lane(pool, level, index) for index in tenant_lanes(tenant, self._lanes)]
        # Whole numbers: what is long ago counts as nothing, and the first lane wins again.
        lately = {lane: int(self._weight(lane, now)) for lane in own}
        lane = shorter_lane(pool, level, tenant, self._lanes, lately)
        self._sent[lane] = (self._weight(lane, now) + tasks, now)
        return lane

    def _weight(self, lane: Lane, now: float) -> float:
        weight, at = self._sent.get(lane, (0.0, now))
        return weight * float(0.5 ** ((now - at) / _HALF_LIFE_S))
