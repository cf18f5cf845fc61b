"""Constrained answers over the 49,152 tokens of a real model."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from inference.engine import FormatKind, ResponseFormat
from inference.generate.constraints import Constraints
from inference.importers.gguf import GgufFile
from inference.importers.tokenizer import build_tokenizer

from .constrained import allowed, random_answer, regex, schema

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

VOCABULARY = 49_152
ENDS = frozenset({0, 2})
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def tokenizer(smollm2_gguf: Path) -> Tokenizer:
    return build_tokenizer(GgufFile(smollm2_gguf))


@pytest.fixture(scope="module")
def constraints(tokenizer: Tokenizer) -> Iterator[Constraints]:
    made = Constraints(tokenizer, VOCABULARY, ENDS, 1 << 18)
    made.prepare().result()
    yield made
    made.close()


@pytest.mark.parametrize("seed", range(20))
def test_random_answers_keep_to_their_schema(
    constraints: Constraints, tokenizer: Tokenizer, seed: int
) -> None:
    tokens = random_answer(constraints.compile(schema(PERSON)), VOCABULARY, ENDS, seed)
    person = json.loads(tokenizer.decode(list(tokens), skip_special_tokens=False))
    assert set(person) == {"name", "age", "tags"}
    assert len(person["name"]) <= 12
    assert type(person["age"]) is int and 0 <= person["age"] <= 150
    assert len(person["tags"]) <= 3 and set(person["tags"]) <= {"a", "b", "c"}


@pytest.mark.parametrize("seed", range(20))
def test_random_answers_match_their_expression(
    constraints: Constraints, tokenizer: Tokenizer, seed: int
) -> None:
    expression = r"(Mr|Ms|Mx)\. [A-Z][a-zäöüß]{1,9}, \d{1,3} (☂|😀)"
    tokens = random_answer(constraints.compile(regex(expression)), VOCABULARY, ENDS, seed)
    assert re.fullmatch(expression, tokenizer.decode(list(tokens), skip_special_tokens=False))


def test_what_the_model_would_write_is_allowed_token_for_token(
    constraints: Constraints, tokenizer: Tokenizer
) -> None:
    for indent in (None, 2, "\t"):
        constraint = constraints.compile(ResponseFormat(FormatKind.JSON_OBJECT))
        text = json.dumps(
            {"größe": [1, -2.5e3, True, None], "b": {"c": "日本語"}}, indent=indent, ensure_ascii=False
        )
        for token in tokenizer.encode(text).ids:
            assert token in allowed(constraint, VOCABULARY)
            constraint.accept(token)
        assert constraint.ended
