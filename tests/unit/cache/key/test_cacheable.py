"""What may be answered twice with one computation."""

from dataclasses import replace
from typing import Any

import pytest

from cache.key import CacheMode, EmbedQuestion, Question, Refusal, TensorQuestion, Verdict, canonical, judge
from forebay.tasks.v1 import inputs_pb2
from tests.unit.cache.key.asking import MODEL, asked


def generation(**fields: Any) -> Question:
    return asked(inputs_pb2.GenerateInput(prompt="a", **fields))


CHAT = asked(inputs_pb2.GenerateInput(messages=inputs_pb2.ChatMessages()))
TENSORS = Question(MODEL, TensorQuestion((), ()))
EMBED = Question(MODEL, EmbedQuestion(("a",), normalize=True))


@pytest.mark.parametrize(
    "question",
    [
        generation(),
        generation(temperature=0),
        generation(temperature=1e-6, n=4),
        generation(temperature=1, seed=0),
        generation(temperature=1, seed=7, n=4),
        CHAT,
        TENSORS,
        EMBED,
    ],
)
def test_what_comes_out_the_same_each_time_is_cached(question: Question) -> None:
    assert judge(question) == Verdict()
    assert judge(question, cache_sampled=True) == Verdict(), "the answer is not called one of many"


@pytest.mark.parametrize("temperature", [1.1e-5, 0.5, float("nan")])
def test_what_is_sampled_without_a_seed_is_cached_only_where_a_setting_says_so(temperature: float) -> None:
    question = generation(temperature=temperature)
    assert judge(question) == Verdict(Refusal.SAMPLED)
    assert judge(question, cache_sampled=True) == Verdict(sampled=True)


@pytest.mark.parametrize("question", [generation(), TENSORS, EMBED])
def test_a_model_that_draws_is_sampled_whatever_is_asked(question: Question) -> None:
    drawing = replace(question, model=replace(MODEL, draws=True))
    assert judge(drawing) == Verdict(Refusal.SAMPLED)
    assert judge(drawing, cache_sampled=True) == Verdict(sampled=True)


@pytest.mark.parametrize("cache_sampled", [False, True])
def test_state_between_calls_is_never_cached(cache_sampled: bool) -> None:
    stateful = replace(TENSORS, model=replace(MODEL, stateful=True))
    in_sequence = replace(TENSORS, asked=TensorQuestion((), (), in_sequence=True))
    for question in (stateful, in_sequence):
        assert judge(question, cache_sampled=cache_sampled) == Verdict(Refusal.SEQUENCE)


@pytest.mark.parametrize("question", [generation(), CHAT, TENSORS, EMBED])
def test_a_model_that_nobody_knows_exactly_is_not_cached(question: Question) -> None:
    unknown = replace(question, model=replace(MODEL, identity=b""))
    assert judge(unknown) == Verdict(Refusal.MODEL_UNKNOWN)


@pytest.mark.parametrize("question", [generation(), CHAT, TENSORS, EMBED])
def test_what_has_a_field_that_nobody_here_knows_is_not_cached(question: Question) -> None:
    unread = replace(question, asked=replace(question.asked, unread=True))
    assert judge(unread, cache_sampled=True) == Verdict(Refusal.UNKNOWN_FIELD)
    assert canonical(unread) == canonical(question)


def test_a_template_that_tells_the_time_keeps_chats_out_and_prompts_in() -> None:
    model = replace(MODEL, unsteady_chats=True)
    assert judge(replace(CHAT, model=model), cache_sampled=True) == Verdict(Refusal.UNSTEADY_CHAT)
    assert judge(replace(generation(), model=model)) == Verdict()


@pytest.mark.parametrize(
    ("mode", "does"),
    [
        (CacheMode.DEFAULT, (True, True, True)),
        (CacheMode.BYPASS, (False, False, True)),
        (CacheMode.REFRESH, (False, True, True)),
        (CacheMode.ONLY, (True, False, False)),
    ],
)
def test_what_a_mode_reads_fills_and_computes(mode: CacheMode, does: tuple[bool, bool, bool]) -> None:
    assert (mode.reads, mode.fills, mode.computes) == does
