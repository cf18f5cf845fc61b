"""`forebay queues`: what waits and what runs, level by level."""

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import click

from services.cli import render
from services.cli.session import as_json, client, paused_what

if TYPE_CHECKING:
    from forebay.client import QueueInfo

COLUMNS: Final = (
    *("pool", "level", ">queued", ">work", ">oldest", ">running", ">later"),
    *(">arrived/s", ">started/s", ">finished/s", ">share", ">got", ""),
)
TENANTS: Final = ("pool", "level", "tenant", ">queued", ">work", ">running")
LANES: Final = ("pool", "level", ">lane", ">in window", "scheduler")


@click.command()
@click.option("--pool", default="", help="Only this pool.")
@click.option("--tenants", is_flag=True, help="Show who waits most, too.")
@click.option("--lanes", is_flag=True, help="Show the lanes that brought tasks and who reads them, too.")
@click.option("--watch", "watch_", is_flag=True, help="Again and again, until Ctrl-C.")
@click.option(
    "--every", type=click.FloatRange(0.1), default=1.0, show_default=True, help="Seconds between two looks."
)
@as_json
@click.pass_obj
def queues(
    address: str, pool: str, tenants: bool, lanes: bool, watch_: bool, every: float, json_: bool
) -> None:
    """Show what waits and what runs, highest level first.

    `work` is the expected work of what is queued, in the time of one runner; `share` the part of all work that a level
    is to have while every level is busy, `got` the part that it had in the last ten seconds.
    """
    with client(address) as opened:
        while True:
            found = opened.queues(pool)
            if json_:
                render.emit(found, one_line=watch_)
            else:
                if watch_:
                    # Does nothing where there is no terminal: there one table follows the other.
                    click.clear()
                show(found, tenants=tenants, lanes=lanes)
                for pause in opened.pauses():
                    click.echo(f"paused since {render.moment(pause.since)}: {paused_what(pause)}")
            if not watch_:
                return
            time.sleep(every)


def show(found: Sequence["QueueInfo"], *, tenants: bool = False, lanes: bool = False) -> None:
    """Write queues as a table; who waits in them and who reads their lanes as others."""
    render.table(COLUMNS, (_row(queue) for queue in found), empty="no queues")
    if tenants:
        click.echo()
        render.table(TENANTS, _tenants(found), empty="no tenants")
    if lanes:
        click.echo()
        render.table(LANES, _lanes(found), empty="no lane brought anything so far")


def _row(queue: "QueueInfo") -> Sequence[object]:
    return (
        queue.pool,
        queue.priority.value,
        queue.depth,
        render.seconds(queue.queued_work_s) if queue.depth else "",
        render.seconds(queue.oldest_age_s),
        queue.running,
        queue.waiting,
        queue.arrived_per_second,
        queue.started_per_second,
        queue.finished_per_second,
        f"{queue.share:.1%}",
        f"{queue.share_got:.1%}",
        "paused" if queue.paused else "",
    )


def _tenants(found: Iterable["QueueInfo"]) -> Iterable[Sequence[object]]:
    for queue in found:
        for load in queue.tenants:
            work = render.seconds(load.queued_work_s) if load.queued else ""
            yield queue.pool, queue.priority.value, load.tenant, load.queued, work, load.running


def _lanes(found: Iterable["QueueInfo"]) -> Iterable[Sequence[object]]:
    for queue in found:
        for lane in queue.lanes:
            if lane.scheduler:
                name = f"{lane.index} express" if lane is queue.lanes[-1] else str(lane.index)
                yield queue.pool, queue.priority.value, name, lane.in_window, lane.scheduler
