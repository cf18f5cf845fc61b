"""Waiting for tasks before a person's eyes: a spinner on stderr, or the text while it is written on stdout."""

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from services.cli import render
from services.cli.exits import CommandFailed

if TYPE_CHECKING:
    from rich.status import Status

    from forebay.client import Chunk, Client, TaskHandle, TaskInfo


def wait_all(opened: "Client", handles: Sequence["TaskHandle"], timeout_s: float | None) -> list["TaskInfo"]:
    """Wait until every task has ended and return them in order. A spinner counts them on a terminal.

    Raises CommandFailed when they have not within `timeout_s`.
    """
    # No key is set twice, and a task may be named twice by one idempotency key.
    ended: dict[str, TaskInfo] = {}
    wanted = list(dict.fromkeys(handle.id for handle in handles))
    running = 0
    with _hint(handles), spinner(f"waiting for {len(wanted)} task{'s' * (len(wanted) > 1)}") as status:
        try:
            states: dict[str, str] = {}
            for task in opened.watch(handles, include_result=True, timeout_s=timeout_s):
                states[task.id] = task.state.value
                if task.done:
                    ended[task.id] = task
                if status:
                    running = sum(state == "running" for state in states.values())
                    status.update(f"{len(ended)} of {len(wanted)} ended, {running} running")
        except TimeoutError:
            raise CommandFailed(_gave_up([id_ for id_ in wanted if id_ not in ended], timeout_s)) from None
    return [ended[handle.id] for handle in handles]


def print_stream(opened: "Client", handle: "TaskHandle", timeout_s: float | None) -> None:
    """Write a generation's text while it comes. Raises TaskFailedError when the task ends without a result."""
    with _hint([handle]):
        try:
            write_chunks(opened.stream(handle, timeout_s=timeout_s))
        except TimeoutError:
            raise CommandFailed(_gave_up([handle.id], timeout_s)) from None


def write_chunks(chunks: Iterator["Chunk"]) -> None:
    """Write the first answer as it comes, and end the line; others follow once they are whole."""
    wrote = ""
    others: defaultdict[int, str] = defaultdict(str)
    reasons: dict[int, str] = {}
    try:
        for chunk in chunks:
            if chunk.restarted:
                others.clear()
                if wrote:
                    click.echo()
                    click.echo("[its runner was lost; the answer begins again]", err=True)
            if chunk.text:
                wrote = chunk.text
                click.echo(chunk.text, nl=False)
                sys.stdout.flush()
            for other in chunk.others:
                others[other.index] += other.text
                reasons[other.index] = other.finish_reason
    finally:
        if wrote and not wrote.endswith("\n"):
            click.echo()
    for index, text in sorted(others.items()):
        click.echo(f"{head(index, reasons[index])}\n{text}")


def head(index: int, finish_reason: str) -> str:
    """Return the line above one of several answers."""
    return click.style(f"choice {index}" + (f" ({finish_reason})" if finish_reason else ""), bold=True)


def _gave_up(ids: Sequence[str], timeout_s: float | None) -> str:
    """Say which tasks go on although nobody waits any more. All of them: nothing else has named them."""
    waited = f"not ended after {timeout_s or 0:g} s"
    if len(ids) == 1:
        return f"task {ids[0]} had {waited}; it goes on, see: forebay get {ids[0]}"
    return f"{len(ids)} tasks had {waited}; they go on, see: forebay get ID, with {', '.join(ids)}"


@contextmanager
def spinner(text: str) -> Iterator["Status | None"]:
    """Show that something goes on, on stderr, when that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    with render.console(stderr=True).status(text) as status:
        yield status


@contextmanager
def _hint(handles: Sequence["TaskHandle"]) -> Iterator[None]:
    """Say on Ctrl-C that the tasks go on."""
    try:
        yield
    except KeyboardInterrupt:
        named = handles[0].id if len(handles) == 1 else f"{handles[0].id} … ({len(handles)} tasks)"
        click.echo(f"\nno longer waiting; {named} goes on. See `forebay get`, `forebay cancel`.", err=True)
        raise
