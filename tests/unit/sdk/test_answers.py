"""Answers of several choices, as users get them."""

import pytest

from forebay.client import Choice, GenerateResult, TokenLogprob, TopLogprob, Unavailable, Usage, reading
from forebay.client.retry import transient
from forebay.tasks.v1 import inputs_pb2
from forebay.tasks.v1.task_pb2 import Result, Task, TaskState
from forebay.tasks.v1.task_service_pb2 import StreamOutputResponse

STOP, LENGTH = inputs_pb2.FINISH_REASON_STOP, inputs_pb2.FINISH_REASON_LENGTH


def logprob(token: int, value: float, *top: tuple[int, float]) -> inputs_pb2.TokenLogprob:
    return inputs_pb2.TokenLogprob(
        token_id=token,
        logprob=value,
        top=[inputs_pb2.TopLogprob(token_id=other, logprob=number) for other, number in top],
    )


def answered() -> Task:
    result = Result()
    generate = result.generate
    generate.text, generate.finish_reason = "one", STOP
    generate.token_ids.append(5)
    generate.logprobs.append(logprob(5, -0.5, (5, -0.5), (6, -1.5)))
    generate.others.add(index=1, text="two", token_ids=[6, 7], finish_reason=LENGTH)
    result.usage.input_tokens, result.usage.output_tokens, result.usage.cached_tokens = 70, 3, 64
    return Task(id="t", state=TaskState.TASK_STATE_SUCCEEDED, result=result)


def test_a_result_has_its_first_answer_where_a_single_one_would_be() -> None:
    task = reading.info(answered())
    assert isinstance(task.result, GenerateResult)
    assert (task.text, task.result.text, task.result.finish_reason) == ("one", "one", "stop")
    assert task.result.others == (Choice(1, "two", (6, 7), "length"),)


def test_all_answers_are_choices() -> None:
    first, second = reading.info(answered()).choices
    logprobs = (TokenLogprob(5, -0.5, (TopLogprob(5, -0.5), TopLogprob(6, -1.5))),)
    assert first == Choice(0, "one", (5,), "stop", logprobs)
    assert (second.index, second.text, second.logprobs) == (1, "two", ())


def test_usage_tells_what_a_cache_held() -> None:
    assert reading.info(answered()).usage == Usage(input_tokens=70, output_tokens=3, cached_tokens=64)


def test_a_single_answer_is_the_only_choice() -> None:
    task = answered()
    del task.result.generate.others[:]
    assert [choice.text for choice in reading.info(task).choices] == ["one"]


def test_tensors_have_no_choices() -> None:
    task = Task(id="t", state=TaskState.TASK_STATE_SUCCEEDED)
    task.result.tensors.SetInParent()
    with pytest.raises(TypeError, match="tensors, not text"):
        _ = reading.info(task).choices


def test_a_chunk_tells_what_is_new_of_each_choice() -> None:
    answer = StreamOutputResponse(sequence=3, text="a", token_ids=[1], logprobs=[logprob(1, -0.25)])
    answer.others.add(index=2, text="b", token_ids=[2], finish_reason=STOP)
    chunk = reading.chunk(answer)
    assert chunk.logprobs == (TokenLogprob(1, -0.25),)
    assert [(one.index, one.text, one.finish_reason) for one in chunk.choices] == [
        (0, "a", ""),
        (2, "b", "stop"),
    ]


def test_vectors_are_an_array_with_what_was_read_of_each_text() -> None:
    result = Result()
    result.embed.embeddings.add(values=[0.5, 1.5], tokens=3)
    result.embed.embeddings.add(values=[2.5, 3.5], tokens=256, truncated=True)
    task = reading.info(Task(id="t", state=TaskState.TASK_STATE_SUCCEEDED, result=result))
    assert task.embeddings.vectors.tolist() == [[0.5, 1.5], [2.5, 3.5]]
    assert (task.embeddings.tokens, task.embeddings.truncated) == ((3, 256), (False, True))
    for wrong in ("text", "tensors"):
        with pytest.raises(TypeError, match="returned vectors"):
            getattr(task, wrong)
    with pytest.raises(TypeError, match="returned text, not vectors"):
        _ = reading.info(answered()).embeddings


def test_a_call_whose_runner_went_is_not_made_again_by_itself() -> None:
    assert transient(Unavailable("away", reason="MODEL_NOT_READY", retry_after_s=1.0))
    assert not transient(Unavailable("gone", reason="RUNNER_GONE", retry_after_s=1.0))


def test_a_task_says_whether_anything_was_executed_for_it() -> None:
    ended = TaskState.TASK_STATE_SUCCEEDED
    assert [reading.info(Task(id="t", state=ended, cached=cached)).cached for cached in (True, False)] == [
        True,
        False,
    ]
