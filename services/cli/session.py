"""Opening the client for a command, and options that several commands share."""

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from services.cli.exits import CommandFailed, Exit, code_of
from services.cli.settings import API_KEY

if TYPE_CHECKING:
    from forebay.client import Client, PauseInfo

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


def api_key() -> str | None:
    """Return what --api-key gave; None without it."""
    context = click.get_current_context(silent=True)
    return context.meta.get(API_KEY) if context else None


@contextmanager
def client(address: str, *, timeout_s: float = 30.0) -> Iterator["Client"]:
    """Open a client. A server that is not there is reported within seconds, not within the timeout.

    Raises CommandFailed from the block when there is no server at the address.
    """
    # Imported here: `--help` and commands without a server need none of it.
    from forebay.client import Client, RetryPolicy, Unavailable

    retry = RetryPolicy(attempts=3, reconnect_s=10.0)
    try:
        made = Client(address, api_key=api_key(), timeout_s=timeout_s, retry=retry)
    except ValueError as fault:
        raise CommandFailed(str(fault), Exit.USAGE) from None
    with made as opened:
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


def pair(ctx: click.Context, param: click.Parameter, given: str | None) -> tuple[str, str] | None:
    """Read one option of the form K=V. Raises BadParameter."""
    if given is None:
        return None
    key, equals, value = given.partition("=")
    if not (key and equals):
        raise click.BadParameter(f"{given!r} is not K=V")
    return key, value


def pause_conditions(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what a pause holds back; at least one must be given."""

    @functools.wraps(command)
    def checked(*arguments: Any, **options: Any) -> Any:
        if not any(options[name] for name in ("pool", "priority", "model", "label")):
            raise click.UsageError("say what: --pool, --priority, --model or --label")
        return command(*arguments, **options)

    found: Callable[..., Any] = checked
    for option in (
        click.option("--label", metavar="K=V", callback=pair, help="Tasks with this label."),
        click.option("--model", default="", help="Tasks for this model."),
        click.option("--priority", type=click.Choice(PRIORITIES), help="Tasks of this level."),
        click.option("--pool", default="", help="Tasks of this pool."),
    ):
        found = option(found)
    return found


def paused_what(pause: "PauseInfo") -> str:
    """Say in words what a pause holds back."""
    conditions = (
        f"pool {pause.pool}" if pause.pool else "",
        f"level {pause.priority.value}" if pause.priority else "",
        f"model {pause.model}" if pause.model else "",
        f"label {'='.join(pause.label)}" if pause.label else "",
    )
    why = f" ({pause.reason})" if pause.reason else ""
    return ", ".join(filter(None, conditions)) + why


def filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that narrow down which tasks are meant."""
    states = click.option(
        "--state", "states", multiple=True, type=click.Choice(STATES), help="Only in this state."
    )
    return states(letter_filters(command))


def letter_filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the same without states, for dead letters."""
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
    ):
        command = option(command)
    return command
