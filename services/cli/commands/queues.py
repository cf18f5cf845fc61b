"""`forebay queues`: what waits and what runs, level by level."""

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from services.cli import render
from services.cli.session import as_json, client, paused_what

if TYPE_CHECKING:
    from forebay.client import QueueInfo

COLUMNS = ("pool", "level", ">queued", ">oldest", ">running", ">later", ">finished/s", ">share", "")


@click.command()
@click.option("--pool", default="", help="Only this pool.")
@click.option("--watch", "watch_", is_flag=True, help="Again and again, until Ctrl-C.")
@click.option(
    "--every", type=click.FloatRange(0.1), default=1.0, show_default=True, help="Seconds between two looks."
)
@as_json
@click.pass_obj
def queues(address: str, pool: str, watch_: bool, every: float, json_: bool) -> None:
    """Show what waits and what runs, highest level first."""
    with client(address) as opened:
        while True:
            found = opened.queues(pool)
            if json_:
                render.emit(found, one_line=watch_)
            else:
                if watch_:
                    # Does nothing where there is no terminal: there one table follows the other.
                    click.clear()
                show(found)
                for pause in opened.pauses():
                    click.echo(f"paused since {render.moment(pause.since)}: {paused_what(pause)}")
            if not watch_:
                return
            time.sleep(every)


def show(found: Iterable["QueueInfo"]) -> None:
    """Write queues as a table."""
    render.table(COLUMNS, (_row(queue) for queue in found), empty="no queues")


def _row(queue: "QueueInfo") -> Sequence[object]:
    return (
        queue.pool,
        queue.priority.value,
        queue.depth,
        render.seconds(queue.oldest_age_s),
        queue.running,
        queue.waiting,
        queue.finished_per_second,
        f"{queue.share:.1%}",
        "paused" if queue.paused else "",
    )
