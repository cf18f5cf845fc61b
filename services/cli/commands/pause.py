"""`forebay pause`: stop the start of tasks."""

import click

from services.cli import render
from services.cli.session import as_json, client, pause_conditions, paused_what


@click.command()
@pause_conditions
@click.option("--reason", default="", help="Why, for those who find it paused.")
@as_json
@click.pass_obj
def pause(
    address: str,
    pool: str,
    priority: str | None,
    model: str,
    label: tuple[str, str] | None,
    reason: str,
    json_: bool,
) -> None:
    """Stop the start of tasks that meet every condition given. What runs goes on; new tasks are accepted and kept."""
    with client(address) as opened:
        made = opened.pause(pool=pool, priority=priority, model=model, label=label, reason=reason)
        # Allowed, since both may come later; but a slip here would hold back nothing.
        known_pools = {one.pool for one in opened.queues()} if pool else set()
        known_models = {one.model for one in opened.runners()} if model else set()
    strange = [
        f"{kind} {name}"
        for kind, name, known in (("pool", pool, known_pools), ("model", model, known_models))
        if name and name not in known
    ]
    if json_:
        render.emit(made)
    else:
        click.echo(f"paused: {paused_what(made)}")
    for what in strange:
        click.echo(f"warning: there is no {what} now: a slip? forebay resume takes the pause back", err=True)
