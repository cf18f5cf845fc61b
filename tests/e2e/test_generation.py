"""A real language model through the doors that people use for it: the command line, the examples, plain stubs."""

import os
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
QUESTION = "What is the capital of France?"


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


def test_every_example_is_run_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        "submit_and_wait.py",
        "stream_tokens.py",
        "many_with_priorities.py",
    }


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
