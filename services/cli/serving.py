"""Telling who submits that a task has to wait because nobody can run it yet."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import click

from services.cli.exits import CommandFailed
from services.cli.session import client

if TYPE_CHECKING:
    from forebay.client import RunnerInfo, TaskHandle
    from forebay.tasks.v1.task_pb2 import TaskSpec

LOOK_S: Final = 2.0
"""Longest time that the question may take."""
DEFAULT_POOL: Final = "default"


def warn_unserved(address: str, specs: Sequence["TaskSpec"], handles: Sequence["TaskHandle"]) -> None:
    """Say on stderr which models of accepted tasks nobody serves. Silent when that cannot be found out."""
    wanted: dict[tuple[str, str], int] = {}
    for spec, handle in zip(specs, handles, strict=True):
        if not handle.state.terminal:
            key = (spec.model, spec.pool or DEFAULT_POOL)
            wanted[key] = wanted.get(key, 0) + 1
    _warn(address, wanted)


def warn_unserved_model(address: str, spec: "TaskSpec") -> None:
    """Say on stderr when nobody serves the model of a task that is to come. Silent when that cannot be found out."""
    _warn(address, {(spec.model, spec.pool or DEFAULT_POOL): 1})


def _warn(address: str, wanted: Mapping[tuple[str, str], int]) -> None:
    from forebay.client import ForebayClientError

    try:
        with client(address, timeout_s=LOOK_S) as opened:
            runners = opened.runners()
    except (ForebayClientError, CommandFailed):
        return
    for (model, pool), count in wanted.items():
        serving = [
            one
            for one in runners
            if model in (one.model, f"{one.model}@{one.version}") and one.pool in ("", pool)
        ]
        if warning := shortage(model, serving, count):
            click.echo(f"warning: {warning}", err=True)


def shortage(model: str, runners: Sequence["RunnerInfo"], count: int = 1) -> str:
    """Say why tasks of a model have to wait; "" when one of its runners is ready."""
    states = {one.state for one in runners}
    if "ready" in states:
        return ""
    tasks, wait = ("the task", "waits") if count == 1 else (f"{count} tasks", "wait")
    if states & {"loading", "warming"}:
        return f"the runner of {model} is not ready yet: {tasks} {wait} until it is"
    if reasons := sorted({one.reason for one in runners if one.state == "failed"}):
        return f"{model} cannot be served ({'; '.join(reasons)}): {tasks} {wait} until it can"
    return f"no runner serves {model}: {tasks} {wait} until one does"
