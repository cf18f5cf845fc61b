"""`forebay recover`: the records again from the log, or the log again from the records."""

from pathlib import Path
from typing import Any

import click

from services.cli import render
from services.cli.servers import located, run, variables
from services.cli.session import as_json


@click.command()
@located
@click.option(
    "--republish", is_flag=True, help="Put every task that has not ended on the log again, from its record."
)
@click.option("--dry-run", is_flag=True, help="Change nothing; say what would be done.")
@as_json
def recover(
    data: Path | None,
    redis: str,
    broker: str,
    admin: str,
    config: Path | None,
    republish: bool,
    dry_run: bool,
    json_: bool,
) -> None:
    """Make records again that were lost, from the log.

    Reads everything that the log keeps, leaves out what has ended, and records each remaining task that has no
    record: queued, scheduled or blocked as it was accepted. Records that exist are never touched, so it can be done
    again, and while work goes on. With --republish the other way round: after the log lost messages.
    """  # fmt: skip
    known = variables(data=data, redis=redis, broker=broker, admin=admin, config=config, needs_log=True)
    words = ["republish" if republish else "replay", *(["--dry-run"] if dry_run else [])]
    done = run(words, known)
    if json_:
        render.emit(done)
    elif republish:
        would = "would be " if dry_run else ""
        click.echo(f"{done['queued']} queued tasks {would}put on their lanes again")
        click.echo(f"{done['parked']} running or waiting tasks {would}kept on the log again")
    else:
        render.facts(_facts(done, dry_run=dry_run))
        for task_id in done["faults"]["ids"]:
            click.echo(f"damaged on the log, not used: {task_id}", err=True)


def _facts(done: dict[str, Any], *, dry_run: bool) -> list[tuple[str, object]]:
    recovered = "would recover" if dry_run else "recovered"
    faults = done["faults"]
    found = [
        ("ended by the log", done["finished"]),
        ("not ended", done["unfinished"]),
        ("with a record", done["existing"]),
        (recovered, done["recovered"]),
        ("  queued", done["queued"]),
        ("  scheduled", done["scheduled"]),
        ("  blocked", done["blocked"]),
        ("  ended by a parent", done["ended"]),
        ("replaced by a newer task", done["superseded"]),
        ("damaged envelopes", faults["damaged"]),
        ("unreadable messages", faults["unreadable"]),
    ]
    return [(name, str(count)) for name, count in found]
