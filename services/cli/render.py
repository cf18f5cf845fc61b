"""How commands show things: tables for people, JSON for scripts. Colours appear on a terminal only."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Final

import click

from services.cli.exits import leave_quietly
from services.cli.values import as_json

if TYPE_CHECKING:
    from rich.console import Console

STATE_COLOURS: Final[Mapping[str, str]] = {
    "succeeded": "green",
    "ready": "green",
    "ok": "green",
    "running": "cyan",
    "failed": "red",
    "fault": "red",
    "cancelled": "yellow",
    "expired": "yellow",
    "retrying": "yellow",
    "draining": "yellow",
    "warning": "yellow",
}
NARROWEST: Final = 160
"""Width of tables where there is no terminal: nothing a script greps for is cut."""

LATE_S: Final = 10
"""What is due starts within a second as a rule; so much later something is wrong."""


@cache
def console(*, stderr: bool = False) -> "Console":
    """Return the console for stdout or stderr. Rich is imported at the first use."""
    from rich.console import Console

    class Quiet(Console):
        """Leaves as every command does when nobody reads any more; Rich would say exit code 1."""

        def on_broken_pipe(self) -> None:
            leave_quietly()

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else NARROWEST
    return Quiet(stderr=stderr, highlight=False, soft_wrap=False, width=width, emoji=False, markup=False)


def emit(value: object, *, one_line: bool = False) -> None:
    """Write JSON to stdout."""
    click.echo(as_json(value, one_line=one_line))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Write a table to stdout; `empty` when there is no row. Columns that start with ">" are set to the right."""
    lines = [[_cell(value) for value in row] for row in rows]
    if not lines:
        click.echo(empty)
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        right = column.startswith(">")
        shown.add_column(column.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    for line in lines:
        shown.add_row(*(Text(text, style=STATE_COLOURS.get(text, "")) for text in line))
    console().print(shown)


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Write name and value, one pair a line; pairs without a value are left out."""
    lines = [(name, _cell(value)) for name, value in pairs if value not in (None, "", ())]
    width = max((len(name) for name, _ in lines), default=0)
    for name, text in lines:
        click.echo(
            f"{click.style(f'{name:<{width}}', bold=True)}  {click.style(text, fg=STATE_COLOURS.get(text))}"
        )


def seconds(value: float | None) -> str:
    """Write a duration so that two of them can be compared at a glance; "" for none."""
    if value is None:
        return ""
    if value < 0.0995:
        return f"{value * 1000:.1f} ms"
    if value < 120:
        return f"{value:.2f} s"
    minutes, rest = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """Write how long ago something was; "" for never."""
    if moment is None:
        return ""
    passed = max(0, round(((now or datetime.now(UTC)) - moment).total_seconds()))
    return f"{passed} s ago" if passed < 120 else f"{seconds(passed)} ago"


def moment(value: datetime | None) -> str:
    """Write a time to the millisecond, which is what the server keeps, in local time with its offset; "" for none."""
    return "" if value is None else value.astimezone().isoformat(sep=" ", timespec="milliseconds")


def due(value: datetime | None, now: datetime | None = None) -> str:
    """Write when something is to happen and how far off that is; "" for never. What is late says so."""
    if value is None:
        return ""
    if late(value, now):
        return f"{moment(value)} (overdue: is a scheduler up? see forebay doctor)"
    left = max(0, round((value - (now or datetime.now(UTC))).total_seconds()))
    return f"{moment(value)} (in {left} s)" if left < 120 else f"{moment(value)} (in {seconds(left)})"


def late(value: datetime | None, now: datetime | None = None) -> bool:
    """Whether what was to happen is so late that something must be wrong."""
    return value is not None and ((now or datetime.now(UTC)) - value).total_seconds() > LATE_S


def labels(values: Mapping[str, str]) -> str:
    """Write labels as K=V, sorted."""
    return " ".join(f"{key}={value}" for key, value in sorted(values.items()))


def clip(text: str, width: int) -> str:
    """Fit a text into one line."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, datetime):
        return moment(value)
    return str(value)
