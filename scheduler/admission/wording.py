"""Limits in words, for whoever met one. They tell what is allowed, and nothing of what other tenants have."""

from enum import IntEnum

from scheduler.policies.policy import Limit
from scheduler.states import Level


class Bound(IntEnum):
    """Which bound of a limit."""

    TASKS = 1
    WORK = 2
    RATE = 3


def subject_of(limit: Limit, tenant: str) -> str:
    """Say whose limit it is; `tenant` is empty for one that all share."""
    who = f"tenant {tenant}" if tenant else "all tenants"
    return f"{who}, level {Level(limit.level).label}" if limit.level else who


def told(limit: Limit, bound: Bound, level: int, share: float, burst: float) -> str:
    """Say what a bound allows to a level that may fill this part of it."""
    name = Level(level).label
    if bound is Bound.TASKS:
        said, part = f"at most {limit.queued_tasks} tasks may wait", f"{limit.queued_tasks * share:g}"
    elif bound is Bound.WORK:
        seconds = limit.queued_work_s
        said, part = f"at most {seconds:g} s of expected work may wait", f"{seconds * share:g} s"
    else:
        said = f"at most {limit.rate:g} tasks a second may come in, {burst:g} at once"
        return said if share == 1.0 else f"{said}; {name} leaves {1 - share:.0%} of those to higher levels"
    return said if share == 1.0 else f"{said}; {name} is refused from {part} on"
