"""`forebay explain`: where a task is, why it is still there, and how it spent its time."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from services.cli import render, values
from services.cli.commands import get
from services.cli.session import as_json, client, named

if TYPE_CHECKING:
    from forebay.client import Ahead, Estimate, Explanation, Phase

WORDS: Final = {
    "CANNOT_FINISH": "too late to end before its deadline",
    "LEASE_EXPIRED": "its runner was not heard of any more",
    "PARENT_FAILED": "a task before it did not succeed",
    "PROMOTED": "near its deadline: on the express lane",
    "RETURNED": "given back by its runner, not charged",
    "RUNNER_CRASHED": "its runner died",
    "RUNNER_OUT_OF_MEMORY": "its runner was killed for its memory",
    "UNSHELVED": "put on the log again: it can start now",
    "UPDATED": "changed",
    "WHILE_BLOCKED": "its deadline passed while it waited for others",
    "WHILE_QUEUED": "its deadline passed in its queue",
    "WHILE_RETRYING": "its deadline passed while it rested",
    "WHILE_RUNNING": "its deadline passed while it ran",
    "WHILE_SCHEDULED": "its deadline passed before its time came",
}
"""Reasons of events in words; others are shown as they are."""
AT_ONCE_S: Final = 0.1


@click.command()
@click.argument("id_", metavar="ID")
@as_json
@click.pass_obj
def explain(address: str, id_: str, json_: bool) -> None:
    """Say why a task waits, what is before it and when it is expected to start, or how it spent its life."""
    with client(address) as opened, named([id_]):
        found = opened.explain(id_)
    if json_:
        render.emit(fields(found))
    else:
        show(found, datetime.now(UTC))


def fields(found: "Explanation") -> dict[str, Any]:
    """Return an explanation as a document, its task as `forebay get` shows it."""
    document = values.plain(found)
    if not isinstance(document, dict):
        raise TypeError("an explanation is a document")
    return {**document, "task": get.document(found.task)}


def show(found: "Explanation", now: datetime) -> None:
    """Write an explanation for a person."""
    click.echo(found.summary)
    # The summary begins with the first reason; what would help in it is told here.
    for reason in found.reasons:
        if found.summary.startswith(reason.detail) and reason.until is None:
            continue
        until = f" (until {render.moment(reason.until)})" if reason.until else ""
        click.echo(f"- {reason.kind.replace('_', ' ')}: {reason.detail}{until}")
    if found.ahead:
        click.echo()
        render.table(("starts before", "tenant", ">tasks", ">work"), map(_ahead, found.ahead), empty="")
    expected = (("starts", _expected(found.start, now)), ("ends", _expected(found.end, now)))
    if any(text for _, text in expected):
        click.echo()
        render.facts(expected)
    click.echo()
    render.table(("state", "since", ">for", ""), map(_phase, found.phases), empty="")


def _ahead(one: "Ahead") -> tuple[object, ...]:
    return one.priority.value, one.tenant or "others", one.tasks, render.seconds(one.work_s)


def _phase(one: "Phase") -> tuple[object, ...]:
    lasted = "" if one.state.terminal else render.seconds(one.duration_s)
    return one.state.value, one.start, lasted, WORDS.get(one.reason, one.reason)


def _expected(estimate: "Estimate | None", now: datetime) -> str:
    """Write when something is expected, as it lies ahead; "" for nothing."""
    if estimate is None:
        return ""
    middle, earliest, latest = (
        max(0.0, (moment - now).total_seconds())
        for moment in (estimate.time, estimate.earliest, estimate.latest)
    )
    if middle < AT_ONCE_S:
        return "at once"
    return f"in about {_about(middle)} (between {_about(earliest)} and {_about(latest)})"


def _about(seconds: float) -> str:
    """Write a length of time that is an estimate: no more digits than it deserves."""
    return (
        f"{seconds:.1f} s"
        if seconds < 10
        else f"{seconds:.0f} s"
        if seconds < 120
        else render.seconds(seconds)
    )
