"""What tasks ask of the result cache, found out when they are submitted: their keys, or why they have none."""

from typing import Final

from cache.key import CacheMode, Model, Question
from cache.key.reading import task_question
from forebay.tasks.v1 import task_pb2
from forebay.tasks.v1.envelope_pb2 import CacheQuestion
from scheduler.errors import ForebayError
from services.gateway.caching.asking import Models, refresh_key
from services.gateway.caching.result_cache import ResultCache
from services.gateway.caching.worth import Worth
from services.gateway.direct import DEFAULT_POOL, KnownModel
from services.gateway.direct.port import Calls

LITTLE_WORK: Final = "LITTLE_WORK"
"""Why tasks have no question that cost less to execute than to look for."""
LATER: Final = "INPUTS_FROM_PARENTS"
"""Why tasks have none whose input is not known yet."""
_MODES: Final = (CacheMode.DEFAULT, *CacheMode)
"""By the number of a mode in the contract."""
_Served = tuple[KnownModel, Model] | None


def mode_of(spec: task_pb2.TaskSpec) -> CacheMode | None:
    """Return what a task wants of the cache; None for a mode that is none, which is refused by whoever checks it."""
    return _MODES[spec.cache] if 0 <= spec.cache < len(_MODES) else None


class TaskAsker:
    """Reads the tasks of one call. They are alike as a rule: what depends on their model is found out once."""

    def __init__(self, calls: Calls, cache: ResultCache, worth: Worth, models: Models, tenant: str) -> None:
        self._calls = calls
        self._cache = cache
        self._worth = worth
        self._models = models
        self._tenant = tenant
        self._worth_of: dict[str, bool] = {}
        self._served_at: dict[tuple[str, str], _Served] = {}

    def question(self, spec: task_pb2.TaskSpec, mode: CacheMode) -> tuple[CacheQuestion | None, str]:
        """Return what a task asks; or None, and a word for why it asks nothing, or none where the model is not there or
        the task will be refused.
        """
        if mode is CacheMode.BYPASS:
            return None, mode.value
        if mode is CacheMode.DEFAULT and not self._is_worth_it(spec.model):
            return None, LITTLE_WORK
        if spec.inputs_from:
            return None, LATER
        found = self._served(spec.model, spec.pool)
        if found is None:
            return None, ""
        known, model = found
        try:
            question = Question(model, task_question(spec))
        except ValueError:
            # A task that is refused by whoever checks it.
            return None, ""
        verdict = self._cache.judge(question)
        if verdict.refusal is not None:
            return None, verdict.refusal.value
        key = self._cache.key(self._tenant, question)
        asked = CacheQuestion(
            namespace=key.namespace,
            digest=key.digest,
            identity=known.identity,
            version=known.version,
            refresh=mode is CacheMode.REFRESH,
            only=not mode.computes,
            sampled=verdict.sampled,
        )
        if asked.refresh:
            asked.flight = refresh_key(key).digest
        if spec.labels:
            asked.labels.extend(self._cache.labels(spec.labels))
        return asked, ""

    def _is_worth_it(self, model: str) -> bool:
        worth = self._worth_of.get(model)
        if worth is None:
            worth = self._worth_of[model] = self._worth(model, self._tenant)
        return worth

    def _served(self, name: str, pool: str) -> _Served:
        """Return what is known of a model; None for one that is not there, which may change until its tasks start."""
        place = name, pool
        if place not in self._served_at:
            try:
                known = self._calls.model(name, 0, pool or DEFAULT_POOL)
                self._served_at[place] = known, self._models.of(known)
            except (ForebayError, ValueError):
                self._served_at[place] = None
        return self._served_at[place]
