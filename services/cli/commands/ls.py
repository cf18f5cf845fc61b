"""`forebay ls`: tasks, newest first."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from services.cli import render
from services.cli.session import as_json, client, filters

if TYPE_CHECKING:
    from forebay.client import TaskInfo

COLUMNS = ("id", "state", "model", "level", "attempt", "created", ">queue", ">run", "labels")


@click.command()
@filters
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Most tasks shown.")
@as_json
@click.pass_obj
def ls(
    address: str,
    states: Sequence[str],
    model: str,
    labels: dict[str, str],
    priorities: Sequence[str],
    pool: str,
    limit: int,
    json_: bool,
) -> None:
    """List tasks, newest first."""  # fmt: skip
    with client(address) as opened:
        tasks = list(
            opened.list(
                states=states, model=model, labels=labels, priorities=priorities, pool=pool, limit=limit
            )
        )
    if json_:
        render.emit([summary(task) for task in tasks])
    else:
        render.table(COLUMNS, rows(tasks), empty="no tasks")


def rows(tasks: Iterable["TaskInfo"]) -> Iterable[Sequence[object]]:
    """Lay tasks out as rows of a table."""
    for task in tasks:
        waited_from = task.queue_time or task.create_time
        waited = (task.start_time - waited_from).total_seconds() if task.start_time and waited_from else None
        ran = (task.end_time - task.start_time).total_seconds() if task.end_time and task.start_time else None
        yield (
            task.id,
            task.state.value,
            task.model,
            task.priority.value,
            task.attempt,
            render.ago(task.create_time),
            render.seconds(waited),
            render.seconds(ran),
            render.labels(task.labels),
        )


def summary(task: "TaskInfo") -> dict[str, object]:
    """Take from a task what a listing carries."""
    names = (
        "id",
        "state",
        "model",
        "priority",
        "pool",
        "labels",
        "attempt",
        "publication",
        "tenant",
        "create_time",
    )
    times = ("not_before", "deadline", "queue_time", "start_time", "end_time", "runner", "error")
    return {name: getattr(task, name) for name in (*names, *times)}
