"""Who calls, and what only operators may do.

Without API keys everybody is the tenant of the settings, who then operates the platform too. With them the caller is
whoever has the key that the call's metadata brings: `authorization: Bearer KEY`, or `x-api-key: KEY`. Every method of
every service asks, but for health and reflection, which `services/interceptor.py` lets pass, and what the KServe
protocol has in place of health.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from scheduler.errors import OperatorOnly, Unauthenticated

OPERATOR_METHODS: Final = frozenset(
    {
        *("PauseQueue", "ResumeQueue", "UpdatePolicy", "AdviseCache"),
        *("LoadModel", "UnloadModel", "RepositoryModelLoad", "RepositoryModelUnload"),
    }
)
"""Methods that change something for all tenants."""
OPEN_METHODS: Final = frozenset(
    f"inference.GRPCInferenceService/{name}" for name in ("ServerLive", "ServerReady", "ServerMetadata")
)
"""Methods that tell nothing of any tenant, and that probes call."""

_BEARER: Final = "bearer "


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a call is made."""

    tenant: str
    operator: bool = False
    """Whether the caller operates the platform: changes what concerns all tenants, and sees what belongs to none."""


CallerOf = Callable[[Any], Caller]
"""Finds the caller of a gRPC context. Raises Unauthenticated."""


class Ring(Protocol):
    """Knows keys."""

    def caller(self, key: str) -> Caller | None:
        """Return who has a key; None when nobody has."""
        ...


def single_tenant(tenant: str) -> CallerOf:
    """Return a finder that takes every caller for the same tenant, who then operates the platform too."""
    caller = Caller(tenant, operator=True)
    return lambda context: caller


def by_key(ring: Ring) -> CallerOf:
    """Return a finder that goes by the key in the call's metadata."""

    def find(context: Any) -> Caller:
        caller = ring.caller(_presented(context.invocation_metadata() or ()))
        if caller is None:
            raise Unauthenticated
        return caller

    return find


def authorization(caller_of: CallerOf) -> Callable[[str, Any], None]:
    """Return a check of a method (`package.Service/Method`) and a context. Raises Unauthenticated, OperatorOnly."""

    def check(method: str, context: Any) -> None:
        if method in OPEN_METHODS:
            return
        caller = caller_of(context)
        name = method.rpartition("/")[2]
        if name in OPERATOR_METHODS and not caller.operator:
            raise OperatorOnly(name)

    return check


def _presented(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Return the key that a call brings; empty, which is nobody's, for none."""
    key = ""
    for name, value in metadata:
        if not isinstance(value, str):
            continue
        if name == "authorization" and value[: len(_BEARER)].lower() == _BEARER:
            return value[len(_BEARER) :].strip()
        if name == "x-api-key":
            key = value.strip()
    return key
