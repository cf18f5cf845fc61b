"""`forebay get`: one task, with its answer and its story."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from services.cli import render, waiting
from services.cli.exits import Exit
from services.cli.session import as_json, client, named
from services.cli.stalls import reasons
from services.cli.values import Json

if TYPE_CHECKING:
    from forebay.client import Client, EmbedResult, TaskInfo, Usage


PARENTS_SHOWN: Final = 4


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
        awaited = [] if json_ else _awaited(opened, task)
    if json_:
        render.emit(document(task))
    else:
        show(task, awaited)
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
    found.pop("spec", None)
    times = {"not_before": plain(task.not_before), "deadline": plain(task.deadline)}
    return {**found, **times, "parents": list(task.parents), "input": asked(task)}


def asked(task: "TaskInfo") -> Json:
    """Return the input of a task as a document; None when the answer does not carry it."""
    from services.cli.values import plain

    spec = plain(task.spec) if task.spec is not None else {}
    return (spec.get("generate") or spec.get("tensors")) if isinstance(spec, dict) else None


def without_input(task: "TaskInfo") -> "TaskInfo":
    """Return a task that does not carry what was asked."""
    if task.spec is None:
        return task
    bare = type(task.spec)()
    bare.CopyFrom(task.spec)
    bare.ClearField("input")
    return replace(task, spec=bare)


def show(task: "TaskInfo", awaited: Sequence[str] = ()) -> None:
    """Write a task for a person, and what it waits for."""
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
            ("runner", task.runner or ("none: answered from the result cache" if task.cached else "")),
            *(("waits for" if not number else "", reason) for number, reason in enumerate(awaited)),
            ("not before", task.not_before),
            ("deadline", task.deadline),
            ("after", _few(task.parents)),
            ("replay of", task.replay_of),
            ("schedule", task.schedule),
            ("created", task.create_time),
            ("started", task.start_time),
            ("ended", task.end_time),
            ("queue", render.seconds(timing.queue_s) if timing else ""),
            ("execute", render.seconds(timing.execute_s) if timing else ""),
            ("first token", render.seconds(timing.time_to_first_token_s) if timing else ""),
            ("tokens", _tokens(usage) if usage and usage.output_tokens else ""),
            ("error", f"{task.error.reason}: {task.error}" if task.error else ""),
            ("last error", f"{task.last_error.reason}: {task.last_error}" if task.last_error else ""),
        )
    )
    for event in task.events:
        click.echo(f"  {render.moment(event.time)}  {event.state.value}  {event.reason}".rstrip())
    if task.spec is not None and task.spec.HasField("generate"):
        generate = task.spec.generate
        click.echo(f"\n{generate.prompt}" if generate.prompt else f"\n{generate.messages}")
    elif task.spec is not None and task.spec.HasField("tensors"):
        click.echo()
        for one in task.spec.tensors.tensors:
            click.echo(f"{one.name} {one.datatype} {list(one.shape)}, {len(one.raw)} bytes (--json has them)")
    elif task.spec is not None and task.spec.HasField("embed"):
        click.echo()
        for text in task.spec.embed.texts:
            click.echo(text)
    if task.result is not None:
        click.echo()
    show_result(task)


def _awaited(opened: "Client", task: "TaskInfo") -> list[str]:
    """Say what a task waits for; that it cannot be found out must not hide the task."""
    from forebay.client import ForebayClientError

    try:
        return reasons(opened, task)
    except ForebayClientError as error:
        return [f"unknown: {error}"]


def _few(parents: Sequence[str]) -> str:
    """Name the first parents of a task."""
    more = f" and {len(parents) - PARENTS_SHOWN} more" if len(parents) > PARENTS_SHOWN else ""
    return " ".join(parents[:PARENTS_SHOWN]) + more


def _attempt(task: "TaskInfo") -> str:
    return (
        f"{task.attempt} ({task.uncharged_attempts} not charged)"
        if task.uncharged_attempts
        else str(task.attempt)
    )


def _tokens(usage: "Usage") -> str:
    cached = f" ({usage.cached_tokens} cached)" if usage.cached_tokens else ""
    return f"{usage.input_tokens} in{cached}, {usage.output_tokens} out"


def _show_vectors(result: "EmbedResult") -> None:
    """Write vectors in NumPy's way, each below what was read of its text."""
    for number, vector in enumerate(result.vectors):
        cut = ", the text was longer than the model reads" if result.truncated[number] else ""
        click.echo(f"text {number}: {len(vector)} numbers, {result.tokens[number]} tokens{cut}\n{vector}")


def show_result(task: "TaskInfo") -> None:
    """Write what came out: a text as it is, several ones each below its head, numbers in NumPy's way."""
    if task.result is None:
        return
    from forebay.client import EmbedResult

    if isinstance(task.result, EmbedResult):
        _show_vectors(task.result)
    elif isinstance(task.result, Mapping):
        for name, array in task.result.items():
            click.echo(f"{name} {array.dtype} {list(array.shape)}\n{array}")
    elif task.result.others:
        for choice in task.result.choices:
            click.echo(f"{waiting.head(choice.index, choice.finish_reason)}\n{choice.text}")
    else:
        click.echo(task.result.text)
