"""`forebay resume`: take back a pause."""

import click

from services.cli import render
from services.cli.session import as_json, client, pause_conditions, paused_what


@click.command()
@pause_conditions
@as_json
@click.pass_obj
def resume(
    address: str,
    pool: str,
    priority: str | None,
    model: str,
    label: tuple[str, str] | None,
    json_: bool,
) -> None:
    """Take back the pause with exactly these conditions; forebay queues lists those that stand."""
    with client(address) as opened:
        gone = opened.resume(pool=pool, priority=priority, model=model, label=label)
    if json_:
        render.emit(gone)
    else:
        click.echo(f"resumed: {paused_what(gone)}")
