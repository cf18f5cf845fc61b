"""`forebay get`: one task, with its answer and its story."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from services.cli import render
from services.cli.exits import Exit
from services.cli.session import as_json, client, named

if TYPE_CHECKING:
    from forebay.client import TaskInfo


@click.command()
@click.argument("id_", metavar="ID")
@click.option("--input", "include_input", is_flag=True, help="Show what was asked, too.")
@as_json
@click.pass_context
def get(ctx: click.Context, id_: str, include_input: bool, json_: bool) -> None:
    """Show a task: where it is, what came out, and how it got there.

    The exit code is 1 when the task ended without a result.
    """
    with client(ctx.obj) as opened, named([id_]):
        task = opened.get(id_, include_input=include_input)
    if json_:
        render.emit(document(task))
    else:
        show(task)
    ctx.exit(outcome(task))


def outcome(task: "TaskInfo") -> int:
    """Return the exit code that a task's state stands for."""
    return int(Exit.FAILED if task.done and task.state.value != "succeeded" else Exit.DONE)


def document(task: "TaskInfo") -> dict[str, Any]:
    """Return a task as a document: what is empty because the task is of another kind or not so far is null."""
    from services.cli.values import plain

    found = plain(task)
    if not isinstance(found, dict):
        raise TypeError("a task is a document")
    spec = found.pop("spec", None) or {}
    return {**found, "input": spec.get("generate") or spec.get("tensors")}


def show(task: "TaskInfo") -> None:
    """Write a task for a person."""
    usage, timing = task.usage, task.timing
    render.facts(
        (
            ("id", task.id),
            ("state", task.state.value),
            ("model", task.model),
            ("level", task.priority.value),
            ("pool", task.pool),
            ("labels", render.labels(task.labels)),
            ("attempt", _attempt(task)),
            ("runner", task.runner),
            ("replay of", task.replay_of),
            ("schedule", task.schedule),
            ("created", task.create_time),
            ("started", task.start_time),
            ("ended", task.end_time),
            ("queue", render.seconds(timing.queue_s) if timing else ""),
            ("execute", render.seconds(timing.execute_s) if timing else ""),
            ("first token", render.seconds(timing.time_to_first_token_s) if timing else ""),
            (
                "tokens",
                f"{usage.input_tokens} in, {usage.output_tokens} out"
                if usage and usage.output_tokens
                else "",
            ),
            ("error", f"{task.error.reason}: {task.error}" if task.error else ""),
        )
    )
    for event in task.events:
        click.echo(f"  {render.moment(event.time)}  {event.state.value}  {event.reason}".rstrip())
    if task.spec is not None and task.spec.HasField("generate"):
        asked = task.spec.generate
        click.echo(f"\n{asked.prompt}" if asked.prompt else f"\n{asked.messages}")
    if task.result is not None:
        click.echo()
    show_result(task)


def _attempt(task: "TaskInfo") -> str:
    return (
        f"{task.attempt} ({task.uncharged_attempts} not charged)"
        if task.uncharged_attempts
        else str(task.attempt)
    )


def show_result(task: "TaskInfo") -> None:
    """Write what came out: the text as it is, tensors in NumPy's way."""
    if task.result is None:
        return
    if isinstance(task.result, Mapping):
        for name, array in task.result.items():
            click.echo(f"{name} {array.dtype} {list(array.shape)}\n{array}")
    else:
        click.echo(task.result.text)
