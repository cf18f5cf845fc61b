"""`forebay submit`: one task, or many alike."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from services.cli import render, waiting
from services.cli.commands.generation_options import generation_options
from services.cli.commands.get import document, outcome, show_result
from services.cli.exits import Exit, ended_without_result
from services.cli.request import duration, moment, references, specs_from_file, tensors_from, text_or_stdin
from services.cli.serving import warn_unserved
from services.cli.session import PRIORITIES, client, pairs

if TYPE_CHECKING:
    from forebay.client import TaskInfo
    from forebay.tasks.v1.task_pb2 import TaskSpec


@click.command()
@click.option("--model", default="", help="Name of the model.")
@click.option("--prompt", help="What the model is asked, in its own chat template; - reads stdin.")
@click.option("--raw", is_flag=True, help="Continue the prompt as it stands, without the chat template.")
@click.option("--system", default="", help="What the model is told before the prompt.")
@click.option(
    "--tensor",
    "tensor",
    metavar="NAME=FILE.npy",
    multiple=True,
    callback=pairs,
    help="An input of a tensor model.",
)
@click.option(
    "--text",
    "text",
    multiple=True,
    help="A text for an embedding model to turn into a vector; several for several; - reads stdin.",
)
@click.option(
    "--json",
    "json_file",
    metavar="FILE",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Tasks from a file: TaskSpec as JSON, a list of them, or one a line; - reads stdin.",
)
@click.option("--priority", type=click.Choice(PRIORITIES), help="Default: normal.")
@click.option("--pool", help="Pool of runners. Default: default.")
@click.option(
    "--label", "labels", metavar="K=V", multiple=True, callback=pairs, help="For people and filters."
)
@click.option(
    "--deadline-in",
    metavar="TIME",
    callback=duration,
    help="Never start it later than this from now, and stop it then: 30s, 5m, 2h.",
)
@click.option(
    "--start-in", metavar="TIME", callback=duration, help="Start it no sooner than so long from now."
)
@click.option(
    "--start-at", metavar="TIME", callback=moment, help="Start it no sooner than 2030-01-31T09:00:00Z."
)
@click.option(
    "--after", "depends_on", metavar="ID", multiple=True, help="Start it after this task has ended."
)
@click.option(
    "--on-parent-failure",
    type=click.Choice(("fail", "run", "cancel")),
    help="What becomes of it when a task of --after does not succeed. Default: fail.",
)
@click.option(
    "--input-from",
    "inputs_from",
    metavar="NAME=N:OUTPUT",
    multiple=True,
    callback=references,
    help="Take an output of the N-th --after (from 0) as input: story=0:text fills {{story}} in the prompt, "
    "x=0:y makes its tensor y the tensor x.",
)
@click.option("--max-attempts", type=click.IntRange(1, 100), help="Most executions. Default: 3.")
@click.option(
    "--idempotency-key",
    help="Same key and same task: the task that exists. With --count, -1, -2, … follow it.",
)
@click.option(
    "--cache",
    type=click.Choice(("default", "bypass", "refresh", "only")),
    help="What it wants of the result cache. Default: default.",
)
@click.option("--count", type=click.IntRange(1), default=1, help="Submit it so many times.")
@generation_options
@click.option("--wait", is_flag=True, help="Wait for the end and show what came out.")
@click.option(
    "--stream", is_flag=True, help="Show the text while it is written; tensors and vectors at the end."
)
@click.option(
    "--timeout",
    metavar="TIME",
    callback=duration,
    help="With --wait or --stream: give up waiting after this. The task goes on.",
)
@click.option("--output", type=click.Choice(("text", "json")), default="text", help="How to show tasks.")
@click.pass_context
def submit(
    ctx: click.Context,
    /,
    model: str,
    prompt: str | None,
    raw: bool,
    system: str,
    tensor: dict[str, str],
    text: tuple[str, ...],
    json_file: Path | None,
    count: int,
    wait: bool,
    stream: bool,
    timeout: timedelta | None,
    output: str,
    idempotency_key: str | None,
    **given: Any,
) -> None:
    """Submit one task, or many alike, and print the ids; with --wait or --stream, what came out.

    Exit codes: 0 accepted (with --wait or --stream: succeeded), 1 not accepted or failed, 3 no server.
    """  # fmt: skip
    kinds = sum((prompt is not None, bool(tensor), bool(text), json_file is not None))
    # All tensors of a child may come from its parents.
    if kinds != 1 and (kinds or not given["inputs_from"]):
        raise click.UsageError("give exactly one of --prompt, --tensor, --text and --json")
    if (raw or system) and prompt is None:
        raise click.UsageError("--raw and --system go with --prompt")
    if raw and system:
        raise click.UsageError("--system needs the chat template, which --raw leaves out")
    if not model and json_file is None:
        raise click.UsageError("say which model with --model")
    options = _options(given)
    if json_file is not None:
        specs = specs_from_file(json_file, model, options)
    else:
        from forebay.client import task_spec

        try:
            specs = [task_spec(model, **_input(prompt, raw, system, tensor, text), **options)]
        except (TypeError, ValueError) as error:
            raise click.UsageError(str(error)) from error
    specs = _repeat(specs, count, idempotency_key)
    if stream and (len(specs) > 1 or output == "json"):
        raise click.UsageError("--stream shows the text of one task; use --wait")
    timeout_s = timeout.total_seconds() if timeout else None
    with client(ctx.obj) as opened:
        handles = opened.submit_many(specs)
        warn_unserved(ctx.obj, specs, handles)
        if stream and specs[0].HasField("generate"):
            waiting.print_stream(opened, handles[0], timeout_s)
            return
        if not (wait or stream):
            if output == "json":
                render.emit(handles)
            else:
                click.echo("\n".join(handle.id for handle in handles))
            return
        ended = waiting.wait_all(opened, handles, timeout_s)
        if output == "json":
            # What a watch brings is the outcome; a document has the whole task.
            ended = [opened.get(task) for task in ended]
    ctx.exit(_show(ended, output))


def _options(given: dict[str, Any]) -> dict[str, Any]:
    """Keep what was said; what was not is the server's to decide."""
    given["deadline"] = given.pop("deadline_in")
    start_in, start_at = given.pop("start_in"), given.pop("start_at")
    if start_in is not None and start_at is not None:
        raise click.UsageError("--start-in and --start-at exclude each other")
    given["not_before"] = start_at if start_in is None else start_in
    # A number that is 0 was said: --seed 0 is not a seed that the runner draws.
    return {
        name: value
        for name, value in given.items()
        if value is not None and value is not False and value not in ((), {})
    }


def _input(
    prompt: str | None, raw: bool, system: str, tensor: dict[str, str], texts: Sequence[str]
) -> dict[str, Any]:
    if texts:
        return {"texts": [text_or_stdin(text) for text in texts]}
    if prompt is None:
        return {"tensors": tensors_from(tensor)}
    asked_for = text_or_stdin(prompt)
    if raw:
        return {"prompt": asked_for}
    asked = {"role": "user", "content": asked_for}
    return {"messages": [{"role": "system", "content": system}, asked] if system else [asked]}


def _repeat(specs: list["TaskSpec"], count: int, key: str | None) -> list["TaskSpec"]:
    """Multiply tasks. A key that all would share gets a number, or they would all be one task."""
    repeated = []
    for number in range(count * len(specs)):
        copy = type(specs[0])()
        copy.CopyFrom(specs[number % len(specs)])
        if key:
            copy.idempotency_key = key if count * len(specs) == 1 else f"{key}-{number + 1}"
        repeated.append(copy)
    return repeated


def _show(ended: Sequence["TaskInfo"], output: str) -> int:
    """Show what came out of tasks and return the exit code."""
    if output == "json":
        documents = [document(task) for task in ended]
        render.emit(documents[0] if len(documents) == 1 else documents)
    else:
        for task in ended:
            if len(ended) > 1:
                click.echo(f"{task.id}  {task.state.value}")
            if task.error:
                click.echo(ended_without_result(task.id, task.state.value, task.error), err=True)
            show_result(task)
    return max((outcome(task) for task in ended), default=int(Exit.DONE))
