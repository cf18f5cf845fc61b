"""`forebay doctor`: what is wrong with this machine, and how to fix it."""

import os
from pathlib import Path

import click

from services.cli import render
from services.cli.exits import Exit
from services.cli.session import as_json


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), help="The data folder of `forebay up`."
)
@click.option("--grpc-port", type=click.IntRange(1, 65535), default=7070, show_default=True)
@click.option("--http-port", type=click.IntRange(1, 65535), default=7080, show_default=True)
@click.option("--broker", metavar="URL", default="", help="Check this broker instead of the embedded one.")
@click.option("--redis", metavar="URL", default="", help="Check this Redis instead of the embedded one.")
@as_json
@click.pass_context
def doctor(
    ctx: click.Context,
    data: Path | None,
    grpc_port: int,
    http_port: int,
    broker: str,
    redis: str,
    json_: bool,
) -> None:
    """Check this machine and say how to fix what is wrong. The exit code is 1 when something is."""  # fmt: skip
    from services.cli import settings
    from services.cli.checks import Verdict, examine

    known = settings.variables(None, os.environ)
    external = settings.servers(known, broker=broker, broker_admin="", redis=redis, otlp="")
    found = examine(
        data=(data or settings.default_data()).expanduser(),
        address=ctx.obj,
        ports=(grpc_port, http_port),
        external=external,
    )
    faults = [one for one in found if one.verdict is Verdict.FAULT]
    if json_:
        render.emit(found)
    else:
        render.table(
            ("check", "verdict", "found"), ((c.name, c.verdict.value, c.found) for c in found), empty=""
        )
        for one in found:
            if one.fix:
                click.echo(f"{click.style(one.name, bold=True)}: {one.fix}")
        click.echo(
            f"\n{len(faults)} fault{'s' * (len(faults) != 1)} found" if faults else "\neverything is in order"
        )
    ctx.exit(int(Exit.FAILED if faults else Exit.DONE))
