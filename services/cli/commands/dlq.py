"""`forebay dlq`: tasks that used up their attempts, and messages that nobody could read."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from services.cli import render
from services.cli.commands.get import asked, without_input
from services.cli.commands.get import show as show_task
from services.cli.commands.ls import summary
from services.cli.exits import Exit
from services.cli.session import PRIORITIES, as_json, client, letter_filters, named

if TYPE_CHECKING:
    from forebay.client import DeadLetter

COLUMNS = ("id", "model", "level", ">attempts", "died", "reason", "labels")


@click.group()
def dlq() -> None:
    """Dead letters: tasks that used up their attempts, and messages that nobody could read."""


@dlq.command()
@letter_filters
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Most letters shown.")
@as_json
@click.pass_obj
def ls(
    address: str,
    model: str,
    labels: dict[str, str],
    priorities: tuple[str, ...],
    pool: str,
    limit: int,
    json_: bool,
) -> None:
    """List dead letters, newest first."""
    with client(address) as opened:
        found = list(
            opened.dead_letters.list(
                model=model, labels=labels, priorities=priorities, pool=pool, limit=limit
            )
        )
    if json_:
        render.emit([_document(letter) for letter in found])
    else:
        render.table(COLUMNS, (_row(letter) for letter in found), empty="no dead letters")


@dlq.command()
@click.argument("id_", metavar="ID")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the bytes of an unreadable message to this file.",
)
@click.option("--input", "include_input", is_flag=True, help="Show what was asked, too.")
@as_json
@click.pass_obj
def show(address: str, id_: str, out: Path | None, include_input: bool, json_: bool) -> None:
    """Show one with its history and its last error; of an unreadable message its bytes."""
    with client(address) as opened, named([id_]):
        letter = opened.dead_letters.get(id_)
    task = letter.task if include_input else without_input(letter.task)
    if out is not None:
        if not letter.raw:
            raise click.UsageError(f"{id_} is a task: it has no bytes that could not be read")
        out.write_bytes(letter.raw)
    if json_:
        found = {**_document(letter), "events": task.events, "raw": letter.raw.hex()}
        render.emit({**found, "input": asked(task)})
        return
    show_task(task)
    if letter.raw:
        click.echo(f"\n{letter.raw_bytes} bytes from {letter.topic}, the first of them:")
        click.echo(_hex(letter.raw[:256]))


@dlq.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@letter_filters
@click.option("--all", "all_", is_flag=True, help="Every dead letter.")
@click.option(
    "--set",
    "edits",
    metavar="FIELD=JSON",
    multiple=True,
    help="Replace a field of the task: --set model='\"other\"' --set retry='{\"max_attempts\": 5}'.",
)
@click.option("--yes", is_flag=True, help="Do not ask before replaying by filter.")
@as_json
@click.pass_context
def replay(
    ctx: click.Context,
    ids: tuple[str, ...],
    model: str,
    labels: dict[str, str],
    priorities: tuple[str, ...],
    pool: str,
    all_: bool,
    edits: tuple[str, ...],
    yes: bool,
    json_: bool,
) -> None:
    """Submit dead letters again as new tasks, with edits if need be, and print which became which.

    The exit code is 1 when one of them could not be replayed.
    """  # fmt: skip
    _check_target(ids, bool(model or labels or priorities or pool), all_)
    if not ids and not yes:
        click.confirm("Replay every dead letter that matches?", abort=True, err=True)
    spec, mask = _edits(edits)
    with client(ctx.obj, timeout_s=300.0) as opened, named(ids):
        done = opened.dead_letters.replay(
            ids or None,
            model=model,
            labels=labels,
            priorities=priorities,
            pool=pool,
            edits=spec,
            edit_mask=mask,
        )
    if json_:
        render.emit(done)
    else:
        for letter, task in done.tasks.items():
            click.echo(f"{letter}  is now  {task.id}")
        for letter, error in done.errors.items():
            click.echo(f"{letter}  not replayed: {error}", err=True)
        if not ids:
            click.echo(f"{len(done.tasks)} replayed, {len(done.errors)} not")
    ctx.exit(int(Exit.FAILED if done.errors else Exit.DONE))


@dlq.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@letter_filters
@click.option("--all", "all_", is_flag=True, help="Every dead letter.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@click.pass_context
def purge(
    ctx: click.Context,
    ids: tuple[str, ...],
    model: str,
    labels: dict[str, str],
    priorities: tuple[str, ...],
    pool: str,
    all_: bool,
    yes: bool,
    json_: bool,
) -> None:
    """Take dead letters off the list for ever.

    The exit code is 1 when a named one is not on the list.
    """  # fmt: skip
    _check_target(ids, bool(model or labels or priorities or pool), all_)
    if not yes:
        click.confirm("Take these dead letters off the list for ever?", abort=True, err=True)
    with client(ctx.obj, timeout_s=300.0) as opened, named(ids):
        count = opened.dead_letters.purge(
            ids or None, model=model, labels=labels, priorities=priorities, pool=pool
        )
    missing = max(len(set(ids)) - count, 0)
    if json_:
        render.emit({"purged": count, "not_found": missing})
    else:
        click.echo(f"{count} purged" + (f", {missing} not on the list" if missing else ""))
    ctx.exit(int(Exit.FAILED if missing else Exit.DONE))


def _check_target(ids: tuple[str, ...], filtered: bool, all_: bool) -> None:
    if sum((bool(ids), filtered, all_)) != 1:
        raise click.UsageError("say which: ids, filters such as --model M, or --all")


def _edits(given: tuple[str, ...]) -> tuple[Any, list[str]]:
    """Read FIELD=JSON pairs as a TaskSpec and the names of its fields. Raises UsageError."""
    if not given:
        return None, []
    from google.protobuf.json_format import ParseDict, ParseError

    from forebay.tasks.v1.task_pb2 import TaskSpec

    document: dict[str, Any] = {}
    for pair in given:
        name, equals, text = pair.partition("=")
        if not (name and equals):
            raise click.UsageError(f"--set {pair!r} is not FIELD=JSON")
        try:
            document[name] = json.loads(text)
        except ValueError:
            # A bare word is the text that it looks like.
            document[name] = text
    if (level := document.get("priority")) in PRIORITIES:
        document["priority"] = f"PRIORITY_{level.upper()}"
    try:
        return ParseDict(document, TaskSpec()), list(document)
    except ParseError as error:
        raise click.UsageError(f"--set: {error}") from error


def _document(letter: "DeadLetter") -> dict[str, object]:
    return {
        **summary(letter.task),
        "dead_time": letter.time,
        "raw_bytes": letter.raw_bytes,
        "topic": letter.topic,
    }


def _row(letter: "DeadLetter") -> tuple[object, ...]:
    task = letter.task
    return (
        letter.id,
        task.model or f"({letter.raw_bytes} unreadable bytes)",
        task.priority.value if task.model else "",
        task.attempt or "",
        render.ago(letter.time),
        task.error.reason if task.error else "",
        render.labels(task.labels),
    )


def _hex(raw: bytes) -> str:
    lines = []
    for at in range(0, len(raw), 16):
        part = raw[at : at + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{at:06x}  {part.hex(' '):<47}  {text}")
    return "\n".join(lines)
