"""`forebay update`: change tasks that wait."""

from datetime import datetime, timedelta

import click

from services.cli import render
from services.cli.commands.ls import summary
from services.cli.exits import Exit
from services.cli.request import duration, moment
from services.cli.session import PRIORITIES, as_json, client, named


@click.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--priority", type=click.Choice(PRIORITIES), help="The level that they shall have.")
@click.option(
    "--deadline-in", metavar="TIME", callback=duration, help="A deadline so long from now: 30s, 5m, 2h."
)
@click.option("--no-deadline", is_flag=True, help="Take the deadline away.")
@click.option(
    "--start-in", metavar="TIME", callback=duration, help="Start them no sooner than so long from now."
)
@click.option(
    "--start-at", metavar="TIME", callback=moment, help="Start them no sooner than 2030-01-31T09:00:00Z."
)
@as_json
@click.pass_context
def update(
    ctx: click.Context,
    ids: tuple[str, ...],
    priority: str | None,
    deadline_in: timedelta | None,
    no_deadline: bool,
    start_in: timedelta | None,
    start_at: datetime | None,
    json_: bool,
) -> None:
    """Change tasks that have not started: their level, deadline or earliest start.

    The exit code is 1 when one of them was not changed: it runs, has ended, or does not exist.
    """  # fmt: skip
    times = (deadline_in, start_in, start_at)
    if not (priority or no_deadline) and times == (None, None, None):
        raise click.UsageError(
            "say what to change: --priority, --deadline-in, --no-deadline, --start-in or --start-at"
        )
    if deadline_in is not None and no_deadline:
        raise click.UsageError("--deadline-in and --no-deadline exclude each other")
    if start_in is not None and start_at is not None:
        raise click.UsageError("--start-in and --start-at exclude each other")
    with client(ctx.obj) as opened, named(ids):
        outcomes = opened.update(
            ids,
            priority=priority,
            deadline=deadline_in,
            not_before=start_in if start_in is not None else start_at,
            clear_deadline=no_deadline,
        )
    failed = {id_: result for id_, result in outcomes.items() if isinstance(result, Exception)}
    if json_:
        render.emit(
            {
                id_: result if isinstance(result, Exception) else summary(result)
                for id_, result in outcomes.items()
            }
        )
    else:
        for id_, result in outcomes.items():
            if isinstance(result, Exception):
                click.echo(f"{id_}  not changed: {result}", err=True)
            else:
                click.echo(f"{id_}  {result.state.value}  {result.priority.value}")
                if result.state.value == "retrying" and (start_in is not None or start_at is not None):
                    click.echo(
                        f"{id_}  rests until its next attempt: an earlier start changes nothing", err=True
                    )
    ctx.exit(int(Exit.FAILED if failed else Exit.DONE))
