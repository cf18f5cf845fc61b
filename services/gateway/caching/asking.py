"""What a call asks, as the cache sees it. It is read from what a runner would be sent, so that calls that ask the same
have one key, whichever door they came by.
"""

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from cache.key import CacheMode, GenerateQuestion, Model, Question
from cache.key.question import Asked
from cache.key.reading import embed_question, generate_question, tensor_question
from cache.ports import Key
from forebay.models.v1.model_service_pb2 import RUNNER_STATE_READY
from forebay.runner.v1.runner_service_pb2 import Call
from scheduler.errors import AnswerNotCached, ForebayError
from services.gateway.caching.journey import CacheObserver, Journey
from services.gateway.caching.lately import Lately
from services.gateway.caching.result_cache import ResultCache
from services.gateway.direct import DirectCall, KnownModel
from services.gateway.direct.port import Calls

_REFRESH: Final = b"forebay refresh 1\0"
_MOST_MODELS: Final = 4096
_SHORT_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Asking:
    """A call that may be cached."""

    key: Key
    known: KnownModel
    """The model as it was announced when the key was made."""
    generates: bool
    """Whether it asks for a generation, which can be streamed."""
    sampled: bool
    """Whether its answer is one of many that may come."""

    @property
    def refresh_key(self) -> Key:
        """The flight of calls that insist on a new answer."""
        return refresh_key(self.key)

    def stands(self, known: KnownModel) -> bool:
        """Tell whether a question to a model, as it is known now, has the same key, and may be cached as before."""
        before = self.known
        return known is before or (
            known.version,
            known.identity,
            known.model.stateful,
            known.unsteady_chats,
            known.draws,
        ) == (before.version, before.identity, before.model.stateful, before.unsteady_chats, before.draws)

    def answered_by(self, wanted: DirectCall) -> bool:
        """Tell whether a call was answered by what the key was made for. The process that answered says what it runs:
        what is announced under its name may be of one that was there before it, or after.
        """
        if wanted.served_version != self.known.version or not wanted.answers_digest:
            return False
        return any(
            one.answers_digest == wanted.answers_digest
            for one in self.known.runners
            if one.state == RUNNER_STATE_READY
        )


def refresh_key(key: Key) -> Key:
    """Return the flight of those who insist on a new answer to a question."""
    return Key(key.namespace, sha256(_REFRESH + key.digest).digest())


class Asker:
    """Reads calls, and judges whether they may be cached."""

    def __init__(self, calls: Calls, cache: ResultCache, observer: CacheObserver) -> None:
        self._calls = calls
        self._cache = cache
        self._observer = observer
        self._models = Models()
        self._lately: Lately[Asking] = Lately()
        """Short calls by model and what their runner would be sent: reading one and making its key takes three times as
        long as finding it here."""

    def asking(self, wanted: DirectCall) -> Asking | None:
        """Return what a call asks; None for one that must go the direct way alone. Raises AnswerNotCached where
        it wants a cached answer or none.
        """
        if wanted.cache is CacheMode.BYPASS:
            self._alone(wanted, CacheMode.BYPASS.value)
            return None
        try:
            known = self._calls.model(wanted.model, wanted.version, wanted.pool)
        except ForebayError:
            if not wanted.cache.computes:
                raise AnswerNotCached(wanted.model)
            return None  # found out again, and told, on the direct way
        call = Call()
        try:
            wanted.fill(call)
        # Whatever it is: sending the call says it to whom it concerns.
        except Exception as fault:
            if not wanted.cache.computes:
                raise fault if isinstance(fault, ForebayError) else AnswerNotCached(wanted.model)
            return None
        if wanted.size_bytes > _SHORT_BYTES or wanted.sequence_key:
            return self._judged(call, wanted, known)
        place = (known.pool, known.name, known.version, call.SerializeToString())
        asking = self._lately.find(wanted.tenant, place)
        if asking is None or asking.known is not known:
            asking = self._judged(call, wanted, known)
            if asking is not None and len(place[-1]) <= _SHORT_BYTES:
                self._lately.keep(wanted.tenant, place, asking, len(place[-1]))
        return asking

    def _judged(self, call: Call, wanted: DirectCall, known: KnownModel) -> Asking | None:
        """Read what a call asks, and make its key."""
        question = question_of(call, self._models.of(known), in_sequence=bool(wanted.sequence_key))
        if question is None:
            if not wanted.cache.computes:
                raise AnswerNotCached(wanted.model)
            return None
        verdict = self._cache.judge(question)
        if verdict.refusal is not None:
            self._alone(wanted, verdict.refusal.value)
            return None
        generates = type(question.asked) is GenerateQuestion
        return Asking(self._cache.key(wanted.tenant, question), known, generates, verdict.sampled)

    def _alone(self, wanted: DirectCall, why: str) -> None:
        if wanted.cache is CacheMode.ONLY:
            raise AnswerNotCached(wanted.model, why)
        Journey(wanted, wanted.model.partition("@")[0], self._observer).refused(why)


class Models:
    """Models as questions name them, remembered as long as they are announced unchanged."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str, int], tuple[KnownModel, Model]] = {}

    def of(self, known: KnownModel) -> Model:
        """Return what the key says of a model."""
        place = (known.pool, known.name, known.version)
        remembered = self._models.get(place)
        if remembered is not None and remembered[0] is known:
            return remembered[1]
        if len(self._models) >= _MOST_MODELS:
            self._models.clear()
        model = Model(
            known.name,
            known.version,
            known.identity,
            stateful=known.model.stateful,
            unsteady_chats=known.unsteady_chats,
            draws=known.draws,
        )
        self._models[place] = known, model
        return model


def question_of(call: Call, model: Model, *, in_sequence: bool) -> Question | None:
    """Return what a call asks; None when it has no input."""
    kind = call.WhichOneof("input")
    asked: Asked
    if kind == "tensors":
        outputs = [(one.name, one.classes) for one in call.outputs]
        asked = tensor_question(call.tensors, outputs, in_sequence=in_sequence)
    elif kind == "generate":
        asked = generate_question(call.generate)
    elif kind == "embed":
        asked = embed_question(call.embed)
    else:
        return None
    if in_sequence and kind != "tensors":
        model = replace(model, stateful=True)
    return Question(model, asked)
