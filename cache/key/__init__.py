"""The key: what is asked (`question`, made of messages by `reading`), its canonical form (`canonical`), the digest of
that under the asker's secret (`digest`), what a model is (`identity`), and what may be cached (`cacheable`).

`reading` alone knows the contract and is imported by its own name.
"""

from cache.key.cacheable import CacheMode, Refusal, Verdict, judge
from cache.key.canonical import CANONICAL_FORM, canonical
from cache.key.digest import Keys
from cache.key.identity import identity_of
from cache.key.question import (
    EmbedQuestion,
    GenerateQuestion,
    Message,
    Model,
    Question,
    Tensor,
    TensorQuestion,
    WantedOutput,
)

__all__ = [
    "CANONICAL_FORM",
    "CacheMode",
    "EmbedQuestion",
    "GenerateQuestion",
    "Keys",
    "Message",
    "Model",
    "Question",
    "Refusal",
    "Tensor",
    "TensorQuestion",
    "Verdict",
    "WantedOutput",
    "canonical",
    "identity_of",
    "judge",
]
