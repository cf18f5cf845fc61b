"""Figures as tables that are Markdown, and read well on a terminal too."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from benchmarks.scheduling import fairness, figures
from benchmarks.scheduling.jobs import Job
from benchmarks.scheduling.simulator import Run
from scheduler.states import Level

Rows = list[tuple[str, ...]]

HEAD: Final = (
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


def row_of(name: str, run: Run) -> tuple[str, ...]:
    """Return a run's row under HEAD. Fairness is that between tenants while they wait in the same level for the same
    model; empty where there is one tenant only.
    """
    waits = figures.by_level(run)
    cells = [name]
    for level in Level:
        if level in waits:
            cells += [seconds(waits[level].mean_ms), seconds(waits[level].p99_ms)]
        else:
            cells += ["", ""]
    fair = ["", ""]
    if len({job.arrival.tenant for job in run.jobs}) > 1:
        tenants = fairness.service(run, fairness.tenant_of, _queue_of)
        fair = [f"{tenants.jain:.3f}", seconds(tenants.largest_difference_ms)]
    bound = any(job.arrival.deadline_ms for job in run.jobs)
    return (*cells, *fair, f"{figures.in_time(run):.1%}" if bound else "", f"{run.utilisation:.0%}")


def by_tenant(runs: Mapping[str, Run]) -> tuple[tuple[str, ...], Rows]:
    """Return a table of the waits of each tenant: its head and rows."""
    tenants = sorted({job.arrival.tenant for run in runs.values() for job in run.jobs})
    head = ("policy", *(f"{tenant} {what}" for tenant in tenants for what in ("mean", "p99")), "used")
    rows: Rows = []
    for name, run in runs.items():
        waits = figures.by_tenant(run)
        cells = [name]
        for tenant in tenants:
            found = waits.get(tenant)
            cells += [seconds(found.mean_ms), seconds(found.p99_ms)] if found else ["", ""]
        rows.append((*cells, f"{run.utilisation:.0%}"))
    return head, rows


def without_empty_columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of those columns that say something."""
    kept = [place for place in range(len(head)) if any(row[place] for row in rows)]
    return table([head[place] for place in kept], [[row[place] for place in kept] for row in rows])


def seconds(time_ms: float) -> str:
    """Return a time as seconds with three digits that count."""
    return f"{time_ms / 1000:,.0f} s" if time_ms >= 1e6 else f"{time_ms / 1000:.3g} s"


def _queue_of(job: Job) -> tuple[Level, str]:
    """Tenants share within a level of a model."""
    return job.arrival.level, job.arrival.model


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cells[0].ljust(widths[0])]
    padded += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return f"| {' | '.join(padded)} |"
