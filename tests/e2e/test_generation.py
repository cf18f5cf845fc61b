"""A real language model through the doors that people use for it: the command line, the examples, plain stubs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from forebay.client import Client, TaskState, task_spec
from forebay.tasks.v1 import inputs_pb2, task_pb2, task_service_pb2, task_service_pb2_grpc
from tests.fixtures.system import CHAT_MODEL
from tests.system import System, run_cli

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

EXAMPLES = Path(__file__).parents[2] / "examples"
QUESTION = "Name the capital of France."


def run_example(system: System, name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "FOREBAY_ADDRESS": system.grpc},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_run_here_or_beside_it() -> None:
    here = {"submit_and_wait.py", "stream_tokens.py", "many_with_priorities.py"}
    beside = {"triton_client.py", "find_similar.py", "nearest_texts.py"}
    assert {path.name for path in EXAMPLES.glob("*.py")} == here | beside


def test_the_example_that_waits_gets_the_answer(chat_system: System) -> None:
    said = run_example(chat_system, "submit_and_wait.py", "--prompt", QUESTION)
    assert "Paris" in said
    assert "tokens in" in said


def test_the_example_that_streams_prints_the_answer_to_its_end(chat_system: System) -> None:
    said = run_example(chat_system, "stream_tokens.py", "--prompt", QUESTION)
    assert "Paris" in said
    assert said.rstrip().endswith(("[succeeded: stop]", "[succeeded: length]"))


def test_the_example_of_priorities_answers_every_task_of_every_level(chat_system: System) -> None:
    said = run_example(chat_system, "many_with_priorities.py", "--count", "2")
    for level in ("critical", "high", "normal", "low"):
        assert sum(f" {level} " in line and "succeeded" in line for line in said.splitlines()) == 2


def test_the_command_line_streams_the_text_that_waiting_shows(chat_system: System) -> None:
    submit = ("submit", "--model", CHAT_MODEL, "--prompt", QUESTION, "--max-tokens", "24")
    streamed = run_cli(chat_system.grpc, *submit, "--stream")
    waited = run_cli(chat_system.grpc, *submit, "--wait")
    assert (streamed.returncode, waited.returncode) == (0, 0), streamed.stderr + waited.stderr
    assert "Paris" in streamed.stdout
    assert streamed.stdout.strip() == waited.stdout.strip()


def test_stubs_stream_without_gaps_from_the_beginning_and_from_the_middle(chat_system: System) -> None:
    with grpc.insecure_channel(chat_system.grpc) as channel:
        tasks = task_service_pb2_grpc.TaskServiceStub(channel)
        spec = task_spec(CHAT_MODEL, prompt="One, two, three,", max_tokens=24, ignore_eos=True)
        request = task_service_pb2.SubmitTasksRequest(tasks=[spec])
        task_id = tasks.SubmitTasks(request, timeout=10).results[0].task.id

        def output(after: int) -> list[task_service_pb2.StreamOutputResponse]:
            wanted = task_service_pb2.StreamOutputRequest(id=task_id, after_sequence=after)
            return list(tasks.StreamOutput(wanted, timeout=60))

        chunks = output(0)
        assert [chunk.sequence for chunk in chunks] == list(range(1, len(chunks) + 1))
        assert chunks[-1].state == task_pb2.TASK_STATE_SUCCEEDED
        assert chunks[-1].finish_reason == inputs_pb2.FINISH_REASON_LENGTH
        assert not any(chunk.state for chunk in chunks[:-1])
        assert output(len(chunks) // 2) == chunks[len(chunks) // 2 :]

        result = tasks.GetTask(task_service_pb2.GetTaskRequest(id=task_id), timeout=10).task.result
        assert "".join(chunk.text for chunk in chunks) == result.generate.text
        assert [token for chunk in chunks for token in chunk.token_ids] == list(result.generate.token_ids)
        assert result.usage.output_tokens == 24


def test_several_answers_come_with_logprobs_and_the_stream_has_what_the_result_has(
    chat_system: System,
) -> None:
    with Client(chat_system.grpc) as client:
        asked = {"prompt": "Once upon a time", "max_tokens": 12, "temperature": 1.0, "seed": 7}
        task = client.submit(CHAT_MODEL, **asked, n=3, logprobs=2)  # type: ignore[arg-type]
        texts, tokens = ["", "", ""], [0, 0, 0]
        for chunk in client.stream(task, timeout_s=60):
            for new in chunk.choices:
                assert len(new.logprobs) == len(new.token_ids)
                texts[new.index] += new.text
                tokens[new.index] += len(new.token_ids)
        ended = client.wait(task, 60)
        alone = client.wait(client.submit(CHAT_MODEL, **asked), 60)  # type: ignore[arg-type]
    assert [choice.text for choice in ended.choices] == texts
    assert [len(choice.token_ids) for choice in ended.choices] == tokens
    assert ended.usage is not None and ended.usage.output_tokens == sum(tokens)
    assert all(choice.finish_reason in ("stop", "length") for choice in ended.choices)
    for choice in ended.choices:
        assert all(len(one.top) == 2 and one.top[0].logprob >= one.logprob for one in choice.logprobs)
    assert len(set(texts)) > 1
    assert alone.text == texts[0]


def test_an_answer_is_held_to_its_format_and_one_that_cannot_be_is_the_askers_fault(
    chat_system: System,
) -> None:
    schema = {
        "type": "object",
        "properties": {
            "city": {"enum": ["Paris", "Rome"]},
            "inhabitants": {"type": "integer", "minimum": 0, "maximum": 99999999},
        },
        "required": ["city", "inhabitants"],
        "additionalProperties": False,
    }
    with Client(chat_system.grpc) as client:
        chat = [{"role": "user", "content": QUESTION}]
        handles = client.submit_many(
            [
                task_spec(CHAT_MODEL, messages=chat, response_format={"json_schema": schema}),
                task_spec(
                    CHAT_MODEL, messages=chat, response_format={"regex": "(Paris|Rome), [A-Z][a-z]{3,9}"}
                ),
                task_spec(CHAT_MODEL, messages=chat, response_format={"grammar": 'start: "yes" | "no"'}),
                task_spec(CHAT_MODEL, messages=chat, response_format={"regex": "(unclosed"}),
            ]
        )
        document, matched, word, refused = client.wait_many(handles, 60)
    answer = json.loads(document.text)
    assert answer["city"] in ("Paris", "Rome") and isinstance(answer["inhabitants"], int)
    assert re.fullmatch("(Paris|Rome), [A-Z][a-z]{3,9}", matched.text)
    assert word.text in ("yes", "no")
    assert refused.error is not None and refused.attempt == 1
    assert (refused.error.code, refused.error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT")


def test_a_generation_that_is_cancelled_ends_its_stream_and_frees_the_runner(chat_system: System) -> None:
    with Client(chat_system.grpc) as client:
        task = client.submit(CHAT_MODEL, prompt="Once", max_tokens=2000, ignore_eos=True)
        chunks = client.stream(task, timeout_s=60)
        assert next(chunks).text
        assert client.cancel(task).cancelled == 1
        with pytest.raises(Exception, match="is cancelled"):
            list(chunks)
        after = client.wait(client.submit(CHAT_MODEL, prompt="One, two,", max_tokens=4), 60)
        assert after.state is TaskState.SUCCEEDED
        assert client.get(task).result is None


def test_what_a_language_model_cannot_take_fails_at_its_runner_by_field(chat_system: System) -> None:
    with Client(chat_system.grpc) as client:
        handles = client.submit_many(
            [
                task_spec(CHAT_MODEL, tensors={"x": [1.0]}),
                task_spec(CHAT_MODEL, prompt="word " * 20_000, max_tokens=4),
                task_spec(CHAT_MODEL, prompt="One, two,", max_tokens=4),
            ]
        )
        tensors, long, good = client.wait_many(handles, 60)
    assert good.state is TaskState.SUCCEEDED
    for task, field in ((tensors, "tensors"), (long, "generate.prompt")):
        assert task.state is TaskState.FAILED and task.error is not None
        assert (task.error.code, task.error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT")
        assert [fault.field for fault in task.error.faults] == [field]


def test_a_critical_answer_comes_while_low_ones_have_all_slots_and_more_of_them_wait(
    chat_system: System,
) -> None:
    low = task_spec(
        CHAT_MODEL, prompt="Once", max_tokens=600, ignore_eos=True, priority="low", temperature=1.0, seed=1
    )
    urgent = task_spec(CHAT_MODEL, prompt="Now", max_tokens=5, ignore_eos=True, priority="critical")
    with Client(chat_system.grpc) as client:
        flood = client.submit_many([low] * 80)
        # The runner holds what it can take of them, and its slots are full.
        next(iter(client.stream(flood[0], timeout_s=60)))
        [first] = client.submit_many([urgent])
        assert client.wait(first, timeout_s=60).state is TaskState.SUCCEEDED
        states = [client.get(task).state for task in flood]
        assert TaskState.SUCCEEDED not in states
        assert TaskState.RUNNING in states
        for task in flood:
            client.cancel(task)
