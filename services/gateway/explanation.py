"""What ExplainTask answers, written down: what is before a task, what is expected of it, and the summary. Pure."""

from collections.abc import Sequence
from typing import Final

from forebay.tasks.v1 import task_pb2
from forebay.tasks.v1.task_service_pb2 import Estimate, ExplainTaskResponse
from scheduler.policies.estimate import Before, Forecast
from scheduler.states import Level
from services.gateway import convert, spoken
from services.gateway.caller import Caller
from services.gateway.waiting_reasons import Reason

MOST_AHEAD: Final = 64
"""Entries of what is before a task; smaller ones beyond are summed up by level."""
_FARTHEST_S: Final = 10 * 365 * 86_400.0
"""Ten years: what is further away is as good as never."""
_AT_ONCE_S: Final = 0.1


def fill_forecast(answer: ExplainTaskResponse, found: Forecast, now_ms: int, known: bool) -> None:
    """Write when a task starts and ends; where nobody knows what such tasks cost, only a start at once."""
    if known or not found.start_s:
        fill_estimate(answer.start, now_ms, (found.start_s, found.earliest_start_s, found.latest_start_s))
    if known:
        fill_estimate(answer.end, now_ms, (found.end_s, found.earliest_end_s, found.latest_end_s))


def fill_estimate(estimate: Estimate, from_ms: int, seconds: tuple[float, float, float]) -> None:
    """Write a middle, the earliest and the latest, in seconds from a moment."""
    for field, after_s in zip((estimate.time, estimate.earliest, estimate.latest), seconds, strict=True):
        convert.stamp(field, from_ms + round(min(after_s, _FARTHEST_S) * 1000))


def fill_ahead(answer: ExplainTaskResponse, before: Sequence[Before], caller: Caller) -> None:
    """Write what is before a task, under the names that the caller may know; highest level first, then most work."""
    named = {one for one in before if caller.operator or one.tenant == caller.tenant}
    if len(named) > MOST_AHEAD:
        named = set(sorted(named, key=lambda one: -one.work_ms)[:MOST_AHEAD])
    shown: dict[tuple[Level, str], tuple[int, float]] = {}
    for one in before:
        key = (one.level, one.tenant if one in named else "")
        tasks, work_ms = shown.get(key, (0, 0.0))
        shown[key] = tasks + one.tasks, work_ms + one.work_ms
    for (level, tenant), (tasks, work_ms) in sorted(
        shown.items(), key=lambda item: (item[0][0], -item[1][1])
    ):
        entry = answer.ahead.add(priority=task_pb2.Priority.ValueType(level), tenant=tenant, tasks=tasks)
        entry.work.FromMilliseconds(round(work_ms))


def summary(answer: ExplainTaskResponse, reasons: Sequence[Reason], now_ms: int) -> str:
    """Return the answer in one or two sentences: the decisive reason, and what is expected."""
    said = f"{reasons[0].fact}."
    if answer.HasField("start"):
        said += f" It is expected to start {_in(answer.start, now_ms)}."
    elif answer.HasField("end"):
        said += f" It is expected to end {_in(answer.end, now_ms)}."
    deadline = answer.task.spec.deadline
    if answer.HasField("end") and answer.task.spec.HasField("deadline"):
        left_ms = deadline.ToMilliseconds() - answer.end.time.ToMilliseconds()
        if left_ms < 0:
            said += f" Its deadline, {spoken.moment(deadline.ToMilliseconds())}, comes before it is expected to end."
    return said


def _in(estimate: Estimate, now_ms: int) -> str:
    """Write when something is expected, as it lies ahead."""
    middle, earliest, latest = (
        max(0, moment.ToMilliseconds() - now_ms) / 1000
        for moment in (estimate.time, estimate.earliest, estimate.latest)
    )
    if middle < _AT_ONCE_S:
        return "at once"
    return (
        f"in about {spoken.duration(middle)} "
        f"(between {spoken.duration(earliest)} and {spoken.duration(latest)})"
    )
