"""How explanations and queues are written for people."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from forebay.client import (
    Ahead,
    Estimate,
    Explanation,
    LaneInfo,
    Phase,
    Priority,
    QueueInfo,
    TaskInfo,
    TaskState,
    TenantLoad,
    WaitReason,
)
from services.cli import values
from services.cli.commands import explain, queues

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
QUEUED = TaskInfo("07-a", TaskState.QUEUED)


def later(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def explanation(
    summary: str,
    state: TaskState = TaskState.QUEUED,
    reasons: Sequence[WaitReason] = (),
    ahead: Sequence[Ahead] = (),
    start: Estimate | None = None,
    phases: Sequence[Phase] = (),
) -> Explanation:
    task = TaskInfo("07-a", state)
    return Explanation(task, summary, tuple(reasons), tuple(ahead), start, None, tuple(phases))


def test_what_is_before_a_task_and_when_it_starts_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    found = explanation(
        "12 tasks start before it. It is expected to start in about 12 s.",
        reasons=[
            WaitReason("behind", "12 tasks start before it.", None),
            WaitReason("no_credit", "The 1 runner takes no more; more runners would help.", None),
        ],
        ahead=[Ahead(Priority.HIGH, "", 10, 9.5), Ahead(Priority.NORMAL, "a", 2, 1.0)],
        start=Estimate(later(12.3), later(8), later(17)),
        phases=[Phase(TaskState.QUEUED, "PROMOTED", NOON, 3.0)],
    )
    explain.show(found, NOON)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "12 tasks start before it. It is expected to start in about 12 s."
    assert lines[1] == "- no credit: The 1 runner takes no more; more runners would help."
    text = "\n".join(lines)
    assert ["high", "others", "10", "9.50", "s"] in [line.split() for line in lines]
    assert "starts  in about 12 s (between 8.0 s and 17 s)" in text
    assert "near its deadline: on the express lane" in text


def test_a_task_that_has_ended_shows_its_phases_with_what_became_of_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = explanation(
        "Its deadline passed 5.0 s after its creation.",
        TaskState.EXPIRED,
        phases=[
            Phase(TaskState.QUEUED, "", NOON, 5.0),
            Phase(TaskState.EXPIRED, "CANNOT_FINISH", later(5), 0.0),
        ],
    )
    explain.show(found, NOON)
    out = capsys.readouterr().out
    assert "starts" not in out
    assert "5.00 s" in out and "too late to end before its deadline" in out


def test_what_is_expected_at_once_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    explain.show(explanation("Now.", start=Estimate(NOON, NOON, later(1))), NOON)
    assert "starts  at once" in capsys.readouterr().out


def test_an_explanation_as_json_has_the_task_as_get_shows_it() -> None:
    document = explain.fields(explanation("Now.", start=Estimate(NOON, NOON, NOON)))
    assert document["task"]["parents"] == [] and "spec" not in document["task"]
    assert document["start"]["time"] == "2030-01-01T12:00:00.000Z"
    assert values.as_json(document)


def test_queues_show_the_share_that_is_wanted_and_the_share_that_was_got(
    capsys: pytest.CaptureFixture[str],
) -> None:
    queue = QueueInfo(
        *("default", Priority.HIGH, 4, 2.5, 1, 3.0, 0.188),
        arrived_per_second=1.5,
        started_per_second=2.0,
        share_got=0.5,
        queued_work_s=90.0,
        tenants=(TenantLoad("a", 4, 1, 90.0),),
        lanes=(LaneInfo(0, "", 0), LaneInfo(1, "s1", 3)),
    )
    queues.show([queue], tenants=True, lanes=True)
    out = capsys.readouterr().out
    assert "18.8%" in out and "50.0%" in out and "90.00 s" in out
    assert ["default", "high", "1", "express", "3", "s1"] == out.splitlines()[-1].split()
