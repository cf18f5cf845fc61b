"""What is kept of one answer, and where: never the answer, nor what was asked."""

from cache.answer import read_answer
from cache.entry import Damaged
from cache.ports import Entry, Key, Tier, TierAway
from forebay.cache.v1 import cache_service_pb2 as contract
from scheduler.errors import AnswerNotCached, ServerUnavailable
from services.gateway import convert
from services.gateway.cache_control.requests import Requests
from services.gateway.cache_control.scope import check_scope, namespace_of, read_key
from services.gateway.caching import CacheControl
from services.gateway.caller import Caller
from services.gateway.input_validation import Faults
from services.gateway.request_validation import refuse


async def find(
    control: CacheControl, requests: Requests, request: contract.GetCachedAnswerRequest, caller: Caller
) -> contract.GetCachedAnswerResponse:
    """Look into every tier, which counts and changes nothing there.

    Raises InvalidInput, OperatorOnly, ModelNotFound, AnswerNotCached, ServerUnavailable.
    """
    faults: Faults = []
    check_scope(request.scope, faults, one=True)
    digest = b""
    target = request.WhichOneof("target")
    if target == "key":
        digest = read_key(request.key, "key", faults)
    elif target == "request":
        faults += [(f"request.{path}", fault) for path, fault in requests.faults(request.request)]
    else:
        faults.append(("target", "one of key and request is required"))
    refuse(faults)
    namespace = namespace_of(request.scope, caller, control, "GetCachedAnswer")
    assert namespace is not None, "a scope of one tenant has a namespace"
    if target == "request":
        key = requests.key(request.scope.tenant or caller.tenant, request.request)
    else:
        key = Key(namespace, digest)
    answer = contract.GetCachedAnswerResponse(key=key.digest.hex())
    for tier in control.layers.tiers():
        await _look(answer, control, tier, key)
    if not answer.kept and answer.unanswered:
        raise ServerUnavailable(f"{', '.join(answer.unanswered)} did not answer; no other tier has it")
    if not answer.kept:
        raise AnswerNotCached(request.request.model if target == "request" else request.key)
    return answer


async def _look(
    answer: contract.GetCachedAnswerResponse, control: CacheControl, tier: Tier, key: Key
) -> None:
    try:
        [entry] = await tier.peek([key], control.clock.now_ms())
    except TierAway:
        answer.unanswered.append(tier.name)
        return
    if entry is None or not control.layers.alive(key, entry):
        return
    try:
        _write(answer.kept.add(tier=tier.name), entry)
    except Damaged:
        # Nothing that this version can give: a look-up passes it over, too.
        del answer.kept[-1]


def _write(message: contract.KeptAnswer, entry: Entry) -> None:
    """Write what is known of an entry. Raises Damaged."""
    stored = read_answer(entry.body)
    message.model = stored.model
    message.version = stored.version
    # A generation that is exactly its chunks has no outcome beside them.
    message.kind = stored.WhichOneof("outcome") or "generate"
    message.size_bytes = entry.size
    convert.stamp(message.create_time, entry.created_ms)
    convert.stamp(message.fresh_until, entry.fresh_until_ms)
    message.cost.FromMilliseconds(round(entry.cost_ms))
    message.stream = entry.stream
    message.labels = len(entry.labels)
    message.sampled = stored.sampled
    message.identity = entry.identity.hex()
