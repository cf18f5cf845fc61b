import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from inference.engine import Chunk, Done, Failed, GenerateRequest, Message, TensorRequest, Update
from inference.generate import GenerateEngine
from inference.generate.session import DecoderSession
from scheduler.errors import InvalidInput, ModelFailed, ModelOutOfMemory, ModelUnusable
from tests.reference.llama_numpy import LlamaReference

from .tiny import CONTEXT, answer, choice_of, drained, free, opened, output_of


def test_greedy_tokens_are_those_of_plain_numpy(
    engine: GenerateEngine, gguf_file: Path, folder: Path
) -> None:
    output = answer(engine, free("the rain", 12))
    tokens: list[int] = Tokenizer.from_file(str(folder / "tokenizer.json")).encode("the rain").ids
    reference = LlamaReference(gguf_file)
    for token in output.token_ids:
        assert token == int(reference.logits(tokens)[-1].argmax())
        tokens.append(token)


def test_chunks_and_tail_make_the_whole_answer(engine: GenerateEngine) -> None:
    engine.admit("a", free("x", 40, temperature=1.0, seed=5))
    updates = drained(engine)["a"]
    output, choice = output_of(updates), choice_of(updates)
    done = updates[-1]
    assert isinstance(done, Done)
    assert done.tail is not None
    chunks = [update for update in updates if isinstance(update, Chunk)] + [done.tail]
    assert "".join(chunk.text for chunk in chunks) == choice.text
    assert [token for chunk in chunks for token in chunk.token_ids] == list(choice.token_ids)
    assert [chunk.finish for chunk in chunks] == [None] * 39 + ["length"]
    assert (output.output_tokens, choice.finish, output.input_tokens) == (40, "length", 1)
    assert output.time_to_first_token_s > 0


def test_rows_of_different_lengths_answer_as_they_do_alone(engine: GenerateEngine) -> None:
    requests = {f"r{i}": free("the " * i, 30 - 6 * i, temperature=0.7, seed=i) for i in range(1, 5)}
    alone = {key: answer(engine, request) for key, request in requests.items()}
    for key, request in requests.items():
        engine.admit(key, request)
    together = {key: choice_of(updates) for key, updates in drained(engine).items()}
    assert {k: v.token_ids for k, v in together.items()} == {k: v.token_ids for k, v in alone.items()}


def test_long_prompts_are_read_in_pieces_while_others_generate(
    folder: Path,
) -> None:
    engine = opened(folder, prefill_tokens=7)
    long = free("a long prompt of many letters and pieces", 9)
    alone, first = answer(engine, long), answer(engine, free("go", 3))
    engine.admit("first", free("go", 3))
    engine.admit("long", long)
    updates = drained(engine)
    assert choice_of(updates["long"]).token_ids == alone.token_ids
    assert choice_of(updates["first"]).token_ids == first.token_ids


def test_a_cancelled_row_is_gone_and_its_neighbours_are_not_disturbed(engine: GenerateEngine) -> None:
    requests = {f"r{i}": free("ab" * i, 20) for i in range(1, 5)}
    alone = {key: answer(engine, request).token_ids for key, request in requests.items()}
    for key, request in requests.items():
        engine.admit(key, request)
    seen: dict[str, list[Update]] = {}
    for step in range(200):
        if step == 3:
            engine.cancel("r1")
            engine.cancel("nobody")
            assert engine.active == 3
            seen.pop("r1", None)
        for update in engine.step():
            seen.setdefault(update.key, []).append(update)
        if not engine.active:
            break
    assert sorted(seen) == ["r2", "r3", "r4"]
    assert {key: choice_of(updates).token_ids for key, updates in seen.items()} == {k: alone[k] for k in seen}


def test_the_end_marker_stops_unless_it_is_ignored(folder: Path, tmp_path: Path) -> None:
    token = answer(opened(folder), free("hello", 1)).token_ids[0]
    config = json.loads((folder / "genai_config.json").read_text())
    config["model"]["eos_token_id"] = [2, token]
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "genai_config.json").write_text(json.dumps(config))
    engine = opened(tmp_path)
    output = answer(engine, GenerateRequest(prompt="hello", max_tokens=5))
    assert (output.finish, output.text, list(output.token_ids)) == ("stop", "", [token])
    assert len(answer(engine, free("hello", 5)).token_ids) == 5


def test_a_stop_string_ends_the_answer_before_it(engine: GenerateEngine) -> None:
    whole = answer(engine, free("hi", 40, temperature=1.0, seed=3)).text
    stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
    output = answer(engine, free("hi", 40, temperature=1.0, seed=3, stop=(stop,)))
    assert output.finish == "stop"
    assert output.text == whole[: whole.index(stop)]


def test_a_full_context_ends_the_answer(engine: GenerateEngine) -> None:
    engine.admit("only", free("z" * 100, 10_000))
    output = output_of(drained(engine)["only"])
    [choice] = output.choices
    assert (choice.finish, output.input_tokens, output.output_tokens) == ("length", 100, CONTEXT - 100)


def test_a_prompt_that_does_not_fit_is_refused_with_the_numbers(engine: GenerateEngine) -> None:
    with pytest.raises(InvalidInput, match=r"generate\.prompt: has 128 tokens; the model's context is 128"):
        engine.admit("a", free("z" * CONTEXT, 1))
    assert engine.active == 0


def test_a_shorter_context_can_be_set(folder: Path) -> None:
    engine = opened(folder, context_length=16)
    assert engine.card.context_length == 16
    assert len(answer(engine, free("z" * 10, 100)).token_ids) == 6


def test_every_fault_of_a_request_is_named(engine: GenerateEngine) -> None:
    request = GenerateRequest(
        prompt="a",
        messages=(Message("user", "b"),),
        max_tokens=0,
        temperature=math.nan,
        top_p=0.0,
        top_k=-1,
        min_p=1.5,
        seed=-1,
        stop=("",) * 17,
        repetition_penalty=0.0,
        presence_penalty=math.nan,
        frequency_penalty=-3.0,
        logprobs=21,
        n=17,
        logit_bias={-1: 0.0},
        stop_token_ids=(1 << 20,),
    )
    with pytest.raises(InvalidInput) as caught:
        engine.admit("a", request)
    named = [fault.field.removeprefix("generate.") for fault in caught.value.faults]
    expected = ["input", "max_tokens", "temperature", "top_p", "top_k", "min_p"]
    expected += ["presence_penalty", "frequency_penalty", "repetition_penalty", "logprobs", "n", "seed"]
    expected += ["stop", *(f"stop[{index}]" for index in range(17)), "logit_bias", "stop_token_ids"]
    assert named == expected


def test_tensors_are_refused(engine: GenerateEngine) -> None:
    with pytest.raises(InvalidInput, match="takes a prompt"):
        engine.admit("a", TensorRequest({}))


def test_messages_go_through_the_template_with_its_markers_recognised(engine: GenerateEngine) -> None:
    chat = answer(engine, GenerateRequest(messages=(Message("user", "hi"),), max_tokens=4, ignore_eos=True))
    written = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert answer(engine, free(written, 4)).token_ids == chat.token_ids


def test_a_failing_run_is_repeated_row_by_row_and_fails_only_those_at_fault(
    engine: GenerateEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = answer(engine, free("b", 5))
    one = DecoderSession.decode_one
    engine.admit("a", free("a", 5))
    engine.admit("b", free("b", 5))
    engine.step()

    def broken(*arguments: object) -> None:
        raise RuntimeError("the device is gone")

    def broken_for_the_first(self: DecoderSession, slot: int, token: int, held: int) -> Any:
        return broken() if slot == 0 else one(self, slot, token, held)

    with monkeypatch.context() as patch:
        patch.setattr(DecoderSession, "decode", broken)
        patch.setattr(DecoderSession, "decode_one", broken_for_the_first)
        updates = {update.key: update for update in engine.step()}
    failed = updates["a"]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, ModelFailed)
    assert engine.active == 1
    assert choice_of(drained(engine)["b"]).token_ids == alone.token_ids


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("BFCArena::AllocateRawInternal Failed to allocate")]
)
def test_a_run_without_memory_is_told_apart(
    engine: GenerateEngine, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def starved(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(DecoderSession, "prefill", starved)
    engine.admit("a", free("a", 5))
    (update,) = engine.step()
    assert isinstance(update, Failed)
    assert isinstance(update.error, ModelOutOfMemory)
    assert engine.active == 0


def test_logits_that_are_not_numbers_fail_only_their_row(
    engine: GenerateEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.admit("a", free("a", 5))
    engine.admit("b", free("b", 5))
    engine.step()
    engine.step()
    decode = DecoderSession.decode

    def spoiled(self: DecoderSession, tokens: Any, held: Any) -> Any:
        logits = decode(self, tokens, held)
        logits[0] = np.nan
        return logits

    with monkeypatch.context() as patch:
        patch.setattr(DecoderSession, "decode", spoiled)
        kinds = {update.key: type(update) for update in engine.step()}
    assert kinds == {"a": Failed, "b": Chunk}


def test_warm_up_and_close_leave_nothing_behind(engine: GenerateEngine) -> None:
    engine.warm_up()
    assert engine.active == 0
    engine.close()
    engine.close()


def test_the_card_says_what_is_loaded(engine: GenerateEngine) -> None:
    assert engine.card.kind == "generate"
    assert engine.card.provider == "CPUExecutionProvider"
    assert len(engine.card.digest) == 64
    assert engine.capacity == 4


def test_a_config_that_does_not_fit_the_model_is_refused(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "genai_config.json").read_text())
    config["model"]["decoder"]["inputs"]["attention_mask"] = "mask"
    (tmp_path / "genai_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnusable, match="has no input mask"):
        opened(tmp_path)
    (tmp_path / "genai_config.json").write_text('{"model": {}}')
    with pytest.raises(ModelUnusable, match="has no value decoder"):
        opened(tmp_path)
