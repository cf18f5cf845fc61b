"""`forebay schedules`: tasks that recur."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from services.cli import render
from services.cli.request import duration, specs_from_file
from services.cli.serving import warn_unserved_model
from services.cli.session import as_json, client

if TYPE_CHECKING:
    from forebay.client import ScheduleInfo

COLUMNS = ("name", "when", "zone", "model", "next", "last", "last task", ">missed", "fault")


@click.group()
def schedules() -> None:
    """Tasks that recur: by a cron expression or an interval."""


@schedules.command()
@click.argument("name")
@click.option(
    "--task",
    "file",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path, allow_dash=True),
    help="The task: a TaskSpec as JSON; - reads stdin.",
)
@click.option("--cron", default="", help="Minute, hour, day of month, month, day of week: '0 9 * * mon-fri'.")
@click.option("--every", metavar="TIME", callback=duration, help="An interval instead: 30s, 5m, 2h, 1d.")
@click.option("--zone", default="", help="Time zone of --cron, such as Europe/Berlin. Default: UTC.")
@click.option(
    "--missed",
    type=click.Choice(("skip", "run_once")),
    default="skip",
    show_default=True,
    help="What is done about times that passed while nothing ran.",
)
@click.option(
    "--run-within", metavar="TIME", callback=duration, help="Each task expires so long after its time."
)
@click.option("--paused", is_flag=True, help="Make it, but let it rest.")
@as_json
@click.pass_obj
def create(
    address: str,
    name: str,
    file: Path,
    cron: str,
    every: timedelta | None,
    zone: str,
    missed: str,
    run_within: timedelta | None,
    paused: bool,
    json_: bool,
) -> None:
    """Make a schedule. The same one again is returned as it is."""
    if bool(cron) == (every is not None):
        raise click.UsageError("give either --cron or --every")
    specs = specs_from_file(file, "", {})
    if len(specs) != 1:
        raise click.UsageError(f"{file} holds {len(specs)} tasks; a schedule submits one")
    with client(address) as opened:
        made = opened.schedules.create(
            name,
            specs[0],
            cron=cron,
            interval=every,
            time_zone=zone,
            missed=missed,
            run_within=run_within,
            paused=paused,
        )
    _show(made, json_)
    warn_unserved_model(address, made.spec)


@schedules.command()
@as_json
@click.pass_obj
def ls(address: str, json_: bool) -> None:
    """List schedules by name."""
    with client(address) as opened:
        found = list(opened.schedules.list())
    if json_:
        render.emit(found)
    else:
        render.table(COLUMNS, (_row(one) for one in found), empty="no schedules")


@schedules.command()
@click.argument("name")
@as_json
@click.pass_obj
def show(address: str, name: str, json_: bool) -> None:
    """Show a schedule."""
    with client(address) as opened:
        _show(opened.schedules.get(name), json_)


@schedules.command()
@click.argument("name")
@as_json
@click.pass_obj
def pause(address: str, name: str, json_: bool) -> None:
    """Let a schedule make no tasks until it is resumed."""
    with client(address) as opened:
        _show(opened.schedules.pause(name), json_)


@schedules.command()
@click.argument("name")
@as_json
@click.pass_obj
def resume(address: str, name: str, json_: bool) -> None:
    """Let a paused schedule go on with the next time after now."""
    with client(address) as opened:
        _show(opened.schedules.resume(name), json_)


@schedules.command()
@click.argument("name")
@as_json
@click.pass_obj
def run(address: str, name: str, json_: bool) -> None:
    """Submit its task now, beside its times, and print the id."""
    with client(address) as opened:
        made = opened.schedules.run(name)
    if json_:
        render.emit(made)
    else:
        click.echo(made.id)


@schedules.command()
@click.argument("name")
@click.pass_obj
def rm(address: str, name: str) -> None:
    """Delete a schedule. Tasks that it made stay."""
    with client(address) as opened:
        opened.schedules.delete(name)
    click.echo(f"{name} deleted")


def _show(schedule: "ScheduleInfo", json_: bool) -> None:
    if json_:
        render.emit(schedule)
        return
    render.facts(
        (
            ("name", schedule.name),
            ("when", _when(schedule)),
            ("zone", schedule.time_zone if schedule.cron else ""),
            ("model", schedule.spec.model),
            ("labels", render.labels(schedule.spec.labels)),
            ("state", "paused" if schedule.paused else "active"),
            ("made", schedule.create_time),
            ("next", render.due(schedule.next_time)),
            ("last", schedule.last_time),
            ("last task", schedule.last_task),
            ("within", render.seconds(schedule.run_within.total_seconds()) if schedule.run_within else ""),
            ("missed", f"{schedule.missed_times}; by its rule: {schedule.missed.replace('_', ' ')}"),
            ("fault", schedule.last_fault),
        )
    )


def _row(schedule: "ScheduleInfo") -> tuple[object, ...]:
    return (
        schedule.name,
        _when(schedule),
        schedule.time_zone if schedule.cron else "",
        schedule.spec.model,
        "paused" if schedule.paused else schedule.next_time,
        render.ago(schedule.last_time),
        schedule.last_task,
        schedule.missed_times or "",
        schedule.last_fault or ("overdue" if render.late(schedule.next_time) else ""),
    )


def _when(schedule: "ScheduleInfo") -> str:
    if schedule.interval is None:
        return schedule.cron
    return f"every {render.seconds(schedule.interval.total_seconds())}"
