"""Requests that are looked for in the cache or are to be warm: tasks, of which model, pool and input count."""

from collections.abc import Callable, Collection

from cache.key.question import Question
from cache.ports import Key
from forebay.runner.v1.runner_service_pb2 import Call
from forebay.tasks.v1.task_pb2 import TaskSpec
from inference.rules import check_embed, check_generate
from scheduler.errors import AnswerNotCached
from scheduler.states import Level
from services.gateway.caching import CacheControl, ResultCache
from services.gateway.caching.asking import Models, question_of
from services.gateway.direct import DEFAULT_POOL, Calls, DirectCall
from services.gateway.input_validation import Faults, check_tensors
from services.gateway.validation import MODEL_RULE, is_model

DOOR = "warming"
"""What metrics call calls that warm the cache."""


class Requests:
    """Reads requests of one gateway."""

    def __init__(
        self, calls: Calls, cache: ResultCache, control: CacheControl, pools: Collection[str]
    ) -> None:
        self._calls = calls
        self._cache = cache
        self._control = control
        self._pools = frozenset(pools)
        self._models = Models()

    def faults(self, spec: TaskSpec) -> Faults:
        """Return what is wrong with a request, as (path relative to it, fault)."""
        found: Faults = []
        if not is_model(spec.model):
            found.append(("model", MODEL_RULE if spec.model else f"is required and {MODEL_RULE}"))
        if spec.pool and spec.pool not in self._pools:
            found.append(("pool", f"there is no such pool; there is {', '.join(sorted(self._pools))}"))
        if spec.inputs_from:
            found.append(("inputs_from", "must be empty: what parents will say is not known"))
        kind = spec.WhichOneof("input")
        if kind == "tensors":
            check_tensors(spec.tensors, found)
        elif kind == "generate":
            check_generate(spec.generate, found)
        elif kind == "embed":
            check_embed(spec.embed, found)
        else:
            found.append(("input", "one of generate, tensors and embed is required"))
        return found

    def question(self, spec: TaskSpec) -> Question:
        """Return what a request asks. Raises ModelNotFound, ServerUnavailable."""
        known = self._calls.model(spec.model, pool=spec.pool or DEFAULT_POOL)
        call = Call()
        _filling(spec)(call)
        question = question_of(call, self._models.of(known), in_sequence=False)
        assert question is not None, "a request without faults has an input"
        return question

    def cacheable(self, spec: TaskSpec) -> Question:
        """Return what a request asks. Raises AnswerNotCached for what may never be cached, and as `question` does."""
        question = self.question(spec)
        if (refusal := self._cache.judge(question).refusal) is not None:
            raise AnswerNotCached(spec.model, refusal.value)
        return question

    def key(self, tenant: str, spec: TaskSpec) -> Key:
        """Return the key of a tenant's request. Raises as `cacheable` does."""
        return self._control.keys.key(tenant, self.cacheable(spec))

    def call(self, tenant: str, spec: TaskSpec) -> DirectCall:
        """Return the call of a tenant's request, behind everybody who waits."""
        return DirectCall(
            tenant=tenant,
            model=spec.model,
            fill=_filling(spec),
            pool=spec.pool or DEFAULT_POOL,
            priority=Level.LOW,
            size_bytes=spec.ByteSize(),
            door=DOOR,
        )


def _filling(spec: TaskSpec) -> Callable[[Call], None]:
    def fill(call: Call) -> None:
        if spec.HasField("tensors"):
            call.tensors.CopyFrom(spec.tensors)
        elif spec.HasField("generate"):
            call.generate.CopyFrom(spec.generate)
        else:
            call.embed.CopyFrom(spec.embed)

    return fill
