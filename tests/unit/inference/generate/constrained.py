"""A small byte-level vocabulary, and random answers that keep to a constraint."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from inference.engine import FormatKind, ResponseFormat
from inference.generate.constraints import Constraint, fill_masks

TEXT = [
    '{"name": "Ada", "age": 36, "tags": ["a", "b"], "note": null, "ok": true}',
    "the quick brown fox jumps over the lazy dog 0123456789",
    "grüße aus köln, こんにちは, привет, 👍🏽",
] * 4
END = 0
PADDED = 40
"""Tokens that the model's logits have and the tokenizer does not."""


def byte_level_tokenizer() -> Tokenizer:
    """Train a byte-level BPE whose token 0 ends an answer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        show_progress=False,
        special_tokens=["<end>", "<other>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def schema(content: Mapping[str, Any]) -> ResponseFormat:
    return ResponseFormat(FormatKind.JSON_SCHEMA, json.dumps(content))


def regex(expression: str) -> ResponseFormat:
    return ResponseFormat(FormatKind.REGEX, expression)


def grammar(lark: str) -> ResponseFormat:
    return ResponseFormat(FormatKind.GRAMMAR, lark)


def allowed(constraint: Constraint, vocabulary: int) -> list[int]:
    """Return the tokens that may come next."""
    out = np.zeros((1, (vocabulary + 31) // 32), np.int32)
    assert not fill_masks([constraint], out)
    return tokens_of(out[0], vocabulary)


def tokens_of(mask: np.ndarray[Any, np.dtype[np.int32]], vocabulary: int) -> list[int]:
    bits = np.unpackbits(mask.view(np.uint8), bitorder="little")
    assert not bits[vocabulary:].any()
    return np.flatnonzero(bits).tolist()


def random_answer(
    constraint: Constraint, vocabulary: int, ends: frozenset[int], seed: int, limit: int = 3000
) -> Sequence[int]:
    """Choose among what is allowed until the answer ends; half of the times that it can end, it does."""
    choice = np.random.default_rng(seed)
    answer: list[int] = []
    while not constraint.ended:
        tokens = allowed(constraint, vocabulary)
        assert constraint.can_end == bool(ends.intersection(tokens))
        text = [token for token in tokens if token not in ends]
        if constraint.can_end and (not text or choice.random() < 0.5):
            break
        answer.append(int(choice.choice(text)))
        constraint.accept(answer[-1])
        assert len(answer) < limit, "the answer does not end"
    return answer
