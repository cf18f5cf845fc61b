"""`forebay cache purge` and `warm`: what changes what the result cache holds."""

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from services.cli import cache_tables, render
from services.cli.exits import Exit
from services.cli.recent_requests import recent_requests
from services.cli.request import duration, specs_from_file
from services.cli.session import as_json, client, pair, pairs

if TYPE_CHECKING:
    from forebay.client import Warmed
    from forebay.tasks.v1.task_pb2 import TaskSpec

of_tenant = click.option("--tenant", default="", help="Answers of this tenant; for operators.")
FILE = click.Path(path_type=Path, allow_dash=True)


@click.command()
@click.option("--model", default="", help="Answers of this model, in all its versions.")
@click.option("--label", metavar="K=V", callback=pair, help="Answers to tasks with this label.")
@click.option("--key", default="", help="The answer with this key: see `forebay cache get`.")
@click.option("--all", "all_", is_flag=True, help="Every answer of the tenant.")
@of_tenant
@click.option("--all-tenants", is_flag=True, help="Answers of all tenants; for operators.")
@click.option("--dry-run", is_flag=True, help="Only say what is held, where that is known at once.")
@click.option("--yes", is_flag=True, help="Do not ask before everything is purged.")
@as_json
@click.pass_obj
def purge(
    address: str,
    model: str,
    label: tuple[str, str] | None,
    key: str,
    all_: bool,
    tenant: str,
    all_tenants: bool,
    dry_run: bool,
    yes: bool,
    json_: bool,
) -> None:
    """Let answers never be given again: in every tier of every gateway, within a second.

    Answers that meet every condition, of the caller's own tenant unless another or all are named.
    """
    narrowed = bool(model or label or key)
    if narrowed == all_:
        raise click.UsageError("say what: --model, --label and --key, or --all")
    if tenant and all_tenants:
        raise click.UsageError("--tenant and --all-tenants exclude each other")
    if all_ and not (yes or dry_run):
        whose = "of all tenants" if all_tenants else f"of {tenant}" if tenant else "of this tenant"
        click.confirm(f"Purge every cached answer {whose}?", abort=True, err=True)
    with client(address) as opened:
        found = opened.cache.purge(
            model=model,
            label=label,
            key=key,
            everything=all_,
            tenant=tenant,
            all_tenants=all_tenants,
            dry_run=dry_run,
        )
        unknown = model and all(model != runner.model for runner in opened.runners())
    if unknown:
        click.echo(f"warning: there is no model {model!r} now: a slip?", err=True)
    if json_:
        render.emit(found)
        return
    held = ", ".join(f"{one.tier} {one.entries} ({cache_tables.size(one.held_bytes)})" for one in found.held)
    before = f"answers from before {render.moment(found.before)} are purged" if found.before else ""
    known = f"held: {held}" if held else "what is held of them is not known without reading every entry"
    click.echo("; ".join(filter(None, (before, known if held or dry_run else ""))))


@click.command()
@click.argument("file", required=False, type=FILE)
@click.option("--log", is_flag=True, help="What was submitted lately, in place of a file.")
@click.option("--since", metavar="TIME", callback=duration, help="With --log: not longer ago than 30m, 2h.")
@click.option(
    "--limit", type=click.IntRange(1), default=1000, show_default=True, help="With --log: so many tasks."
)
@click.option(
    "--model", default="", help="With --log: tasks for this model. With a file: where it names none."
)
@click.option(
    "--label",
    "labels",
    metavar="K=V",
    multiple=True,
    callback=pairs,
    help="With --log: only with this label.",
)
@click.option("--refresh", is_flag=True, help="Compute anew what is there.")
@as_json
@click.pass_context
def warm(
    ctx: click.Context,
    file: Path | None,
    log: bool,
    since: timedelta | None,
    limit: int,
    model: str,
    labels: dict[str, str],
    refresh: bool,
    json_: bool,
) -> None:
    """Have answers computed before they are asked for, behind everybody who waits.

    FILE has tasks as `forebay submit --json` takes them: JSON, a list, or one a line; - reads stdin. May be repeated:
    what is there is passed over. The exit code is 1 when one of them failed.
    """
    if (file is None) != log:
        raise click.UsageError("give a FILE, or --log")
    if not log and (since or labels):
        raise click.UsageError("--since and --label go with --log")
    # A time-out for each few: a call lasts as long as the slowest of them.
    with client(ctx.obj, timeout_s=600.0) as opened:
        requests: Iterable[TaskSpec]
        if file is not None:
            requests = specs_from_file(file, model, {})
        else:
            requests = recent_requests(opened, model=model, labels=labels, since=since, limit=limit)
        counts, faults = _tally(opened.cache.warm(requests, refresh=refresh))
    if json_:
        render.emit({**counts, "errors": faults})
    else:
        click.echo(", ".join(f"{count} {word}" for word, count in counts.items()))
        if not any(counts.values()):
            click.echo(
                "nothing was submitted lately that could be asked again" if log else "no task", err=True
            )
        for fault, count in faults.items():
            click.echo(f"{count} x {fault}", err=True)
    ctx.exit(int(Exit.FAILED if counts["failed"] else Exit.DONE))


def _tally(results: Iterable["Warmed"]) -> tuple[dict[str, int], dict[str, int]]:
    """Count what became of requests, and why."""
    counts = dict.fromkeys(("computed", "present", "uncacheable", "failed"), 0)
    faults: Counter[str] = Counter()
    for one in results:
        counts[one.outcome] = counts.get(one.outcome, 0) + 1
        if one.error is not None:
            faults[str(one.error)] += 1
    return counts, dict(faults.most_common(20))
