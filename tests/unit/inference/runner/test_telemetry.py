"""What is told of finished work."""

from typing import Any

import pytest

from inference.engine import Choice, Finish, GenerateOutput
from inference.runner.outcomes import Outcome
from inference.runner.telemetry import Telemetry
from observability import names, tracing
from observability.metrics import RunnerMetrics, new_registry, page
from scheduler.ports.records import Ending, Written
from scheduler.states import TaskState

from .fakes import held

PARENT = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"


def outcome(key: str, *others: Choice, traced: bool = True, generated: bool = True) -> Outcome:
    task = held(key)
    task.traceparent = PARENT if traced else ""
    task.operation = "chat" if generated else ""
    task.admitted_s = 101.0
    choice = Choice("secret answer", [1, 2, 3], Finish.STOP)
    output = GenerateOutput([choice, *others], 7, 0.5) if generated else None
    return Outcome(task, Ending(key, 1, TaskState.SUCCEEDED), 103.0, output)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = []

    def emit(name: str, **given: Any) -> str:
        written.append({"name": name, **given})
        return f"span of {name}"

    monkeypatch.setattr(tracing, "enabled", lambda: True)
    monkeypatch.setattr(tracing, "emit", emit)
    return written


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(RunnerMetrics(new_registry(), "m"), model="m", provider="CPU", runner="r-1")


def test_a_traced_generation_has_a_span_and_its_write_below_it(
    telemetry: Telemetry, spans: list[dict[str, Any]]
) -> None:
    telemetry.finished([outcome("a")], [Written.WRITTEN], 0.002)
    execution, write = spans
    assert (execution["name"], execution["parent"]) == ("chat m", PARENT)
    assert execution["attributes"][names.TASK_ID] == "a"
    assert execution["attributes"][names.TASK_ATTEMPT] == 1
    assert execution["attributes"][names.GEN_AI_USAGE_INPUT_TOKENS] == 7
    assert execution["attributes"][names.GEN_AI_USAGE_OUTPUT_TOKENS] == 3
    assert execution["attributes"][names.RUNNER_PROVIDER] == "CPU"
    assert (write["name"], write["parent"]) == ("EVALSHA finish", "span of chat m")
    assert execution["start_ns"] <= write["start_ns"] <= write["end_ns"] == execution["end_ns"]
    assert "secret" not in str(spans)


def test_the_span_of_several_choices_counts_the_tokens_of_all_and_has_the_reason_of_each(
    telemetry: Telemetry, spans: list[dict[str, Any]]
) -> None:
    telemetry.finished([outcome("a", Choice("more", [1, 2], Finish.LENGTH))], [Written.WRITTEN], 0.0)
    attributes = spans[0]["attributes"]
    assert attributes[names.GEN_AI_USAGE_OUTPUT_TOKENS] == 5
    assert attributes[names.GEN_AI_RESPONSE_FINISH_REASONS] == "stop,length"


def test_a_tensor_task_is_an_execution(telemetry: Telemetry, spans: list[dict[str, Any]]) -> None:
    telemetry.finished([outcome("a", generated=False)], [Written.WRITTEN], 0.0)
    assert spans[0]["name"] == names.SPAN_EXECUTE


def test_nothing_is_traced_of_untraced_tasks_and_of_what_the_fence_refused(
    telemetry: Telemetry, spans: list[dict[str, Any]]
) -> None:
    telemetry.finished([outcome("a", traced=False), outcome("b")], [Written.WRITTEN, Written.FENCED], 0.0)
    assert spans == []


def test_tokens_and_times_are_counted_for_what_became_visible() -> None:
    registry = new_registry()
    telemetry = Telemetry(RunnerMetrics(registry, "m"), model="m", provider="CPU", runner="r-1")
    telemetry.finished([outcome("a"), outcome("b")], [Written.ALREADY, Written.FENCED], 0.0)
    text = page(registry)[0].decode()
    assert 'forebay_tokens_output_total{model="m"} 3.0' in text
    assert 'forebay_task_execute_duration_seconds_sum{model="m"} 3.0' in text
    assert 'gen_ai_server_time_to_first_token_seconds_sum{model="m"} 1.5' in text


def test_choices_are_written_side_by_side_so_the_longest_tells_how_long_a_token_took() -> None:
    registry = new_registry()
    telemetry = Telemetry(RunnerMetrics(registry, "m"), model="m", provider="CPU", runner="r-1")
    telemetry.finished([outcome("a", Choice("more", [1] * 6, Finish.LENGTH))], [Written.WRITTEN], 0.0)
    text = page(registry)[0].decode()
    assert 'forebay_tokens_output_total{model="m"} 9.0' in text
    assert 'gen_ai_server_time_per_output_token_seconds_sum{model="m"} 0.3' in text
