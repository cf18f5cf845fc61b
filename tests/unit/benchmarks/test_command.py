"""The simulator's command line, over a trace of somebody's own and over its own cases."""

from pathlib import Path

import pytest

from benchmarks.scheduling.__main__ import main
from benchmarks.scheduling.contenders import POLICIES, everyone
from benchmarks.scheduling.scenarios import bursts
from benchmarks.scheduling.tables import HEAD
from benchmarks.scheduling.traces import write_trace
from scheduler.policies.policy import LevelMode, TaskOrder


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def test_a_trace_is_run_under_every_policy_and_baseline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "mine.jsonl"
    write_trace(trace, bursts(1, 0.005).arrivals)
    assert main(["--trace", str(trace), "--runners", "2"]) == 0
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert cells(head) == list(HEAD)
    assert [cells(row)[0] for row in rows] == list(everyone())
    for row in rows:
        assert all(cells(row)), "waits by level, fairness, deadlines and utilisation, of each"


def test_a_trace_that_cannot_be_read_is_said_to_be_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.jsonl").write_text('{"time_ms": 0}\n')
    assert main(["--trace", str(tmp_path / "bad.jsonl")]) == 2
    assert capsys.readouterr().err.rstrip().endswith("bad.jsonl: line 1: no tenant")
    assert main(["--trace", str(tmp_path / "none.jsonl")]) == 2


def test_a_case_prints_its_table_and_its_bars(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--short", "--only", "deadlines"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "# deadlines"
    assert any(cells(line)[0] == "clairvoyant deadline" for line in lines)
    [bar] = [cells(line) for line in lines if line.startswith("| earliest deadline first: deadlines met")]
    assert bar[2:] == [">= 95 %", "met"]


def test_the_table_of_policies_has_every_order_and_every_mode_of_levels() -> None:
    assert {policy.order for policy in POLICIES.values()} == set(TaskOrder)
    assert {policy.level_mode for policy in POLICIES.values()} == set(LevelMode)
