"""Rows that share an engine: several answers, prompts with a common beginning, pauses, constraints."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.engine import (
    Chunk,
    Done,
    Failed,
    FormatKind,
    GenerateOutput,
    GenerateRequest,
    ResponseFormat,
)
from inference.generate import GenerateEngine
from inference.generate.session import DecoderSession
from scheduler.errors import InvalidInput, ModelUnusable
from scheduler.states import Level

from .tiny import answer, choice_of, drained, free, opened, output_of

COMMON = "the same beginning of every prompt, which is longer than a block of the cache is: "


def test_several_answers_to_one_prompt_are_those_of_their_own_seeds(engine: GenerateEngine) -> None:
    one = answer(engine, free("go", 12, temperature=1.0, seed=7))
    engine.admit("three", free("go", 12, temperature=1.0, seed=7, n=3))
    assert engine.active == 3
    updates = drained(engine)["three"]
    output = output_of(updates)
    assert output.choices[0].token_ids == one.token_ids
    assert len({tuple(choice.token_ids) for choice in output.choices}) == 3
    assert (output.input_tokens, output.output_tokens) == (2, 36)
    last = updates[-1]
    assert isinstance(last, Done)
    assert last.tail is not None
    chunks = [update for update in updates if isinstance(update, Chunk)] + [last.tail]
    for index, choice in enumerate(output.choices):
        own = [chunk for chunk in chunks if chunk.index == index]
        assert "".join(chunk.text for chunk in own) == choice.text
        assert own[-1].finish == choice.finish


def test_more_answers_than_slots_come_one_after_the_other(engine: GenerateEngine) -> None:
    engine.admit("many", free("go", 5, temperature=1.0, seed=1, n=9))
    assert engine.active == 9
    output = output_of(drained(engine)["many"])
    assert [len(choice.token_ids) for choice in output.choices] == [5] * 9


def test_logprobs_come_with_every_token_when_they_are_asked_for(engine: GenerateEngine) -> None:
    choice = answer(engine, free("go", 6, logprobs=3))
    assert [entry.token for entry in choice.logprobs] == list(choice.token_ids)
    for entry in choice.logprobs:
        assert len(entry.top) == 3
        assert entry.top[0] == (entry.token, entry.logprob)
    assert answer(engine, free("go", 6)).logprobs == ()


def test_a_stop_token_ends_an_answer_that_ignores_the_models_own_end(engine: GenerateEngine) -> None:
    whole = answer(engine, free("go", 12, temperature=1.0, seed=3))
    stop = whole.token_ids[5]
    cut = answer(engine, free("go", 12, temperature=1.0, seed=3, stop_token_ids=(stop,)))
    assert cut.finish == "stop"
    assert list(cut.token_ids) == list(whole.token_ids[: whole.token_ids.index(stop) + 1])


def test_a_common_beginning_is_computed_once_and_changes_no_answer(folder: Path) -> None:
    cached, plain = opened(folder), opened(folder, prefix_cache_bytes=0)
    prompts = [COMMON + end for end in ("one", "two", "three")]
    for number, prompt in enumerate(prompts):
        cached.admit("p", free(prompt, 8))
        output = output_of(drained(cached)["p"])
        assert output.choices[0].token_ids == answer(plain, free(prompt, 8)).token_ids
        assert (output.cached_tokens > 0) == (number > 0)
    stats = cached.stats()
    assert 0 < stats.prefix_hits < stats.prefix_queries
    assert plain.stats().prefix_queries == 0


def test_prompts_that_arrive_together_share_their_beginning(folder: Path) -> None:
    engine = opened(folder)
    for number in range(3):
        engine.admit(str(number), free(COMMON + str(number), 4))
    updates = drained(engine)
    assert [output_of(updates[str(number)]).cached_tokens > 0 for number in range(3)] == [False, True, True]


def test_another_tenants_beginning_is_not_recognised_unless_it_is_shared(folder: Path) -> None:
    for shared in (False, True):
        engine = opened(folder, prefix_cache_shared=shared)
        found = []
        for tenant in ("a", "b"):
            engine.admit("p", free(COMMON, 2, tenant=tenant))
            found.append(output_of(drained(engine)["p"]).cached_tokens > 0)
        assert found == [False, shared]


def test_a_critical_request_pauses_the_least_urgent_row_which_then_goes_on_as_if_nothing_had_been(
    folder: Path,
) -> None:
    engine = opened(folder, slots=2)
    requests = {
        "low": free("low and slow", 30, temperature=1.0, seed=1, level=Level.LOW),
        "normal": free("normal", 30, temperature=1.0, seed=2),
        "critical": free("now", 5, level=Level.CRITICAL),
    }
    alone = {key: answer(engine, request).token_ids for key, request in requests.items()}
    for key in ("low", "normal"):
        engine.admit(key, requests[key])
    for _ in range(10):
        engine.step()
    assert engine.preemptable(Level.HIGH) == 0
    assert engine.preemptable(Level.CRITICAL) == 2
    engine.admit("critical", requests["critical"])
    first = engine.step()
    assert "critical" in {update.key for update in first}
    stats = engine.stats()
    assert (stats.running, stats.preempted, stats.preemptions) == (2, 1, 1)
    updates = {key: list(found) for key, found in drained(engine).items()}
    assert {key: choice_of(updates[key]).token_ids for key in requests} == alone
    order = list(updates)
    assert order.index("critical") < order.index("low")


def test_a_row_that_was_paused_while_it_read_its_prompt_reads_it_again(folder: Path) -> None:
    engine = opened(folder, slots=1, prefill_tokens=8)
    low = free(COMMON, 6, level=Level.LOW)
    alone = answer(engine, low).token_ids
    engine.admit("low", low)
    engine.step()
    engine.admit("critical", free("now", 3, level=Level.CRITICAL))
    updates = drained(engine)
    assert choice_of(updates["low"]).token_ids == alone
    assert engine.stats().preemptions == 1


def test_a_paused_row_can_be_cancelled(folder: Path) -> None:
    engine = opened(folder, slots=1)
    engine.admit("low", free("low", 30, level=Level.LOW))
    engine.step()
    engine.admit("critical", free("now", 3, level=Level.CRITICAL))
    engine.step()
    engine.cancel("low")
    assert list(drained(engine)) == ["critical"]
    assert engine.stats().preempted == 0


def test_nothing_is_paused_without_memory_for_it(folder: Path) -> None:
    engine = opened(folder, slots=1, preemption_bytes=0)
    engine.admit("low", free("low", 30, level=Level.LOW))
    engine.step()
    assert engine.preemptable(Level.CRITICAL) == 0


def test_a_row_that_has_just_read_its_prompt_is_not_disturbed_by_the_run_that_follows(
    engine: GenerateEngine,
) -> None:
    requests = {key: free(key * 9, tokens) for key, tokens in {"a": 2, "b": 20, "c": 20}.items()}
    alone = {key: answer(engine, request).token_ids for key, request in requests.items()}
    engine.admit("a", requests["a"])
    engine.admit("b", requests["b"])
    together = {}
    while engine.active:
        for update in engine.step():
            if isinstance(update, Done):
                together[update.key] = choice_of([update]).token_ids
                if update.key == "a":
                    # Takes the slot below the one of b, which generates.
                    engine.admit("c", requests["c"])
    assert together == alone


def test_the_engine_tells_whose_rows_have_a_part_in_a_run(folder: Path) -> None:
    engine = opened(folder, slots=2)
    told: list[list[str]] = []
    engine.tell_runs(lambda keys: told.append(list(keys)))
    for key in "abc":
        engine.admit(key, free(key, 3 if key == "a" else 5))
    engine.step()
    assert told == [["a", "b"]]
    drained(engine)
    assert told[1:] == [["b", "c"], ["c"]]


def test_rows_move_together_when_others_leave(folder: Path, reached: list[int]) -> None:
    engine = opened(folder)
    alone = answer(engine, free("stays", 30)).token_ids
    reached.clear()
    for number in range(3):
        engine.admit(str(number), free("goes", 4))
    engine.admit("stays", free("stays", 30))
    assert choice_of(drained(engine)["stays"]).token_ids == alone
    assert reached[0] == 4
    assert reached[-20:] == [1] * 20


def test_a_json_schema_is_kept_to_beside_free_rows(engine: GenerateEngine) -> None:
    schema = json.dumps(
        {"type": "object", "properties": {"n": {"type": "integer", "maximum": 9}}, "required": ["n"],
         "additionalProperties": False}
    )  # fmt: skip
    form = ResponseFormat(FormatKind.JSON_SCHEMA, schema)
    free_alone = answer(engine, free("free", 20)).token_ids
    engine.admit("json", GenerateRequest(prompt="go", max_tokens=60, response_format=form))
    engine.admit("free", free("free", 20))
    updates = drained(engine)
    choice = choice_of(updates["json"])
    assert choice.finish == "stop"
    assert json.loads(choice.text)["n"] <= 9
    assert choice_of(updates["free"]).token_ids == free_alone


def test_a_grammar_that_cannot_be_is_refused_and_holds_nobody_up(engine: GenerateEngine) -> None:
    bad = GenerateRequest(prompt="go", response_format=ResponseFormat(FormatKind.REGEX, "(("))
    engine.admit("bad", bad)
    engine.admit("good", free("go", 3))
    updates = drained(engine)
    [refused] = updates["bad"]
    assert isinstance(refused, Failed)
    assert isinstance(refused.error, InvalidInput)
    assert "response_format" in str(refused.error)
    assert choice_of(updates["good"]).finish == "length"
    # Now it is known.
    with pytest.raises(InvalidInput, match="response_format"):
        engine.admit("bad", bad)
    assert engine.active == 0


def test_a_request_can_be_cancelled_while_its_grammar_is_compiled(engine: GenerateEngine) -> None:
    form = ResponseFormat(FormatKind.REGEX, "[a-z]{3}")
    engine.admit("gone", GenerateRequest(prompt="go", response_format=form))
    engine.cancel("gone")
    assert engine.active == 0
    assert not engine.step()


def test_a_step_tells_where_its_time_went(engine: GenerateEngine) -> None:
    engine.admit("a", free("some text", 3))
    engine.step()
    assert engine.times.prefill_tokens > 0
    [(key, piece_s)] = engine.times.pieces
    assert key == "a"
    assert 0 < piece_s == engine.times.prefill_s
    assert engine.times.decode_rows == 0
    engine.step()
    times = engine.times
    assert (times.prefill_tokens, times.decode_rows) == (0, 1)
    assert not times.pieces
    assert min(times.decode_s, times.sample_s, times.other_s) > 0
    assert engine.stats().kv_tokens > 0


def test_answers_do_not_depend_on_the_batch_and_the_card_says_so(engine: GenerateEngine) -> None:
    assert not engine.card.batch_invariant
    engine.warm_up()
    assert engine.card.batch_invariant


def test_a_model_whose_runs_differ_by_their_size_is_found_out(
    engine: GenerateEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = DecoderSession.decode

    def differs(self: DecoderSession, tokens: Any, held: Any) -> Any:
        return decode(self, tokens, held) + np.float32(len(tokens))

    monkeypatch.setattr(DecoderSession, "decode", differs)
    engine.warm_up()
    assert not engine.card.batch_invariant


def test_fewer_slots_are_had_where_memory_is_short_and_none_is_refused(folder: Path) -> None:
    engine = opened(folder, kv_memory_bytes=200_000)
    assert 1 <= engine.capacity < 4
    with pytest.raises(ModelUnusable, match="set a shorter context"):
        opened(folder, kv_memory_bytes=1000)


def test_an_output_counts_all_its_tokens() -> None:
    assert GenerateOutput([], 3, 0.0).output_tokens == 0
