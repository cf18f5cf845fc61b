"""What tasks are expected to cost, as the schedulers tell in their views; for limits on the work that waits,
and for what is worth looking for in the result cache.

A gateway learns nothing itself: it sees no execution. Limits are by tenant, so that levels do not matter here: what is
told of several levels or pools is averaged. Where nobody tells of a tenant, what holds for the model is expected,
whoever submits; and a millisecond where nobody knows anything.
"""

from collections.abc import Iterable
from typing import Final

from scheduler.policies.expected import UNKNOWN
from scheduler.ports.membership import VIEW_ROLE, Membership
from services.gateway.fleet_view import ALL, FleetView, PoolKnown

ANY_TENANT: Final = ""


class ExpectedWork:
    """Means of expected work by model and tenant. Bounded by what schedulers tell: 256 contexts a pool."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._means_ms: dict[tuple[str, str], float] = {}

    def __call__(self, model: str, tenant: str) -> float:
        """Return the expected work of a task, in milliseconds of one runner."""
        known = self.known(model, tenant)
        return UNKNOWN.work_ms if known is None else known

    def known(self, model: str, tenant: str) -> float | None:
        """Return the same; None where nobody knows anything."""
        known = self._means_ms.get((model, tenant))
        return self._means_ms.get((model, ANY_TENANT)) if known is None else known

    async def refresh(self) -> None:
        """Read the views. Raises RecordsUnavailable."""
        cards = await self._membership.members(VIEW_ROLE)
        self._means_ms = _means(FleetView.of(card for _, card in cards).pools.values())


def _means(pools: Iterable[PoolKnown]) -> dict[tuple[str, str], float]:
    """Return means by model and tenant: of what is told for all levels, else of what is told for some."""
    found: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    for pool in pools:
        for (model, tenant, level), cost in pool.costs.items():
            for_all, for_some = found.setdefault((model, tenant), ([], []))
            (for_all if level == ALL else for_some).append(cost.work_ms)
    return {
        key: sum(chosen) / len(chosen)
        for key, (for_all, for_some) in found.items()
        if (chosen := for_all or for_some)
    }
