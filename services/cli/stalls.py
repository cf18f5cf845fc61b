"""What a task that has not started waits for, in words for those who wonder."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from scheduler.policies.failures import Backoff
from services.cli import render
from services.cli.serving import DEFAULT_POOL, shortage
from services.cli.session import paused_what

if TYPE_CHECKING:
    from forebay.client import Client, PauseInfo, TaskInfo
    from forebay.tasks.v1.task_pb2 import RetryPolicy

PARENTS_ASKED: Final = 20
"""Parents whose states are looked up one by one; a task may have a thousand."""


def reasons(opened: "Client", task: "TaskInfo", now: datetime | None = None) -> list[str]:
    """Say what a task waits for; nothing for one that runs or has ended. Asks the server where the task does not tell.

    Raises ForebayClientError when the server cannot be asked.
    """
    match task.state.value:
        case "scheduled":
            return [f"its time, {render.due(task.not_before, now)}"]
        case "blocked":
            return _parents(opened, task)
        case "retrying":
            return [_next_attempt(task)]
        case "queued":
            return _obstacles(opened, task)
    return []


def _parents(opened: "Client", task: "TaskInfo") -> list[str]:
    """Name the parents that have not ended."""
    from forebay.client import NotFound

    found = []
    for parent in task.parents[:PARENTS_ASKED]:
        try:
            state = opened.get(parent, include_result=False).state
        except NotFound:
            found.append(f"{parent}  no record of it: forebay recover, or cancel this task")
            continue
        if not state.terminal:
            found.append(f"{parent}  {state.value}")
    if len(task.parents) > PARENTS_ASKED:
        found.append(f"and perhaps some of {len(task.parents) - PARENTS_ASKED} more parents (--json has all)")
    return found or ["its parents, which have all ended: it goes on in a moment"]


def _next_attempt(task: "TaskInfo") -> str:
    """Say when the next attempt comes at the latest. The rest is drawn by the runner; its bound is the task's own."""
    asked = task.spec.retry if task.spec is not None else None
    most = (asked.max_attempts if asked else 0) or 3
    charged = task.attempt - task.uncharged_attempts
    what = f"attempt {charged + 1} of {most}"
    ended = next(
        (one for one in reversed(task.events) if one.state.value == "retrying" and one.reason != "UPDATED"),
        None,
    )
    if ended is None or ended.time is None:
        return what
    latest = ended.time + timedelta(milliseconds=_backoff(asked).bound_ms(task.attempt))
    return f"{what} after {ended.reason}, as a rule before {render.moment(latest)}"


def _backoff(asked: "RetryPolicy | None") -> Backoff:
    """Return a task's rests, with the server's default for what it does not say."""
    usual = Backoff()
    if asked is None:
        return usual
    return Backoff(
        asked.initial_backoff.ToMilliseconds() if asked.HasField("initial_backoff") else usual.initial_ms,
        asked.max_backoff.ToMilliseconds() if asked.HasField("max_backoff") else usual.longest_ms,
        asked.multiplier or usual.multiplier,
    )


def _obstacles(opened: "Client", task: "TaskInfo") -> list[str]:
    """Say why a queued task cannot start: a pause, or nobody who serves its model."""
    found = [f"a pause: {paused_what(one)}" for one in opened.pauses() if holds_back(one, task)]
    pool = task.pool or DEFAULT_POOL
    serving = [one for one in opened.runners(task.model) if one.pool in ("", pool)]
    if short := shortage(task.model, serving):
        found.append(f"a runner: {short}")
    return found or ["its turn"]


def holds_back(pause: "PauseInfo", task: "TaskInfo") -> bool:
    """Whether a task meets every condition of a pause."""
    return (
        pause.pool in ("", task.pool or DEFAULT_POOL)
        and pause.priority in (None, task.priority)
        and pause.model in ("", task.model)
        and (pause.label is None or task.labels.get(pause.label[0]) == pause.label[1])
    )
