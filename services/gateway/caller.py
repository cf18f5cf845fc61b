"""Who calls. Until callers authenticate, everybody is the tenant of the settings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a call is made."""

    tenant: str
    operator: bool = False
    """Whether the caller also sees what belongs to no tenant: messages that nobody could read."""


CallerOf = Callable[[Any], Caller]
"""Finds the caller of a gRPC context."""


def single_tenant(tenant: str) -> CallerOf:
    """Return a finder that takes every caller for the same tenant, who then operates the platform too."""
    caller = Caller(tenant, operator=True)
    return lambda context: caller
