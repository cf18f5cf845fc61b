"""Opening the client for a command, and options that several commands share."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from services.cli.exits import CommandFailed, Exit, code_of

if TYPE_CHECKING:
    from forebay.client import Client

STATES: Final = (
    "scheduled",
    "blocked",
    "queued",
    "running",
    "retrying",
    "succeeded",
    "failed",
    "cancelled",
    "expired",
)
PRIORITIES: Final = ("critical", "high", "normal", "low")

_ID_FIELD: Final = re.compile(r"id|tasks\.ids\[\d+\]")
"""Paths of fields that hold an id that a person typed."""

as_json = click.option("--json", "json_", is_flag=True, help="Write JSON.")


@contextmanager
def client(address: str, *, timeout_s: float = 30.0) -> Iterator["Client"]:
    """Open a client. A server that is not there is reported within seconds, not within the timeout.

    Raises CommandFailed from the block when there is no server at the address.
    """
    # Imported here: `--help` and commands without a server need none of it.
    from forebay.client import Client, RetryPolicy, Unavailable

    with Client(address, timeout_s=timeout_s, retry=RetryPolicy(attempts=3, reconnect_s=10.0)) as opened:
        try:
            yield opened
        except Unavailable as error:
            if code_of(error) is not Exit.UNREACHABLE:
                raise
            raise CommandFailed(
                f"no server at {address}; start one with: forebay up", Exit.UNREACHABLE
            ) from error


@contextmanager
def named(ids: Sequence[str]) -> Iterator[None]:
    """Say which of the ids that a person typed cannot be one, in place of the path of a field in the request."""
    from forebay.client import InvalidArgument
    from scheduler.ids import is_task_id

    try:
        yield
    except InvalidArgument as error:
        wrong = [repr(id_) for id_ in ids if not is_task_id(id_)]
        if not wrong or not all(_ID_FIELD.fullmatch(fault.field) for fault in error.faults):
            raise
        are = "are not task ids" if len(wrong) > 1 else "is not a task id"
        raise CommandFailed(f"{', '.join(wrong)} {are}; forebay ls shows those that there are") from error


def pairs(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """Read options of the form K=V. Raises BadParameter."""
    found = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not (key and equals):
            raise click.BadParameter(f"{one!r} is not K=V")
        found[key] = value
    return found


def filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that narrow down which tasks are meant."""
    for option in (
        click.option("--pool", default="", help="Only of this pool."),
        click.option(
            "--priority",
            "priorities",
            multiple=True,
            type=click.Choice(PRIORITIES),
            help="Only of this level.",
        ),
        click.option(
            "--label", "labels", metavar="K=V", multiple=True, callback=pairs, help="Only with this label."
        ),
        click.option("--model", default="", help="Only of this model."),
        click.option(
            "--state", "states", multiple=True, type=click.Choice(STATES), help="Only in this state."
        ),
    ):
        command = option(command)
    return command
