"""`forebay backup`: all records in one file."""

from pathlib import Path

import click

from services.cli import render
from services.cli.servers import located, run, variables
from services.cli.session import as_json


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@located
@as_json
def backup(
    file: Path, data: Path | None, redis: str, broker: str, admin: str, config: Path | None, json_: bool
) -> None:
    """Copy all records, results, schedules, pauses and dead letters into FILE.

    Work may go on meanwhile: each record is whole, and two records may show different moments. The file contains
    inputs and outputs of tasks, and is made readable for its owner only.
    """  # fmt: skip
    known = variables(data=data, redis=redis, broker=broker, admin=admin, config=config, needs_log=False)
    done = run(["backup", str(file.absolute())], known)
    if json_:
        render.emit(done)
    else:
        click.echo(f"{done['keys']} keys, {done['file_bytes']} bytes in {file}")
