"""Section `policy`: the policy that the platform is started with, version 0. What UpdatePolicy stores takes its place.

Defaults are those of `scheduler/policies/policy.py`; docs/scheduling.md explains each field. Levels' weights are the
setting `queues.weights`.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from scheduler.errors import StartupRefused
from scheduler.policies.levels import parse_weights
from scheduler.policies.policy import DEFAULT_POLICY, LevelMode, Policy, Routing, TaskOrder
from scheduler.policies.policy_rules import faults_of
from services.policy_texts import read_choice, read_limit, read_number

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """What the initial policy can be told. The same for all processes of a system."""

    level_mode: str = DEFAULT_POLICY.level_mode.name.lower()
    """How levels share the fleet: `weighted` or `strict`."""
    ageing_s: float = DEFAULT_POLICY.ageing_s
    """How long the oldest task of a level may wait before it goes ahead of every share, in seconds; 0 for never."""
    ageing_every: int = DEFAULT_POLICY.ageing_every
    """Of so many starts, one may be for a task that waited longer than `ageing_s`."""
    order: str = DEFAULT_POLICY.order.name.lower()
    """The order of one tenant's tasks of one level: `fifo`, `shortest`, `deadline` or `balanced`."""
    stretch: float = DEFAULT_POLICY.stretch
    """How much longer a task may wait for each second of its expected work."""
    patience_s: float = DEFAULT_POLICY.patience_s
    """The deadline that a task without one is taken to have, in seconds from its creation."""
    express_slack_s: float = DEFAULT_POLICY.express_slack_s
    """Slack below which a task goes to the express lane of its level, in seconds; 0 for never."""
    expire_early: bool = DEFAULT_POLICY.expire_early
    """Whether a task that cannot end before its deadline any more becomes EXPIRED at once."""
    tenant_weights: tuple[str, ...] = ()
    """Weight of tenants inside a level, as `tenant=weight`; 1 for all others."""
    limits: tuple[str, ...] = ()
    """Limits on what may wait, each as `tenant=a level=low queued=1000 work=60s rate=50 burst=100`."""
    routing: tuple[str, ...] = ()
    """How a runner is chosen, as `model=policy`; `=policy` for every other model."""
    cost_label: str = DEFAULT_POLICY.cost_label
    """The label whose value tells kinds of tasks apart when their cost is learned."""

    def to_policy(self, weights: Collection[str] = ()) -> Policy:
        """Return the policy, with levels' weights as `level=weight`, over the defaults.

        Raises StartupRefused, which names the setting of every fault.
        """
        faults: list[str] = []

        def read(setting: str, make: Callable[[], T], default: T) -> T:
            try:
                return make()
            except ValueError as fault:
                faults.append(f"setting {setting}: {fault}")
                return default

        default = DEFAULT_POLICY
        policy = Policy(
            level_mode=read(
                "policy.level_mode", lambda: read_choice(LevelMode, self.level_mode), default.level_mode
            ),
            weights=read("queues.weights", lambda: parse_weights(weights), default.weights),
            ageing_s=self.ageing_s,
            ageing_every=self.ageing_every,
            order=read("policy.order", lambda: read_choice(TaskOrder, self.order), default.order),
            stretch=self.stretch,
            patience_s=self.patience_s,
            express_slack_s=self.express_slack_s,
            expire_early=self.expire_early,
            tenant_weights=read(
                "policy.tenant_weights", lambda: _pairs(self.tenant_weights, "tenant=weight", read_number), {}
            ),
            limits=read("policy.limits", lambda: tuple(map(read_limit, self.limits)), ()),
            routing=read(
                "policy.routing",
                lambda: _pairs(self.routing, "model=policy", lambda text: read_choice(Routing, text)),
                {},
            ),
            cost_label=self.cost_label,
        )
        faults += [f"setting {_setting(field)}: {fault}" for field, fault in faults_of(policy)]
        if faults:
            raise StartupRefused("; ".join(faults))
        return policy


def _pairs(given: Collection[str], form: str, read: Callable[[str], Any]) -> dict[str, Any]:
    """Read `name=value` texts. Raises ValueError with a sentence."""
    found: dict[str, Any] = {}
    for pair in given:
        name, equals, value = pair.rpartition("=")
        name = name.strip()
        if not equals:
            raise ValueError(f"{pair!r} is not {form}")
        if name in found:
            raise ValueError(f"{name!r} is there twice")
        found[name] = read(value)
    return found


def _setting(field: str) -> str:
    """Return the setting behind a field of the policy, with what comes after the field's name."""
    name = next((name for name in _SETTINGS if field.startswith(name)), "")
    return _SETTINGS[name] + field.removeprefix(name) if name else f"policy.{field}"


_SETTINGS: Final = {
    "weights": "queues.weights",
    "ageing_every": "policy.ageing_every",
    "ageing": "policy.ageing_s",
    "patience": "policy.patience_s",
    "express_slack": "policy.express_slack_s",
}
"""Fields whose settings have other names than they have; a name that another one begins with comes after it."""
