"""What an answer must not depend on: the company it is generated in, caches, pauses, and how its prompt was read.

The real model, because a tiny one hides what only many layers and real kernels show. Arrival orders are random; the
seed is printed, and FOREBAY_GENERATION_SEED names one to try again.
"""

import json
import os
import random
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from inference.engine import (
    Choice,
    Done,
    Failed,
    Finish,
    FormatKind,
    GenerateOutput,
    GenerateRequest,
    ResponseFormat,
)
from inference.generate import GenerateEngine
from inference.settings import EngineSettings
from scheduler.states import Level
from tests.fixtures.components import missing
from tests.integration.test_smollm2 import TEXT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SEED = "FOREBAY_GENERATION_SEED"
PROMPTS = 64
STEPS_AT_MOST = 20_000

Requests = Mapping[str, GenerateRequest]
Outputs = dict[str, GenerateOutput]


@pytest.fixture
def chance() -> random.Random:
    """The test's random choices; the same again with FOREBAY_GENERATION_SEED set to the printed number."""
    seed = int(os.environ.get(SEED) or random.SystemRandom().randrange(1 << 32))
    print(f"{SEED}={seed}")  # noqa: T201  pytest shows it with a failure
    return random.Random(seed)


@pytest.fixture(scope="module")
def alone(chat_folder: Path) -> dict[str, Choice]:
    """What each request of the batch answers when nothing else is in the engine, and no cache knows its prompt."""
    found = {}
    with opened(chat_folder, prefix_cache_bytes=0) as engine:
        for key, request in batch().items():
            (found[key],) = generated(engine, {key: request}, None)[key].choices
    return found


@contextmanager
def opened(folder: Path, **settings: Any) -> Iterator[GenerateEngine]:
    defaults = {"slots": 8, "context_length": 1024, "prefill_tokens": 48}
    engine = GenerateEngine.open(folder, EngineSettings(**{**defaults, **settings}), lambda sentence: None)
    engine.warm_up()
    if not engine.card.batch_invariant:
        missing(
            "arithmetic that is the same in any batch", "the kernels of this machine add in another order"
        )
    yield engine
    engine.close()


def batch() -> dict[str, GenerateRequest]:
    """64 requests whose prompts have from 3 to about 130 tokens; half of them begin alike; a third draw by a seed."""
    requests = {}
    for number in range(PROMPTS):
        length = 8 + number * number // 8
        text = f"{number}. {TEXT[number : number + length]}" if number % 2 else TEXT[:length]
        drawing: dict[str, Any] = {}
        if number % 3 == 0:
            drawing = {"temperature": 0.9, "top_p": 0.95, "top_k": 50, "seed": number}
        requests[f"r{number}"] = GenerateRequest(
            prompt=text, max_tokens=3 + number % 7, ignore_eos=True, **drawing
        )
    return requests


def generated(engine: GenerateEngine, requests: Requests, chance: random.Random | None) -> Outputs:
    """Run requests to their ends; with `chance` they arrive in random order, a few before each step, as room allows."""
    waiting = list(requests)
    if chance is not None:
        chance.shuffle(waiting)
    outputs: Outputs = {}
    for _ in range(STEPS_AT_MOST):
        arriving = len(waiting) if chance is None else chance.choice((0, 0, 1, 2, 5))
        while arriving and waiting:
            level = requests[waiting[-1]].level
            if engine.active >= engine.capacity and not engine.preemptable(level):
                break
            key = waiting.pop()
            engine.admit(key, requests[key])
            arriving -= 1
        for update in engine.step():
            assert not isinstance(update, Failed), update
            if isinstance(update, Done):
                assert isinstance(update.output, GenerateOutput)
                outputs[update.key] = update.output
        if not waiting and not engine.active:
            return outputs
    raise AssertionError(f"{len(waiting)} wait and {engine.active} run after {STEPS_AT_MOST} steps")


def assert_same(found: Outputs, alone: Mapping[str, Choice]) -> None:
    different = {
        key: (list(output.choices[0].token_ids), list(alone[key].token_ids))
        for key, output in found.items()
        if output.choices[0] != alone[key]
    }
    assert not different
    assert found.keys() == alone.keys()


@pytest.mark.parametrize("preemption", [False, True], ids=["in peace", "paused by CRITICAL ones"])
@pytest.mark.parametrize("cache", [False, True], ids=["no prefix cache", "prefix cache"])
def test_64_prompts_in_random_order_answer_as_each_does_alone(
    chat_folder: Path, alone: dict[str, Choice], chance: random.Random, cache: bool, preemption: bool
) -> None:
    requests = batch()
    settings: dict[str, Any] = {} if cache else {"prefix_cache_bytes": 0}
    if preemption:
        settings["slots"] = 4
        for key in chance.sample(sorted(requests), PROMPTS // 3):
            requests[key] = replace(requests[key], level=Level.CRITICAL)
    else:
        settings["preemption_bytes"] = 0
    with opened(chat_folder, **settings) as engine:
        found = generated(engine, requests, chance)
        stats = engine.stats()
    assert_same(found, alone)
    assert bool(stats.preemptions) == preemption
    assert bool(stats.prefix_hits) == cache
    assert any(output.cached_tokens for output in found.values()) == cache
    assert (stats.running, stats.waiting, stats.preempted) == (0, 0, 0)


def test_a_prompt_read_in_pieces_answers_as_one_read_at_once(chat_folder: Path) -> None:
    request = GenerateRequest(prompt=TEXT[:1200], max_tokens=12, ignore_eos=True, logprobs=3)
    with opened(chat_folder, slots=2, prefill_tokens=1024, prefix_cache_bytes=0) as engine:
        expected = generated(engine, {"a": request}, None)["a"]
    assert expected.input_tokens > 200
    # The last of these would leave a piece of one token, for which kernels may have a way of their own.
    for tokens in (64, 13, expected.input_tokens - 1):
        with opened(chat_folder, slots=2, prefill_tokens=tokens, prefix_cache_bytes=0) as engine:
            assert generated(engine, {"a": request}, None)["a"].choices == expected.choices, tokens


def test_the_same_prompt_again_and_with_more_behind_it_answers_the_same_from_the_cache(
    chat_folder: Path,
) -> None:
    requests = {
        str(length): GenerateRequest(prompt=TEXT[:length], max_tokens=6, ignore_eos=True)
        for length in (700, 900, 1300)
    }
    hits = []
    with (
        opened(chat_folder, slots=2, prefix_cache_bytes=0) as uncached,
        opened(chat_folder, slots=2) as cached,
    ):
        for key in ("900", "900", "1300", "700"):
            expected = generated(uncached, {key: requests[key]}, None)[key]
            found = generated(cached, {key: requests[key]}, None)[key]
            assert found.choices == expected.choices
            assert found.input_tokens == expected.input_tokens
            hits.append(found.cached_tokens)
    assert hits[0] == 0
    assert all(0 < tokens < 1300 for tokens in hits[1:])


def test_several_answers_to_one_prompt_are_those_that_their_seeds_give_in_any_company(
    chat_folder: Path, chance: random.Random
) -> None:
    request = GenerateRequest(
        prompt=TEXT[:300], max_tokens=10, ignore_eos=True, temperature=1.0, seed=11, n=3
    )
    crowd = {"several": request, **dict(list(batch().items())[:10])}
    with opened(chat_folder) as engine:
        expected = generated(engine, {"several": request}, None)["several"]
        found = generated(engine, crowd, chance)["several"]
    assert len({tuple(choice.token_ids) for choice in expected.choices}) > 1
    assert found.choices == expected.choices


LIKES = ["rivers", "mills", "swallows"]
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "likes": {"enum": LIKES},
    },
    "required": ["name", "age", "likes"],
    "additionalProperties": False,
}


def constrained(folder: Path) -> dict[str, GenerateRequest]:
    """Three answers of each form; and one object that nothing but its form keeps from ending as soon as it can."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    opening, closing = (tokenizer.encode(brace).ids[0] for brace in "{}")
    formats = {
        "schema": ResponseFormat(FormatKind.JSON_SCHEMA, json.dumps(PERSON)),
        "object": ResponseFormat(FormatKind.JSON_OBJECT),
        "regex": ResponseFormat(FormatKind.REGEX, "[A-Z][a-z]{2,8}, [0-9]{4}"),
        "grammar": ResponseFormat(FormatKind.GRAMMAR, 'start: "the mill" | "the river"'),
    }
    requests = {
        f"{name} {seed}": GenerateRequest(
            prompt="Ines Moreau, 41, as JSON:\n",
            max_tokens=80,
            temperature=0.8,
            seed=seed,
            response_format=format_,
        )
        for name, format_ in formats.items()
        for seed in range(3)
    }
    requests["object short"] = replace(requests["object 0"], logit_bias={opening: 50.0, closing: 100.0})
    return requests


def test_constrained_answers_keep_their_form_and_leave_their_neighbours_alone(
    chat_folder: Path, alone: dict[str, Choice], chance: random.Random
) -> None:
    free = dict(list(batch().items())[:12])
    with opened(chat_folder) as engine:
        outputs = generated(engine, {**constrained(chat_folder), **free}, chance)
    assert_same({key: outputs.pop(key) for key in free}, {key: alone[key] for key in free})
    for key, output in outputs.items():
        (choice,) = output.choices
        if key.startswith("object"):
            # Nothing bounds the others but max_tokens, which may cut them.
            assert choice.text.startswith("{")
            if choice.finish is Finish.STOP or key == "object short":
                assert isinstance(json.loads(choice.text), dict)
            continue
        assert choice.finish is Finish.STOP, (key, choice.text)
        if key.startswith("schema"):
            assert_person(json.loads(choice.text))
        elif key.startswith("regex"):
            assert re.fullmatch("[A-Z][a-z]{2,8}, [0-9]{4}", choice.text)
        else:
            assert choice.text in ("the mill", "the river")


def assert_person(person: Any) -> None:
    assert list(person) == ["name", "age", "likes"]
    assert len(person["name"]) <= 12
    assert person["age"] in range(121)
    assert person["likes"] in LIKES
