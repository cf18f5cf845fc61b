"""Purges: entries that must not be given any more, by marker; what holds them removes them later."""

import logging
from typing import Final

from cache.ports import Key, PurgesAway, TierAway
from forebay.cache.v1 import cache_service_pb2 as contract
from scheduler.errors import PurgeNotShared
from services.gateway import convert
from services.gateway.cache_control.scope import check_scope, namespace_of, read_key
from services.gateway.caching import CacheControl
from services.gateway.caller import Caller
from services.gateway.input_validation import Faults
from services.gateway.request_validation import MODEL_RULE, refuse
from services.gateway.validation import MAX_LABEL_KEY, MAX_LABEL_VALUE, is_model

_LOG: Final = logging.getLogger(__name__)


async def purge(
    control: CacheControl, request: contract.PurgeCacheRequest, caller: Caller
) -> contract.PurgeCacheResponse:
    """Purge what a request names. Raises InvalidInput, OperatorOnly, PurgeNotShared."""
    digest = _check(request)
    namespace = namespace_of(request.scope, caller, control, "PurgeCache")
    answer = contract.PurgeCacheResponse()
    await _write_held(answer, control, namespace, digest, request)
    if request.dry_run:
        return answer
    label = control.keys.label(request.label_key, request.label_value) if request.label_key else None
    try:
        made = await control.board.purge(
            namespace=namespace, model=request.model or None, label=label, digest=digest
        )
    except PurgesAway as away:
        _LOG.warning("purge not shared", extra={"tenant": caller.tenant, "cause": str(away)})
        raise PurgeNotShared from away
    _LOG.info(
        "cache purged",
        extra={
            "tenant": caller.tenant,
            "of": "all tenants" if namespace is None else request.scope.tenant or caller.tenant,
            "model": request.model,
            "label": request.label_key,
            "key": request.key,
        },
    )
    convert.stamp(answer.before, made.before_ms)
    return answer


def _check(request: contract.PurgeCacheRequest) -> bytes | None:
    """Return the digest that is named. Raises InvalidInput."""
    faults: Faults = []
    check_scope(request.scope, faults)
    if request.model and ("@" in request.model or not is_model(request.model)):
        faults.append(("model", f"{MODEL_RULE.partition(', with')[0]}: a purge is of all versions"))
    if len(request.label_key) > MAX_LABEL_KEY:
        faults.append(("label_key", f"must be at most {MAX_LABEL_KEY} characters long"))
    if len(request.label_value) > MAX_LABEL_VALUE:
        faults.append(("label_value", f"must be at most {MAX_LABEL_VALUE} characters long"))
    if request.label_value and not request.label_key:
        faults.append(("label_value", "requires label_key"))
    digest = read_key(request.key, "key", faults) if request.key else None
    conditions = request.model or request.label_key or request.key
    if not (conditions or request.everything):
        faults.append(("", "say what: model, label_key, key, or everything"))
    if conditions and request.everything:
        faults.append(("everything", "must not be set together with model, label_key or key"))
    refuse(faults)
    return digest


async def _write_held(
    answer: contract.PurgeCacheResponse,
    control: CacheControl,
    namespace: bytes | None,
    digest: bytes | None,
    request: contract.PurgeCacheRequest,
) -> None:
    """Write what tiers hold of what is purged, where that costs no look at every entry."""
    if request.model or request.label_key or (digest is not None and namespace is None):
        return
    for tier in control.layers.tiers():
        if digest is not None and namespace is not None:
            try:
                [entry] = await tier.peek([Key(namespace, digest)], control.clock.now_ms())
            except TierAway:
                continue
            count, size = (0, 0) if entry is None else (1, entry.size)
        elif namespace is None:
            found = tier.stats()
            count, size = found.entries, found.held_bytes
        else:
            part = tier.stats(by_namespace=True).namespaces.get(namespace)
            count, size = (part.entries, part.held_bytes) if part is not None else (0, 0)
        answer.held.add(tier=tier.name, entries=count, held_bytes=size)
