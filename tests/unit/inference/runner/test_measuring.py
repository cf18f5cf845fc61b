"""Whom a step's time is charged to."""

from collections.abc import Sequence

import numpy as np
import pytest

from inference.engine import (
    Chunk,
    Done,
    EngineKind,
    Failed,
    GenerationStats,
    StepTimes,
    TensorOutput,
    Update,
)
from inference.runner.held import Held
from inference.runner.measuring import Measuring
from scheduler.errors import ModelFailed

from .fakes import FakeEngine, held

OUTPUT = TensorOutput({"y": np.zeros(1)})


class ReportingEngine(FakeEngine):
    """Tells which prompts its latest step read."""

    def __init__(self) -> None:
        super().__init__(EngineKind.GENERATE)
        self.times = StepTimes()

    def stats(self) -> GenerationStats:
        return GenerationStats()


class Bench:
    def __init__(self, *keys: str, engine: FakeEngine | None = None) -> None:
        self.engine = engine or ReportingEngine()
        self.measuring = Measuring()
        self.measuring.watch(self.engine)
        self.tasks = {key: held(key) for key in keys}
        for task in self.tasks.values():
            self.measuring.enter(task, 100.0)

    def __getitem__(self, key: str) -> Held:
        return self.tasks[key]

    def step(
        self, updates: Sequence[Update], step_s: float, ended_s: float = 101.0, **pieces_s: float
    ) -> None:
        if isinstance(self.engine, ReportingEngine):
            self.engine.times = StepTimes(pieces=list(pieces_s.items()))
        self.measuring.stepped(updates, step_s, ended_s)


def work_s(bench: Bench) -> dict[str, float]:
    return {key: pytest.approx(task.work_s) for key, task in bench.tasks.items()}  # type: ignore[misc]


def test_a_batch_of_tensors_is_divided_among_those_in_it() -> None:
    bench = Bench("a", "b", "c", engine=FakeEngine())
    bench.step([Done("a", OUTPUT), Done("b", OUTPUT)], 0.4, 100.5)
    assert work_s(bench) == {"a": 0.2, "b": 0.2, "c": 0.0}
    assert (bench["a"].execute_s, bench["c"].execute_s) == (0.5, 0.0)


def test_a_step_of_a_generation_is_divided_among_the_rows_that_got_a_token() -> None:
    bench = Bench("a", "b")
    bench.step([Chunk("a", "x", [1]), Chunk("b", "x", [1])], 0.2)
    bench.step([Chunk("a", "x", [2])], 0.1)
    assert work_s(bench) == {"a": 0.2, "b": 0.1}


def test_two_answers_to_one_prompt_are_two_rows() -> None:
    bench = Bench("a", "b")
    bench.step([Chunk("a", "x", [1]), Chunk("a", "y", [1], 1), Chunk("b", "x", [1])], 0.3)
    assert work_s(bench) == {"a": 0.2, "b": 0.1}


def test_reading_a_prompt_is_charged_to_whose_it_is_and_the_rest_to_the_rows() -> None:
    bench = Bench("reads", "writes")
    bench.step([Chunk("writes", "x", [1])], 1.0, reads=0.7)
    assert work_s(bench) == {"reads": 0.7, "writes": 0.3}


def test_a_step_that_only_reads_is_charged_to_the_readers() -> None:
    bench = Bench("a", "b")
    bench.step([], 1.0, a=0.6, b=0.2)
    assert work_s(bench) == {"a": 0.7, "b": 0.3}


def test_all_of_the_engines_time_is_charged_to_somebody() -> None:
    bench = Bench("a", "b", "c")
    bench.step([], 0.5, a=0.4)
    bench.step([Chunk("a", "x", [1])], 0.6, b=0.3, c=0.1)
    bench.step([Done("a", OUTPUT), Chunk("b", "x", [1]), Failed("c", ModelFailed("no"))], 0.9)
    assert sum(task.work_s for task in bench.tasks.values()) == pytest.approx(2.0)


def test_execution_lasts_from_admission_to_the_end_however_it_ends() -> None:
    bench = Bench("a", "b")
    bench.step([Chunk("a", "x", [1])], 0.1, 100.1)
    assert bench["a"].execute_s == 0.0
    bench.step([Done("a", OUTPUT), Failed("b", ModelFailed("no"))], 0.1, 102.5)
    assert (bench["a"].execute_s, bench["b"].execute_s) == (2.5, 2.5)


def test_what_was_cancelled_is_charged_no_more() -> None:
    bench = Bench("a", "b")
    bench.measuring.leave(["a", "unknown"])
    bench.step([Chunk("a", "x", [1]), Chunk("b", "x", [1])], 0.2, a=0.1)
    assert work_s(bench) == {"a": 0.0, "b": 0.05}
