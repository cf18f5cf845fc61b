"""The file format of arrivals."""

from pathlib import Path
from random import Random

import pytest

from benchmarks.scheduling.arrivals import Source
from benchmarks.scheduling.scenarios import SIZED, deadlines
from benchmarks.scheduling.traces import Arrival, TraceFault, read_trace, write_trace
from scheduler.states import Level

LINE = '{"time_ms": 0, "tenant": "a", "level": "low", "model": "m", "execute_ms": 5'


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    rows = deadlines(3, 0.02).arrivals
    assert rows and all(row.deadline_ms for row in rows)
    write_trace(tmp_path / "trace.jsonl", rows)
    assert read_trace(tmp_path / "trace.jsonl") == rows


def test_rows_come_by_time_and_have_defaults(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text(f'{LINE.replace(": 0", ": 7", 1)}, "kind": "x"}}\n\n{LINE}}}\n')
    assert read_trace(file) == [
        Arrival(0, "a", Level.LOW, "m", 5),
        Arrival(7, "a", Level.LOW, "m", 5, kind="x"),
    ]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "line 1: not JSON"),
        ("[]", "line 1: not a JSON object"),
        ('{"time_ms": 0}', "line 1: no tenant"),
        (f'{LINE}, "size": 1}}', "line 1: unknown field size"),
        (
            LINE.replace("low", "lowest") + "}",
            "line 1: level 'lowest' is none of critical, high, normal, low",
        ),
        (LINE.replace(": 5", ": 0") + "}", "line 1: execute_ms must be above 0"),
        (LINE.replace(": 0", ": -1") + "}", "line 1: time_ms must be 0 or more"),
        (LINE.replace(": 0", ": NaN") + "}", "line 1: time_ms must be 0 or more"),
        (f'{LINE}, "input_size": 1.5}}', "line 1: input_size must be a whole number"),
        (f'{LINE}, "deadline_ms": true}}', "line 1: deadline_ms must be a number"),
        (LINE.replace('"a"', "1") + "}", "line 1: tenant must be a text"),
    ],
)
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str, fault: str) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text(line)
    with pytest.raises(TraceFault) as raised:
        read_trace(file)
    assert str(raised.value).startswith(fault)


def test_bursts_bring_as_much_as_arrivals_that_are_always_alike() -> None:
    steady = Source("a", Level.LOW, 50, SIZED)
    bursty = Source("a", Level.LOW, 50, SIZED, on_s=1, off_s=4)
    counts = [len(list(source.arrivals(Random(1), 2000))) for source in (steady, bursty)]
    assert counts == [pytest.approx(100_000, rel=0.02), pytest.approx(100_000, rel=0.1)]
    busy = {int(row.time_ms / 500) for row in bursty.arrivals(Random(1), 2000)}
    assert len(busy) < 0.45 * 4000, "half seconds in which anything came"
