"""`forebay cancel`: named tasks, or all that match."""

from collections.abc import Sequence

import click

from services.cli import render
from services.cli.exits import Exit
from services.cli.session import as_json, client, filters, named


@click.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@filters
@click.option("--all", "all_", is_flag=True, help="Every task that has not ended.")
@click.option("--yes", is_flag=True, help="Do not ask before cancelling by filter.")
@as_json
@click.pass_context
def cancel(
    ctx: click.Context,
    ids: tuple[str, ...],
    states: Sequence[str],
    model: str,
    labels: dict[str, str],
    priorities: Sequence[str],
    pool: str,
    all_: bool,
    yes: bool,
    json_: bool,
) -> None:
    """Cancel tasks, queued or running. After it, no result of them appears.

    Either name them, or say by filter which ones (--all: every one). The exit code is 1 when a named task does not
    exist.
    """  # fmt: skip
    filtered = bool(states or model or labels or priorities or pool)
    if sum((bool(ids), filtered, all_)) != 1:
        raise click.UsageError("say what to cancel: task ids, filters such as --model M, or --all")
    if not ids and not yes:
        click.confirm(
            "Cancel every task that matches?" if filtered else "Cancel every task?", abort=True, err=True
        )
    with client(ctx.obj) as opened, named(ids):
        if not ids:
            for progress in opened.cancel_all_matching(
                states=states, model=model, labels=labels, priorities=priorities, pool=pool
            ):
                if json_ and progress.done:
                    render.emit(progress)
                elif not json_:
                    last = "" if progress.done else " so far"
                    click.echo(
                        f"{progress.cancelled} of {progress.seen} cancelled{last}", err=not progress.done
                    )
            return
        done = opened.cancel(ids)
    if json_:
        render.emit(done)
    else:
        for id_, fate in done.outcomes.items():
            click.echo(f"{id_}  {fate.replace('_', ' ')}")
        click.echo(
            f"{done.cancelled} cancelled, {done.already_terminal} had ended, {done.not_found} not found"
        )
    ctx.exit(int(Exit.FAILED if done.not_found else Exit.DONE))
