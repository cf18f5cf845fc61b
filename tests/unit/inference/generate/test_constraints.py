import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from inference.engine import FormatKind, ResponseFormat
from inference.generate.constraints import Constraint, Constraints, fill_masks
from scheduler.errors import InvalidInput

from .constrained import (
    END,
    PADDED,
    allowed,
    byte_level_tokenizer,
    grammar,
    random_answer,
    regex,
    schema,
    tokens_of,
)

ENDS = frozenset({END})
TOKENIZER = byte_level_tokenizer()
VOCABULARY = TOKENIZER.get_vocab_size() + PADDED
JSON_OBJECT = ResponseFormat(FormatKind.JSON_OBJECT)


@pytest.fixture(scope="module")
def constraints() -> Iterator[Constraints]:
    made = Constraints(TOKENIZER, VOCABULARY, ENDS, 1 << 16)
    yield made
    made.close()


def text_of(tokens: Any, tokenizer: Tokenizer = TOKENIZER) -> str:
    return tokenizer.decode(list(tokens), skip_special_tokens=False)


def answer(constraints: Constraints, wanted: ResponseFormat, seed: int = 0) -> str:
    return text_of(random_answer(constraints.compile(wanted), VOCABULARY, ENDS, seed))


def feed(constraint: Constraint, text: str) -> None:
    for token in TOKENIZER.encode(text).ids:
        assert token in allowed(constraint, VOCABULARY)
        constraint.accept(token)


def fits(value: Any, wanted: Any) -> bool:
    """Tell whether a value keeps to one of the schemas below: the meaning of JSON Schema, for what they use."""
    if "anyOf" in wanted:
        return any(fits(value, choice) for choice in wanted["anyOf"])
    if "enum" in wanted:
        return any(value == choice and type(value) is type(choice) for choice in wanted["enum"])
    match wanted["type"]:
        case "string":
            pattern = wanted.get("pattern")
            length = isinstance(value, str) and wanted.get("minLength", 0) <= len(value) <= wanted.get(
                "maxLength", 99
            )
            return length and (pattern is None or re.search(pattern, value) is not None)
        case "integer":
            return type(value) is int and wanted["minimum"] <= value <= wanted["maximum"]
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "array":
            return (
                isinstance(value, list)
                and wanted["minItems"] <= len(value) <= wanted["maxItems"]
                and all(fits(item, wanted["items"]) for item in value)
            )
        case _:
            known = wanted["properties"]
            return (
                isinstance(value, dict)
                and set(wanted["required"]) <= set(value) <= set(known)
                and all(fits(item, known[name]) for name, item in value.items())
            )


names = st.text('abcäß 😀"\\', min_size=1, max_size=5)
leaves = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.just({"type": "string", "pattern": "^[a-cß]{2,4}(-[0-9]+)?$", "maxLength": 12}),
    st.builds(
        lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more},
        st.integers(0, 4),
        st.integers(0, 4),
    ),
    st.builds(
        lambda low, more: {"type": "integer", "minimum": low, "maximum": low + more},
        st.integers(-1000, 1000),
        st.integers(0, 10**6),
    ),
    st.builds(
        lambda values: {"enum": values},
        st.lists(st.one_of(names, st.integers(-99, 99), st.none()), min_size=1, max_size=4),
    ),
)


def _object(members: dict[str, Any], optional: int) -> dict[str, Any]:
    required = [name for place, name in enumerate(members) if not optional >> place & 1]
    return {"type": "object", "properties": members, "required": required, "additionalProperties": False}


schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(_object, st.dictionaries(names, inner, max_size=4), st.integers(0, 15)),
        st.builds(
            lambda items, low, more: {
                "type": "array",
                "items": items,
                "minItems": low,
                "maxItems": low + more,
            },
            inner,
            st.integers(0, 2),
            st.integers(0, 2),
        ),
        st.builds(lambda choices: {"anyOf": choices}, st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(wanted=schemas, seed=st.integers(0, 2**32))
def test_any_choice_of_allowed_tokens_gives_json_that_keeps_to_its_schema(
    constraints: Constraints, wanted: dict[str, Any], seed: int
) -> None:
    assert fits(json.loads(answer(constraints, schema(wanted), seed)), wanted)


@pytest.mark.parametrize("seed", range(10))
def test_any_choice_of_allowed_tokens_gives_a_json_object(constraints: Constraints, seed: int) -> None:
    assert isinstance(json.loads(answer(constraints, JSON_OBJECT, seed)), dict)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "expression",
    [
        "[a-z]{3,9}",
        r"\d{4}-\d{2}-\d{2}",
        "(yes|no|maybe)",
        "(ab?c)+x",
        "[äöü😀]{1,5}/?",
        "^a+$",
        "(?i)hello",
        "",
    ],
)
def test_any_choice_of_allowed_tokens_matches_the_whole_expression(
    constraints: Constraints, expression: str, seed: int
) -> None:
    assert re.fullmatch(expression, answer(constraints, regex(expression), seed))


SUMS = """
start: sum
sum: product | sum "+" product
product: NUMBER | product "*" NUMBER
NUMBER: /[1-9][0-9]{0,3}/
"""


@pytest.mark.parametrize("seed", range(20))
def test_any_choice_of_allowed_tokens_is_a_sentence_of_the_grammar(
    constraints: Constraints, seed: int
) -> None:
    number = "[1-9][0-9]{0,3}"
    assert re.fullmatch(rf"{number}([+*]{number})*", answer(constraints, grammar(SUMS), seed))


def test_an_answer_ends_by_itself_when_nothing_can_follow(constraints: Constraints) -> None:
    constraint = constraints.compile(
        schema({"type": "object", "properties": {}, "additionalProperties": False})
    )
    states = []
    for brace in "{}":
        feed(constraint, brace)
        states.append((constraint.can_end, constraint.ended))
    assert states == [(False, False), (True, True)]


def test_an_end_token_is_allowed_only_when_the_answer_is_complete(constraints: Constraints) -> None:
    constraint = constraints.compile(regex("ab+"))
    assert END not in allowed(constraint, VOCABULARY)
    with pytest.raises(ValueError, match="cannot end"):
        constraint.accept(END)
    feed(constraint, "ab")
    assert END in allowed(constraint, VOCABULARY)
    assert constraint.can_end and not constraint.ended
    constraint.accept(END)
    assert constraint.ended


def test_a_grammar_that_allows_only_the_empty_answer_ends_at_its_first_mask(constraints: Constraints) -> None:
    constraint = constraints.compile(grammar('start: ""'))
    assert allowed(constraint, VOCABULARY) == [END]
    assert constraint.ended


def test_a_grammar_cannot_name_an_end_token_in_its_middle(constraints: Constraints) -> None:
    constraint = constraints.compile(grammar("start: <[*]> <[*]> <[*]>"))
    assert END not in allowed(constraint, VOCABULARY)


def test_every_end_token_ends_an_answer() -> None:
    made = Constraints(TOKENIZER, VOCABULARY, frozenset({0, 1}), 1 << 16)
    try:
        constraint = made.compile(regex("a?"))
        assert {0, 1} <= set(allowed(constraint, VOCABULARY))
    finally:
        made.close()


def test_alternatives_that_a_constant_tells_apart_may_be_written_as_one_of(constraints: Constraints) -> None:
    choices = [
        {
            "type": "object",
            "properties": {"kind": {"const": kind}},
            "required": ["kind"],
            "additionalProperties": False,
        }
        for kind in ("cat", "dog")
    ]
    kinds = {json.loads(answer(constraints, schema({"oneOf": choices}), seed))["kind"] for seed in range(20)}
    assert kinds == {"cat", "dog"}


def test_a_token_that_is_not_allowed_is_refused(constraints: Constraints) -> None:
    constraint = constraints.compile(regex("a+"))
    with pytest.raises(ValueError, match="not allowed"):
        constraint.accept(TOKENIZER.encode("z").ids[0])


def test_characters_may_be_cut_into_several_tokens(constraints: Constraints) -> None:
    content = json.dumps({"greeting": "日本語 ☂ 👩‍👩‍👧"}, ensure_ascii=False)
    tokens = TOKENIZER.encode(content).ids
    assert any("\N{REPLACEMENT CHARACTER}" in text_of([token]) for token in tokens)
    constraint = constraints.compile(schema({"type": "object", "required": ["greeting"]}))
    feed(constraint, content)
    assert constraint.ended


def test_a_character_that_was_begun_must_be_finished(constraints: Constraints) -> None:
    constraint = constraints.compile(regex("☂"))
    first, *rest = TOKENIZER.encode("☂").ids
    constraint.accept(first)
    assert allowed(constraint, VOCABULARY) == [rest[0]]


def test_blanks_between_the_parts_of_json_do_not_go_on_without_end(constraints: Constraints) -> None:
    constraint = constraints.compile(JSON_OBJECT)
    feed(constraint, '{\n  "a": {\n    "b": [1, 2]\n  }\n}')
    assert constraint.ended
    constraint = constraints.compile(JSON_OBJECT)
    feed(constraint, "{  ")
    assert TOKENIZER.encode(" ").ids[0] not in allowed(constraint, VOCABULARY)


def test_rows_of_one_batch_do_not_influence_each_other(constraints: Constraints) -> None:
    wanted = [regex("a+"), None, schema({"enum": ["x", "y"]}), regex("a+"), grammar(SUMS)]
    together = [constraints.compile(w) if w else None for w in wanted]
    alone = [constraints.compile(w) if w else None for w in wanted]
    choice = np.random.default_rng(0)
    out = np.zeros((len(wanted), constraints.words), np.int32)
    for _ in range(20):
        assert not fill_masks(together, out)
        assert (out[1] == -1).all()
        for row, (one, other) in enumerate(zip(together, alone, strict=True)):
            if one is None or other is None or one.ended:
                continue
            tokens = tokens_of(out[row], VOCABULARY)
            assert tokens == allowed(other, VOCABULARY)
            token = int(choice.choice(tokens))
            one.accept(token)
            other.accept(token)


def test_padded_tokens_are_never_allowed(constraints: Constraints) -> None:
    assert max(allowed(constraints.compile(regex("(.|\n)*")), VOCABULARY)) < TOKENIZER.get_vocab_size()


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused() -> None:
    made = Constraints(TOKENIZER, 100, ENDS, 1 << 16)
    try:
        with pytest.raises(InvalidInput, match="cannot be used with this model"):
            made.compile(JSON_OBJECT)
    finally:
        made.close()
