"""Whose cached answers a request means, and who may mean them."""

from forebay.cache.v1.cache_service_pb2 import CacheScope
from scheduler.errors import OperatorOnly
from services.gateway.caching import CacheControl
from services.gateway.caller import Caller
from services.gateway.input_validation import Faults

MAX_TENANT: int = 10_240


def namespace_of(scope: CacheScope, caller: Caller, control: CacheControl, deed: str) -> bytes | None:
    """Return the tag of the namespace that is meant; None for all of them.

    Raises OperatorOnly, which names the deed, when it is not the caller's own.
    """
    foreign = scope.tenant not in ("", caller.tenant)
    if (foreign or scope.all_tenants) and not caller.operator:
        raise OperatorOnly(f"{deed} for other tenants")
    return None if scope.all_tenants else control.keys.remember(scope.tenant or caller.tenant)


def check_scope(scope: CacheScope, faults: Faults, *, one: bool = False) -> None:
    """Check a scope; `one`: it must be a single tenant."""
    if len(scope.tenant) > MAX_TENANT:
        faults.append(("scope.tenant", f"must be at most {MAX_TENANT} characters long"))
    if scope.all_tenants and scope.tenant:
        faults.append(("scope.all_tenants", "must not be set together with tenant"))
    if scope.all_tenants and one:
        faults.append(("scope.all_tenants", "must not be set: an answer belongs to one tenant"))


def read_key(text: str, field: str, faults: Faults) -> bytes:
    """Return a key that is written as 64 hexadecimal digits."""
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != 32 or len(text) != 64:
        faults.append((field, "must be 64 hexadecimal digits"))
    return digest
