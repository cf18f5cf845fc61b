"""`forebay watch`: tasks as they change."""

import click

from services.cli import render
from services.cli.commands.ls import summary
from services.cli.exits import Exit
from services.cli.session import as_json, client, named, pairs


@click.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option(
    "--label", "labels", metavar="K=V", multiple=True, callback=pairs, help="All tasks with this label."
)
@click.option("--all", "all_", is_flag=True, help="Every task, from now on.")
@as_json
@click.pass_context
def watch(ctx: click.Context, ids: tuple[str, ...], labels: dict[str, str], all_: bool, json_: bool) -> None:
    """Follow tasks as they change, one line (with --json: one document a line) for each change.

    Named tasks are followed until they have ended; the exit code is 1 when one of them ended without a result.
    Otherwise it goes on until Ctrl-C.
    """
    if sum((bool(ids), bool(labels), all_)) != 1:
        raise click.UsageError("say what to watch: task ids, --label K=V, or --all")
    failed = False
    with client(ctx.obj) as opened, named(ids):
        for task in opened.watch(ids or None, labels=labels or None):
            failed = failed or (task.done and task.state.value != "succeeded")
            if json_:
                render.emit(summary(task), one_line=True)
                continue
            why = f"{task.error.reason}: {task.error}" if task.error else ""
            attempt = f"attempt {task.attempt}" if task.attempt else ""
            state = click.style(f"{task.state.value:<9}", fg=render.STATE_COLOURS.get(task.state.value))
            click.echo("  ".join(part for part in (task.id, state, attempt, task.runner, why) if part))
    ctx.exit(int(Exit.FAILED if failed else Exit.DONE))
