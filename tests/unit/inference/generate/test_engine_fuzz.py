"""Whatever a request says, it is refused when it is admitted, or ends in a bounded number of steps with an output or
an error of its own; and whoever runs beside it does not notice.

FOREBAY_FUZZ_EXAMPLES makes each test try more requests than the hundred of a usual run.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from inference.engine import (
    Choice,
    Chunk,
    Done,
    Failed,
    FormatKind,
    GenerateOutput,
    GenerateRequest,
    Message,
    ResponseFormat,
    Update,
)
from inference.generate import GenerateEngine
from inference.importers import import_model
from scheduler.errors import InvalidInput
from scheduler.states import Level
from tests.reference.tiny_llama import write_tiny_llama

from .tiny import answer, choice_of, free, opened, quiet

pytestmark = pytest.mark.timeout(120)

CONTEXT = 48
VOCABULARY = 266
"""Tokens of the tiny model."""
MOST_ANSWERS = 16
MOST_STEPS = (MOST_ANSWERS + 4) * (CONTEXT + 2)
"""As if every row had to wait for all others, and read its prompt token by token."""

fuzzed = settings(
    max_examples=int(os.environ.get("FOREBAY_FUZZ_EXAMPLES") or 100),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GenerateEngine]:
    """One for all examples: what one of them breaks, the next ones find."""
    path: Path = tmp_path_factory.mktemp("fuzz")
    file = write_tiny_llama(path / "tiny.gguf", context=CONTEXT)
    folder = import_model(file, path / "model", quantization="none", report=quiet)
    engine = opened(folder, slots=6, prefill_tokens=7)
    yield engine
    engine.close()


numbers = st.one_of(
    st.floats(),
    st.sampled_from([0.0, -0.0, 1.0, 2.0, 1e-320, 1e308, math.nan, math.inf, -math.inf]),
    st.floats(0, 2),
)
whole = st.one_of(
    st.integers(), st.integers(-2, 20), st.sampled_from([1 << 31, 1 << 63, 1 << 64, -(1 << 63)])
)
texts = st.one_of(
    st.text(max_size=80),
    st.sampled_from(
        ["", " ", "\x00", "the", "<|im_end|>", "<|im_start|>" * 5, "\ud7ff\ue000", "é" * 30, "z" * 5000]
    ),
)
token_ids = st.one_of(st.integers(0, VOCABULARY - 1), whole)
definitions = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "",
            "{",
            "{}",
            "null",
            "[]",
            "false",
            '{"type": "string"}',
            '{"type": "integer", "minimum": 5, "maximum": 1}',
            '{"$ref": "#"}',
            '{"$ref": "http://127.0.0.1:1/schema.json"}',
            '{"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}',
            '{"type": "array", "items": {"$ref": "#"}, "minItems": 1}',
            '{"enum": []}',
            '{"type": "string", "pattern": "(((((a*)*)*)*)*)$"}',
            '{"type": "string", "minLength": 1000000000}',
            '{"allOf": [' + '{"type": "object"},' * 90 + "{}]}",
            "[" * 1000,
            "[a-z]+",
            "(",
            "a{1,100000}{1,100000}",
            "(?=look)ahead",
            "(a|a)*b",
            'start: "yes" | "no"',
            "start: start",
            'start: start "a" | "b"',
            "start: missing",
            'start: /(/ "a"',
            "%import common.NUMBER\nstart: NUMBER",
            "x" * 300_000,
        ]
    ),
)
formats = st.builds(ResponseFormat, st.sampled_from(FormatKind), definitions)
messages = st.lists(
    st.builds(Message, st.one_of(st.sampled_from(["user", "assistant", "system"]), texts), texts), max_size=3
).map(tuple)

odd_fields: dict[str, st.SearchStrategy[Any]] = {
    "max_tokens": whole,
    "temperature": numbers,
    "top_p": numbers,
    "top_k": whole,
    "min_p": numbers,
    "seed": st.one_of(st.none(), whole),
    "stop": st.lists(texts, max_size=20).map(tuple),
    "ignore_eos": st.booleans(),
    "stop_token_ids": st.lists(token_ids, max_size=70).map(tuple),
    "repetition_penalty": numbers,
    "presence_penalty": numbers,
    "frequency_penalty": numbers,
    "logit_bias": st.dictionaries(token_ids, numbers, max_size=8),
    "logprobs": st.one_of(st.none(), whole),
    "n": whole,
    "response_format": st.one_of(st.none(), formats),
    "level": st.sampled_from(Level),
    "tenant": texts,
}
prompted: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries({"prompt": texts}),
    st.fixed_dictionaries({"messages": messages}),
    st.fixed_dictionaries({"prompt": texts, "messages": messages}),
    st.just({}),
)
odd = st.tuples(prompted, st.fixed_dictionaries({}, optional=odd_fields)).map(
    lambda parts: GenerateRequest(**{"max_tokens": 12, **parts[0], **parts[1]})
)
"""Each field may be odd, or keep its default: so that some requests have one fault, and some none."""

sound_fields: dict[str, st.SearchStrategy[Any]] = {
    "prompt": st.text("the inran\n", min_size=1, max_size=20),
    "max_tokens": st.integers(1, 60),
    "temperature": st.sampled_from([0.0, 1e-6, 0.7, 2.0]),
    "top_p": st.sampled_from([1e-9, 0.5, 1.0]),
    "top_k": st.sampled_from([0, 1, 5, 1 << 40]),
    "min_p": st.sampled_from([0.0, 0.3, 1.0]),
    "seed": st.one_of(st.none(), st.integers(0, (1 << 64) - 1)),
    "stop": st.lists(st.text("the ", min_size=1, max_size=3), max_size=3).map(tuple),
    "ignore_eos": st.booleans(),
    "repetition_penalty": st.sampled_from([0.1, 1.0, 2.0]),
    "presence_penalty": st.sampled_from([-2.0, 0.0, 2.0]),
    "frequency_penalty": st.sampled_from([-2.0, 0.0, 2.0]),
    "logit_bias": st.dictionaries(st.integers(0, VOCABULARY - 1), st.floats(-100, 100), max_size=5),
    "logprobs": st.one_of(st.none(), st.integers(0, 5)),
    "n": st.integers(1, 6),
    "response_format": st.one_of(st.none(), formats),
    "level": st.sampled_from(Level),
}
sound = st.fixed_dictionaries({}, optional=sound_fields).map(
    lambda fields: GenerateRequest(**{"prompt": "the", "max_tokens": 12, **fields})
)


@fuzzed
@given(odd)
def test_an_odd_request_is_refused_or_ends_and_its_neighbours_do_not_notice(
    engine: GenerateEngine, request_: GenerateRequest
) -> None:
    run_beside_neighbours(engine, [request_])


@fuzzed
@given(st.lists(sound, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_sound_requests_in_any_company_end_and_keep_their_limits(
    engine: GenerateEngine, requests: list[GenerateRequest], chance: Any
) -> None:
    run_beside_neighbours(engine, requests, cancelled=chance.choice([None, 0]))


def run_beside_neighbours(
    engine: GenerateEngine, requests: list[GenerateRequest], cancelled: int | None = None
) -> None:
    """Run requests to their ends; `cancelled` is the index of one that is forgotten on the way."""
    neighbours = {
        "short": free("the inn", 2),
        **{f"early {seed}": drawn("rain in the", 24, seed) for seed in range(3)},
        # It has more to read than a step reads, and does so in the slot that the short one leaves below the others.
        "late": drawn("the rain in the inn", 20, 3),
    }
    expected = {key: answer(engine, request) for key, request in neighbours.items()}
    updates: dict[str, list[Update]] = {key: [] for key in neighbours}
    for key, request in neighbours.items():
        if key == "late":
            while not any(isinstance(update, Done) for update in updates["short"]):
                for update in engine.step():
                    updates[update.key].append(update)
        engine.admit(key, request)
    admitted = {
        str(index): request for index, request in enumerate(requests) if admit(engine, index, request)
    }
    updates |= {key: [] for key in admitted}
    steps = 0
    while engine.active:
        steps += 1
        assert steps <= MOST_STEPS * (len(admitted) + 1)
        for update in engine.step():
            updates[update.key].append(update)
        if steps == 3 and cancelled is not None and str(cancelled) in admitted:
            engine.cancel(str(cancelled))
            del admitted[str(cancelled)]
    stats = engine.stats()
    assert (stats.running, stats.waiting, stats.preempted, stats.kv_tokens) == (0, 0, 0, 0)
    for key in neighbours:
        assert_same(choice_of(updates[key]), expected[key])
    for key, request in admitted.items():
        check(request, updates[key])


def drawn(prompt: str, tokens: int, seed: int) -> GenerateRequest:
    return free(prompt, tokens, temperature=0.8, seed=seed, logprobs=0)


def assert_same(found: Choice, expected: Choice) -> None:
    """Compare tokens, and by their logprobs what they were drawn from; float32 adds in another order in a batch."""
    assert (found.text, found.token_ids) == (expected.text, expected.token_ids)
    for one, other in zip(found.logprobs, expected.logprobs, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-3)


def admit(engine: GenerateEngine, index: int, request: GenerateRequest) -> bool:
    """Admit a request; False when it was refused, with a reason for each fault."""
    try:
        engine.admit(str(index), request)
    except InvalidInput as error:
        event("refused")
        assert error.faults
        assert all(fault.field and fault.fault for fault in error.faults)
        return False
    event("admitted")
    return True


def check(request: GenerateRequest, updates: list[Update]) -> None:
    """Compare what came of a request with what it asked for, and its pieces with the whole."""
    assert all(isinstance(update, Chunk) for update in updates[:-1])
    last = updates[-1]
    if isinstance(last, Failed):
        event(f"failed: {type(last.error).__name__}")
        return
    assert isinstance(last, Done)
    assert isinstance(last.output, GenerateOutput)
    assert len(last.output.choices) == request.n
    chunks = [update for update in updates if isinstance(update, Chunk)]
    chunks += [] if last.tail is None else [last.tail]
    for index, choice in enumerate(last.output.choices):
        pieces = [chunk for chunk in chunks if chunk.index == index]
        assert "".join(chunk.text for chunk in pieces) == choice.text
        assert [token for chunk in pieces for token in chunk.token_ids] == list(choice.token_ids)
        assert 1 <= len(choice.token_ids) <= min(request.max_tokens, CONTEXT - last.output.input_tokens)
        assert not any(stop in choice.text for stop in request.stop)
        if request.logprobs is not None:
            assert len(choice.logprobs) == len(choice.token_ids)
            assert all(logprob.logprob <= 1e-6 for logprob in choice.logprobs)
