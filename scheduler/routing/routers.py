"""One router for each model, made of the policy that stands."""

from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import Final

from scheduler.policies.policy import DEFAULT_POLICY, Policy, Routing
from scheduler.routing.choice import Router
from scheduler.routing.consistent_hash import ConsistentHash
from scheduler.routing.least_outstanding import LeastOutstanding
from scheduler.routing.power_of_two import PowerOfTwo
from scheduler.routing.prefix_affinity import PrefixAffinity
from scheduler.routing.round_robin import RoundRobin
from scheduler.routing.weighted import Weighted
from scheduler.routing.zone_first import ZoneFirst


class Routers:
    """Keeps what routers remember for as long as a model's routing stays the same."""

    def __init__(self, chance: Random, zone: str = "", policy: Policy = DEFAULT_POLICY) -> None:
        self._policy = policy
        self._made: dict[str, tuple[Routing, Router]] = {}
        self._makers: Final[Mapping[Routing, Callable[[], Router]]] = MappingProxyType(
            {
                Routing.LEAST_OUTSTANDING: LeastOutstanding,
                Routing.ROUND_ROBIN: RoundRobin,
                Routing.POWER_OF_TWO: lambda: PowerOfTwo(chance),
                Routing.WEIGHTED: Weighted,
                Routing.CONSISTENT_HASH: ConsistentHash,
                Routing.PREFIX_AFFINITY: PrefixAffinity,
                Routing.ZONE_FIRST: lambda: ZoneFirst(zone),
            }
        )

    def follow(self, policy: Policy) -> None:
        """Go by another policy from now on."""
        self._policy = policy
        self._made = {model: made for model, made in self._made.items() if made[0] is policy.route(model)}

    def kind(self, model: str) -> Routing:
        """Return how runners of a model are chosen."""
        return self._policy.route(model)

    def of(self, model: str) -> Router:
        """Return the router of a model."""
        made = self._made.get(model)
        if made is None:
            kind = self._policy.route(model)
            made = self._made[model] = (kind, self._makers[kind]())
        return made[1]

    def forget(self, model: str) -> None:
        """Let go of what is remembered for a model that nobody runs any more."""
        self._made.pop(model, None)
