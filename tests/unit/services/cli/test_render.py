import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from forebay.client import (
    Choice,
    FieldFault,
    GenerateResult,
    InvalidArgument,
    Priority,
    QueueInfo,
    TaskInfo,
    TaskState,
    Timing,
    TokenLogprob,
    TopLogprob,
    Usage,
    task_spec,
)
from services.cli import render
from services.cli.commands.get import document, outcome, show
from services.cli.commands.ls import rows, summary
from services.cli.values import as_json, plain

NOW = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def task(state: TaskState = TaskState.SUCCEEDED) -> TaskInfo:
    return TaskInfo(
        "07-a",
        state,
        model="m",
        priority=Priority.HIGH,
        labels={"b": "2", "a": "1"},
        create_time=NOW,
        start_time=NOW + timedelta(seconds=1.5),
        end_time=NOW + timedelta(seconds=2),
        timing=Timing(1.5, 0.5, None),
        error=None
        if state is TaskState.SUCCEEDED
        else InvalidArgument("bad", reason="INVALID_INPUT", faults=[FieldFault("x", "y")]),
    )


def test_json_has_the_names_of_the_contract_and_nothing_of_python() -> None:
    found = json.loads(as_json([summary(task())]))
    assert found[0]["state"] == "succeeded"
    assert found[0]["priority"] == "high"
    assert found[0]["create_time"] == "2026-01-02T03:04:05.678Z"
    assert found[0]["labels"] == {"a": "1", "b": "2"}


def test_an_error_keeps_code_reason_and_fields() -> None:
    assert plain(task(TaskState.FAILED).error) == {
        "code": "INVALID_ARGUMENT",
        "reason": "INVALID_INPUT",
        "message": "bad",
        "faults": [{"field": "x", "fault": "y"}],
    }


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (np.array([[1, 2]], np.int8), {"datatype": "int8", "shape": [1, 2], "data": [[1, 2]]}),
        (np.array([b"a", b"\xff"], object), {"datatype": "object", "shape": [2], "data": ["a", "/w=="]}),
        (np.array([math.nan, 1.0]), {"datatype": "float64", "shape": [2], "data": ["nan", 1.0]}),
        (math.inf, "inf"),
        (TaskState.QUEUED, "queued"),
        (
            QueueInfo("p", Priority.LOW, 1, 2.9169999999999998, 0, 1 / 3, 0.1),
            {
                "pool": "p",
                "priority": "low",
                "depth": 1,
                "oldest_age_s": 2.917,
                "running": 0,
                "finished_per_second": 0.333333,
                "share": 0.1,
                "paused": False,
                "waiting": 0,
                "arrived_per_second": 0.0,
                "started_per_second": 0.0,
                "share_got": 0.0,
                "queued_work_s": 0.0,
                "tenants": [],
                "lanes": [],
            },
        ),
        ((1, None, True), [1, None, True]),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00.000Z"),
    ],
)
def test_values_become_what_json_can_hold(value: object, shown: object) -> None:
    assert plain(value) == shown
    json.loads(as_json(value))


def test_a_document_shows_the_input_when_it_was_asked_for() -> None:
    asked = TaskInfo("07-a", TaskState.QUEUED, spec=task_spec("m", prompt="Hello", max_tokens=3))
    assert document(asked)["input"] == {"prompt": "Hello", "max_tokens": 3}
    assert document(task())["input"] is None


def test_the_exit_code_of_a_task_is_its_fate() -> None:
    assert [
        outcome(task(state)) for state in (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED)
    ] == [0, 1, 1]
    assert outcome(TaskInfo("07-a", TaskState.RUNNING)) == 0


def test_rows_tell_how_long_a_task_waited_and_ran() -> None:
    (row,) = rows([task()])
    assert row[6:] == ("1.50 s", "0.50 s", "a=1 b=2")


@pytest.mark.parametrize(
    ("duration", "shown"),
    [
        (None, ""),
        (0.0021, "2.1 ms"),
        (0.0996, "0.10 s"),
        (3.456, "3.46 s"),
        (135, "2 min 15 s"),
        (7300, "2 h 01 min"),
    ],
)
def test_durations_are_short(duration: float | None, shown: str) -> None:
    assert render.seconds(duration) == shown


def test_a_moment_is_told_as_how_long_ago_it_was() -> None:
    assert render.ago(NOW, NOW + timedelta(seconds=5)) == "5 s ago"
    assert render.ago(NOW, NOW - timedelta(seconds=5)) == "0 s ago"
    assert render.ago(None) == ""


def test_a_time_carries_its_zone() -> None:
    shown = render.moment(NOW)
    assert datetime.fromisoformat(shown) == NOW
    assert datetime.fromisoformat(shown).tzinfo is not None and len(shown) == 29
    assert render.moment(None) == ""


def test_a_table_without_a_terminal_has_no_colours_and_cuts_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    render.console.cache_clear()
    render.table(("state", ">n"), [("succeeded", 1), ("x" * 100, 2)], empty="")
    out = capsys.readouterr().out
    render.console.cache_clear()
    assert "\x1b" not in out
    assert "x" * 100 in out


def test_an_empty_table_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    render.table(("a",), [], empty="no tasks")
    assert capsys.readouterr().out == "no tasks\n"


def test_what_is_to_come_says_how_far_off_it_is_and_what_is_late_says_so() -> None:
    assert render.due(None) == ""
    assert render.due(NOW, NOW - timedelta(seconds=90)).endswith("(in 90 s)")
    assert render.due(NOW, NOW - timedelta(hours=3)).endswith("(in 3 h 00 min)")
    assert render.due(NOW, NOW + timedelta(seconds=2)).endswith("(in 0 s)")
    assert "overdue" in render.due(NOW, NOW + timedelta(seconds=11))


def test_lengths_of_time_are_as_in_the_json_of_the_contract() -> None:
    lengths = [timedelta(minutes=5), timedelta(days=366), timedelta(milliseconds=1500), timedelta(0)]
    assert plain(lengths) == ["300s", "31622400s", "1.5s", "0s"]


def test_a_document_says_when_a_task_may_start_and_after_which_others() -> None:
    spec = task_spec("m", prompt="x", not_before=NOW, deadline=NOW + timedelta(1), depends_on=["07-b"])
    found = document(TaskInfo("07-a", TaskState.BLOCKED, spec=spec))
    assert found["not_before"] == "2026-01-02T03:04:05.678Z"
    assert found["deadline"] == "2026-01-03T03:04:05.678Z"
    assert found["parents"] == ["07-b"]
    bare = document(TaskInfo("07-a", TaskState.QUEUED))
    assert (bare["not_before"], bare["deadline"], bare["parents"]) == (None, None, [])


def answered() -> TaskInfo:
    first = (TokenLogprob(5, -0.25, (TopLogprob(5, -0.25),)),)
    result = GenerateResult("one", (5,), "stop", first, (Choice(1, "two", (6, 7), "length"),))
    return replace(task(), result=result, usage=Usage(70, 3, 64))


def test_several_answers_are_shown_each_below_its_head(capsys: pytest.CaptureFixture[str]) -> None:
    show(answered())
    shown = capsys.readouterr().out
    assert shown.endswith("\nchoice 0 (stop)\none\nchoice 1 (length)\ntwo\n")
    assert "70 in (64 cached), 3 out" in shown


def test_a_document_has_every_answer_with_its_logprobs() -> None:
    found = document(answered())
    assert found["usage"] == {"input_tokens": 70, "output_tokens": 3, "cached_tokens": 64}
    result = found["result"]
    assert result["logprobs"] == [
        {"token_id": 5, "logprob": -0.25, "top": [{"token_id": 5, "logprob": -0.25}]}
    ]
    assert [(one["index"], one["text"], one["finish_reason"]) for one in result["others"]] == [
        (1, "two", "length")
    ]
