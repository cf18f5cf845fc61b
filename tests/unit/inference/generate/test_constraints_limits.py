"""What is malformed, impossible or too much is refused, in bounded time, and no word of it is repeated."""

import json
import re
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from inference.engine import FormatKind, ResponseFormat
from inference.generate.constraints import Constraints, fill_masks
from inference.generate.constraints.cache import BoundedCache
from inference.generate.constraints.faults import fault_of
from inference.generate.constraints.sandbox import Sandbox
from scheduler.errors import InvalidInput, ModelFailed

from .constrained import END, PADDED, byte_level_tokenizer, grammar, regex, schema

ENDS = frozenset({END})
TOKENIZER = byte_level_tokenizer()
VOCABULARY = TOKENIZER.get_vocab_size() + PADDED
LIMIT = 1 << 18
BOUND_S = 18.0
"""Far over what anything takes, and far under the hours or the crash that the library would need without limits."""


def json_text(definition: str) -> ResponseFormat:
    return ResponseFormat(FormatKind.JSON_SCHEMA, definition)


def chain(rules: int) -> str:
    return "start: r0\n" + "".join(f'r{i}: "a" r{i + 1}\n' for i in range(rules)) + f'r{rules}: "c"'


def doubling(levels: int, keyword: str) -> ResponseFormat:
    """Return a schema whose size doubles with each level when its references are written out."""
    both = [{"$ref": f"#/$defs/d{level + 1}"} for level in range(levels) for _ in range(2)]
    definitions = {f"d{level}": {keyword: both[2 * level : 2 * level + 2]} for level in range(levels)}
    definitions[f"d{levels}"] = {"type": "string", "pattern": "^(a|b)+$"}  # type: ignore[dict-item]
    return schema({"$defs": definitions, "$ref": "#/$defs/d0"})


@pytest.fixture(scope="module")
def constraints() -> Iterator[Constraints]:
    made = Constraints(TOKENIZER, VOCABULARY, ENDS, LIMIT)
    yield made
    made.close()


def refusal(constraints: Constraints, wanted: ResponseFormat) -> str:
    with pytest.raises(InvalidInput) as refused:
        constraints.compile(wanted)
    (fault,) = refused.value.faults
    assert fault.field == "generate.response_format"
    return fault.fault


@pytest.mark.parametrize(
    ("wanted", "fault"),
    [
        (json_text("{"), "is not JSON: .* at line 1, column 2"),
        (json_text(""), "is not JSON"),
        (json_text('{"a": NaN}'), "is not JSON"),
        (json_text("[]"), "must be a JSON object"),
        (json_text("false"), "allows no answer at all"),
        (json_text("9" * 5000), "number that is too long"),
        (json_text("[" * 100_000), "nested too deeply"),
        (json_text('{"items":' * 20_000 + "1" + "}" * 20_000), "nested too deeply"),
        (json_text('{"items":' * 200 + "{}" + "}" * 200), "nested too deeply"),
        (schema({"type": "secret"}), "is not a JSON schema that can be used"),
        (schema({"type": "string", "pattern": "(secret"}), "malformed"),
        (schema({"type": "string", "format": "secret"}), "string format"),
        (schema({"$ref": "#/$defs/secret"}), r"\$ref that leads nowhere"),
        (schema({"$ref": "http://127.0.0.1/secret"}), r"\$ref that leads nowhere"),
        (schema({"not": {"const": "secret"}}), "keywords that are not supported: not"),
        (schema({"oneOf": [{"type": "string"}, {"maxLength": 2, "type": "string"}]}), "oneOf"),
        (schema({"allOf": [{"type": "string"}, {"type": "integer"}]}), "allows no answer"),
        (schema({"type": "integer", "minimum": 5, "maximum": 3}), "allows no answer"),
        (schema({"enum": []}), "allows no answer"),
        (schema({"$ref": "#"}), "allows no answer"),
        (regex("(secret"), "malformed"),
        (regex("secret(?=a)"), "look-around"),
        (regex(r"\bsecret"), "word boundaries"),
        (regex(r"(secret)\1"), "back-references"),
        (regex(r"[^\s\S]"), "allows no answer"),
        (regex("(" * 50_000 + "a" + ")" * 50_000), "malformed"),
        (regex("secret\\"), "middle of an escape"),
        (regex("a\0b"), "NUL"),
        (regex("\ud800"), "surrogate"),
        (grammar(" \n"), "empty grammar"),
        (grammar('secret: "a"'), "no rule named start"),
        (grammar('start: "a"\n  | secret'), r"does not define \(line 1, column 8\)"),
        (grammar('start "secret"'), r"Lark grammar that can be used \(line 1, column 7\)"),
        (grammar("start: <|secret|>"), "special tokens"),
        (grammar("start: start"), "allows no answer"),
        (grammar("start: A\nA: /a+/ & /b+/"), "allows no answer"),
        (grammar("start: A\nA: B\nB: A"), "nothing but themselves"),
    ],
)
def test_what_is_malformed_or_impossible_is_refused_without_repeating_it(
    constraints: Constraints, wanted: ResponseFormat, fault: str
) -> None:
    said = refusal(constraints, wanted)
    assert re.search(fault, said), said
    assert "secret" not in said


ALTERNATIVES = [f"r{index}" for index in range(8000)]
TOO_MUCH = {
    "references that double": doubling(30, "allOf"),
    "choices that multiply": schema(
        {"allOf": [{"anyOf": [{"required": [f"a{i}"]}, {"required": [f"b{i}"]}]} for i in range(40)]}
    ),
    "multiples": schema({"allOf": [{"type": "integer", "multipleOf": n} for n in (9973, 9967)]}),
    "rules that are chained too deeply for the stack": grammar(chain(5000)),
    "an answer without end": grammar('start: "a" start'),
    "rules with parameters": grammar('start: p::0\np::_ : "a" p::incr([0:64])'),
    "alternatives by the thousand": grammar(
        f"start: {' | '.join(ALTERNATIVES)}\n" + "".join(f'{name}: "{name}" "z"\n' for name in ALTERNATIVES)
    ),
    "repetitions of repetitions": regex("((((a{1,100}){1,100}){1,100}){1,100}){1,100}"),
    "a million forced characters": regex("(a{1000}){1000}"),
}
HEAVY = {
    "a huge enum": schema({"enum": [f"value-{i * 7919 % 10007}" for i in range(10_000)]}),
    "a long constant": schema({"const": "x" * 100_000}),
    "references that double": doubling(30, "anyOf"),
    "recursion": schema({"type": "array", "items": {"$ref": "#"}}),
    "recursion without end": schema(
        {"type": "object", "properties": {"n": {"$ref": "#"}}, "required": ["n"]}
    ),
    "2000 optional members": schema(
        {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(2000)}}
    ),
    "patterns of members": schema(
        {"type": "object", "patternProperties": {f"^(a|b)*x{i}(c|d){{1,30}}$": {} for i in range(60)}}
    ),
    "a pattern of many states": schema({"type": "string", "pattern": "(a|aa)+.{500}b.{500}"}),
    "a million items": schema({"type": "array", "items": {}, "minItems": 1_000_000}),
    "a million choices": regex("(a|b|c|d){1000}{1000}"),
    "an expression of many states": regex(".*a.{400}b.{400}"),
    "an expression that backtracks elsewhere": regex("(a+)+$"),
    "an ambiguous grammar": grammar('start: s\ns: s s s | s s | "a" |'),
    "a left-recursive grammar": grammar('start: start "a" | "b"'),
}


@pytest.mark.parametrize("wanted", TOO_MUCH.values(), ids=TOO_MUCH.keys())
def test_what_would_take_too_long_is_refused_in_time(
    constraints: Constraints, wanted: ResponseFormat
) -> None:
    began = time.monotonic()
    refusal(constraints, wanted)
    assert time.monotonic() - began < BOUND_S
    began = time.monotonic()
    refusal(constraints, wanted)
    assert time.monotonic() - began < 1.0, "a refusal is remembered"


@pytest.mark.parametrize("wanted", HEAVY.values(), ids=HEAVY.keys())
def test_what_is_heavy_compiles_and_generates_in_time_or_is_refused(
    constraints: Constraints, wanted: ResponseFormat
) -> None:
    began = time.monotonic()
    choice = np.random.default_rng(0)
    out = np.zeros((1, constraints.words), np.int32)
    try:
        constraint = constraints.compile(wanted)
        for _ in range(100):
            if fill_masks([constraint], out) or constraint.ended:
                break
            bits = np.unpackbits(out[0].view(np.uint8), bitorder="little")
            bits[END] = 0
            constraint.accept(int(choice.choice(np.flatnonzero(bits))))
    except InvalidInput as error:
        assert "too complex" in str(error)
    assert time.monotonic() - began < BOUND_S


def test_a_definition_over_the_limit_is_refused_with_the_numbers(constraints: Constraints) -> None:
    assert refusal(constraints, regex("ä" * LIMIT)) == f"has {2 * LIMIT} bytes; at most {LIMIT} are taken"


def test_a_grammar_that_ends_its_trial_leaves_the_next_one_unharmed(constraints: Constraints) -> None:
    refusal(constraints, grammar(chain(5001)))
    constraints.compile(regex("after a crash"))


def test_a_trial_that_does_not_answer_in_time_is_ended_and_not_remembered() -> None:
    made = Constraints(TOKENIZER, VOCABULARY, ENDS, LIMIT, Sandbox(cpu_s=60.0, wall_s=0.05))
    try:
        assert "too complex" in refusal(made, TOO_MUCH["multiples"])
        assert len(made._cache) == 0
    finally:
        made.close()


def test_a_process_that_cannot_be_started_is_no_fault_of_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Constraints(TOKENIZER, VOCABULARY, ENDS, LIMIT)
    try:
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        with pytest.raises(ModelFailed, match="cannot be started"):
            made.compile(regex("a"))
        monkeypatch.setattr(sys, "executable", "/bin/false")
        with pytest.raises(ModelFailed, match="does not come up"):
            made.compile(regex("a"))
    finally:
        made.close()


def test_a_row_that_becomes_too_complex_fails_alone(constraints: Constraints) -> None:
    heavy, light = constraints.compile(regex(".*a.{400}b.{400}")), constraints.compile(regex("[a-z ]*"))
    heavy._left_s = -1.0
    out = np.zeros((2, constraints.words), np.int32)
    faults = fill_masks([heavy, light], out)
    assert set(faults) == {0}
    assert "slows down" in str(faults[0])
    assert (out[0] == -1).all() and not (out[1] == -1).all()


def test_time_runs_out_for_a_row_whose_masks_take_long(constraints: Constraints) -> None:
    constraint = constraints.compile(regex("[a-z]*"))
    clock = iter(range(1000))
    constraint._cpu_s = lambda: float(next(clock))
    out = np.zeros((1, constraints.words), np.int32)
    assert "slows down" in str(fill_masks([constraint], out)[0])


def test_what_rows_have_learned_is_dropped_when_it_is_much(constraints: Constraints) -> None:
    wanted = regex("renewed [a-z]+")
    first = constraints.compile(wanted)
    matcher = _matcher(constraints, wanted)
    first._learned(0.001)
    assert _matcher(constraints, wanted) is matcher
    first._learned(1.0)
    assert _matcher(constraints, wanted) is not matcher
    first._learned(1.0)
    assert _matcher(constraints, wanted) is not None


def _matcher(constraints: Constraints, wanted: ResponseFormat) -> object:
    constraints.compile(wanted)
    (newest,) = list(constraints._cache._held.values())[-1:]
    return newest[0].matcher


def test_the_cache_lets_go_of_what_was_used_longest_ago() -> None:
    cache: BoundedCache[str] = BoundedCache(entries=2, size_bytes=10)
    cache.put(b"a", "A", 1)
    cache.put(b"b", "B", 1)
    assert cache.get(b"a") == "A"
    cache.put(b"c", "C", 1)
    assert cache.get(b"b") is None
    cache.put(b"d", "D", 9)
    assert (cache.get(b"a"), cache.get(b"c"), cache.get(b"d")) == (None, "C", "D")
    cache.put(b"e", "E", 11)
    assert cache.get(b"e") is None
    assert cache.size_bytes == 10
    cache.drop(b"c")
    assert (len(cache), cache.size_bytes) == (1, 9)


def test_only_known_keywords_are_named() -> None:
    said = fault_of(FormatKind.JSON_SCHEMA, 'Unimplemented keys: ["if", "then", "a client\'s own"]')
    assert said.endswith("not supported: if, then")


def test_nothing_can_be_compiled_after_the_end_and_the_process_is_gone() -> None:
    made = Constraints(TOKENIZER, VOCABULARY, ENDS, LIMIT)
    made.prepare().result()
    process = made._sandbox._process
    assert process is not None and process.poll() is None
    made.close()
    made.close()
    assert process.poll() is not None
    with pytest.raises(RuntimeError):
        made.compile(json_text(json.dumps({"type": "object"})))


def test_the_end_does_not_wait_for_a_trial() -> None:
    made = Constraints(TOKENIZER, VOCABULARY, ENDS, LIMIT, Sandbox(cpu_s=60.0, wall_s=60.0))
    made.prepare().result()
    running = made.submit(TOO_MUCH["multiples"])
    waiting = made.submit(regex("a"))
    while not running.running():
        assert not running.done()
    made.close()
    assert isinstance(running.exception(timeout=0), InvalidInput | ModelFailed)
    assert waiting.cancelled()


def test_the_schema_that_allows_anything_is_taken(constraints: Constraints) -> None:
    assert not constraints.compile(json_text("true")).can_end
