"""Whether an answer may be cached, and what a request wants of the cache.

An answer may be given again when computing it again would give the same one: generation that is greedy or has a seed,
tensors outside a sequence, embeddings; unless the model itself draws random numbers or looks at the clock.
"""

from dataclasses import dataclass
from enum import StrEnum

from cache.key.question import GenerateQuestion, Question, TensorQuestion


class CacheMode(StrEnum):
    """What a request wants of the cache."""

    DEFAULT = "DEFAULT"
    """Answered from it, or computed and kept."""
    BYPASS = "BYPASS"
    """Computed; nothing is looked up or kept."""
    REFRESH = "REFRESH"
    """Computed and kept, in place of what was there."""
    ONLY = "ONLY"
    """Answered from it or not at all: NOT_FOUND."""

    @property
    def reads(self) -> bool:
        """Whether it looks into the cache."""
        return self in (CacheMode.DEFAULT, CacheMode.ONLY)

    @property
    def fills(self) -> bool:
        """Whether a computed answer is kept."""
        return self in (CacheMode.DEFAULT, CacheMode.REFRESH)

    @property
    def computes(self) -> bool:
        """Whether the answer is computed when the cache does not have it."""
        return self is not CacheMode.ONLY


class Refusal(StrEnum):
    """Why an answer is not cached: a word for spans, metrics and answers."""

    SEQUENCE = "SEQUENCE"
    """It depends on calls before it."""
    SAMPLED = "SAMPLED"
    """It is drawn at random without a seed."""
    UNSTEADY_CHAT = "UNSTEADY_CHAT"
    """The chat template makes another prompt of the same chat: it writes the time, or something at random."""
    UNKNOWN_FIELD = "UNKNOWN_FIELD"
    """The request has a field of a later version of the contract: a runner may know what it means."""
    MODEL_UNKNOWN = "MODEL_UNKNOWN"
    """Nobody announces what exactly the model is."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an answer may be cached."""

    refusal: Refusal | None = None
    """None when it may be."""
    sampled: bool = False
    """Whether it is cached although it is one of many that may come: the answer says so."""


_YES = Verdict()
_YES_SAMPLED = Verdict(sampled=True)
_NO = {refusal: Verdict(refusal) for refusal in Refusal}


def judge(question: Question, *, cache_sampled: bool = False) -> Verdict:
    """Tell whether the answer to a question may be cached; `cache_sampled` is the setting that allows it for answers
    that are sampled without a seed.
    """
    model, asked = question.model, question.asked
    if model.stateful or (isinstance(asked, TensorQuestion) and asked.in_sequence):
        return _NO[Refusal.SEQUENCE]
    if asked.unread:
        return _NO[Refusal.UNKNOWN_FIELD]
    if not model.identity:
        return _NO[Refusal.MODEL_UNKNOWN]
    if not isinstance(asked, GenerateQuestion):
        drawn = model.draws
    elif asked.prompt is None and model.unsteady_chats:
        return _NO[Refusal.UNSTEADY_CHAT]
    else:
        drawn = model.draws or (not asked.greedy and asked.seed is None)
    if not drawn:
        return _YES
    return _YES_SAMPLED if cache_sampled else _NO[Refusal.SAMPLED]
