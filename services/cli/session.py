"""Opening the client for a command, and options that several commands share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

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

as_json = click.option("--json", "json_", is_flag=True, help="Write JSON.")


@contextmanager
def client(address: str, *, timeout_s: float = 30.0) -> Iterator["Client"]:
    """Open a client. A server that is not there is reported within seconds, not within the timeout."""
    # Imported here: `--help` and commands without a server need none of it.
    from forebay.client import Client, RetryPolicy

    with Client(address, timeout_s=timeout_s, retry=RetryPolicy(attempts=3, reconnect_s=10.0)) as opened:
        yield opened


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
