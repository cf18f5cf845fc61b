"""Figures as tables that are Markdown, and read well on a terminal too."""

from collections.abc import Iterable, Sequence

from benchmarks.scheduling import figures
from benchmarks.scheduling.simulator import Run
from scheduler.states import Level

HEAD = (
    "policy",
    *(f"{level.label} {what}" for level in Level for what in ("mean", "p99")),
    "Jain",
    "max diff",
    "in time",
    "used",
)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose columns are as wide as they must be; all but the first are aligned to the right."""
    texts = [tuple(head), *map(tuple, rows)]
    widths = [max(3, *(len(row[place]) for row in texts)) for place in range(len(head))]
    ruler = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [_line(texts[0], widths), f"| {' | '.join(ruler)} |"]
    return "\n".join([*lines, *(_line(row, widths) for row in texts[1:])])


def row_of(name: str, run: Run, *, fair: bool = False) -> tuple[str, ...]:
    """Return a run's row under HEAD, with fairness between tenants where `fair` says that all of them wait."""
    waits = figures.by_level(run)
    tenants = figures.service(run, figures.tenant_of)
    cells = [name]
    for level in Level:
        if level in waits:
            cells += [seconds(waits[level].mean_ms), seconds(waits[level].p99_ms)]
        else:
            cells += ["", ""]
    return (
        *cells,
        f"{tenants.jain:.3f}" if fair else "",
        seconds(tenants.largest_difference_ms) if fair else "",
        f"{figures.in_time(run):.1%}" if any(job.arrival.deadline_ms for job in run.jobs) else "",
        f"{run.utilisation:.0%}",
    )


def without_empty_columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of those columns that say something."""
    kept = [place for place in range(len(head)) if any(row[place] for row in rows)]
    return table([head[place] for place in kept], [[row[place] for place in kept] for row in rows])


def seconds(time_ms: float) -> str:
    """Return a time as seconds with three digits that count."""
    return f"{time_ms / 1000:.3g} s"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cells[0].ljust(widths[0])]
    padded += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return f"| {' | '.join(padded)} |"
