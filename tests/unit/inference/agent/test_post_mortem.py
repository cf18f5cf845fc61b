"""What becomes of the tasks of a runner that died."""

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest
from google.rpc.status_pb2 import Status

from inference.agent.memory_kills import MemoryKills
from inference.agent.post_mortem import PostMortem, deaths_of
from inference.journal import Attempt, JournalWriter, Remains
from inference.presence import EXIT_HUNG, EXIT_OUT_OF_MEMORY, EXIT_STUCK
from scheduler.adapters.clock import FakeClock
from scheduler.errors import RecordsUnavailable
from scheduler.ports.sweeps import Death, SweepStore


class Deaths:
    """Writes down what it is told; is away for the first `away` calls."""

    def __init__(self, away: int = 0) -> None:
        self.away = away
        self.calls = 0
        self.told: list[Death] = []
        self.reason = ""
        self.error = Status()

    async def runner_died(self, deaths: Sequence[Death], reason: str, error: bytes) -> int:
        self.calls += 1
        if self.calls <= self.away:
            raise RecordsUnavailable("away")
        self.told += deaths
        self.reason, self.error = reason, Status.FromString(error)
        return len(deaths)


class Kills(MemoryKills):
    """A counter that a test sets."""

    def __init__(self) -> None:
        self.kills = 0

    def count(self) -> int:
        return self.kills


class HastyClock(FakeClock):
    """Sleeps for no time."""

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)


class Task:
    """A held task, as the journal wants it."""

    def __init__(self, key: str, isolation: str = "") -> None:
        self.key = key
        self.isolation = isolation


class Bench:
    """A post mortem over made-up surroundings."""

    def __init__(self, folder: Path, away: int = 0) -> None:
        self.store = Deaths(away)
        self.kills = Kills()
        names = map("g{}".format, itertools.count(1))
        self.journal = folder / "journal"
        self.post_mortem = PostMortem(
            cast(SweepStore, self.store), HastyClock(), self.kills, lambda: next(names)
        )

    def left(self, executing: Sequence[str], held: Sequence[Task]) -> None:
        writer = JournalWriter(self.journal)
        writer.took(held, lambda: held)
        writer.executing(executing)

    async def examine(self, code: int) -> bool:
        return await self.post_mortem.examine(self.journal, code, 0)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_a_task_that_executed_alone_is_charged_and_executes_alone_from_then_on(bench: Bench) -> None:
    bench.left(["a#1"], [Task("a#1"), Task("b#2")])
    assert await bench.examine(-11)
    assert bench.store.told == [Death("a", 1, True, "g1"), Death("b", 2, False, "")]
    assert bench.store.reason == "RUNNER_CRASHED"
    assert "SIGSEGV" in bench.store.error.message
    assert not bench.journal.exists()


async def test_several_suspects_are_isolated_in_two_halves_and_not_charged(bench: Bench) -> None:
    bench.left([f"{name}#1" for name in "abcde"], [Task(f"{name}#1", "old") for name in "abcdef"])
    assert await bench.examine(-9)
    assert bench.store.told == [
        *(Death(name, 1, False, "g1") for name in "abc"),
        *(Death(name, 1, False, "g2") for name in "de"),
        Death("f", 1, False, "old"),
    ]


async def test_a_death_outside_the_engine_makes_everything_held_suspect(bench: Bench) -> None:
    bench.left([], [Task("a#1"), Task("b#1")])
    assert not await bench.examine(-9)
    assert bench.store.told == [Death("a", 1, False, "g1"), Death("b", 1, False, "g2")]


@pytest.mark.parametrize("code", [EXIT_STUCK, 0, -15])
async def test_after_an_end_that_no_open_task_has_caused_everything_goes_back_as_it_was(
    bench: Bench, code: int
) -> None:
    bench.left(["a#1", "b#1"], [Task("a#1", "old"), Task("b#1"), Task("c#1")])
    assert not await bench.examine(code)
    assert bench.store.told == [Death("a", 1, False, "old"), Death("b", 1, False), Death("c", 1, False)]
    assert bench.store.reason == "RUNNER_LOST"


@pytest.mark.parametrize(
    ("code", "kills", "reason"),
    [
        (-9, 1, "RUNNER_OUT_OF_MEMORY"),
        (-9, 0, "RUNNER_CRASHED"),
        (-11, 1, "RUNNER_CRASHED"),
        (1, 0, "RUNNER_CRASHED"),
        (EXIT_OUT_OF_MEMORY, 0, "RUNNER_OUT_OF_MEMORY"),
        (EXIT_HUNG, 0, "RUNNER_CRASHED"),
    ],
)
async def test_a_runner_that_ran_out_of_memory_is_told_apart(
    bench: Bench, code: int, kills: int, reason: str
) -> None:
    bench.left(["a#1"], [Task("a#1")])
    bench.kills.kills = kills
    await bench.examine(code)
    assert bench.store.reason == reason


async def test_a_runner_that_held_nothing_costs_no_call(bench: Bench) -> None:
    assert not await bench.examine(-9)
    assert bench.store.calls == 0


async def test_a_store_that_is_away_is_asked_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, away=3)
    bench.left(["a#1"], [Task("a#1")])
    await bench.examine(-9)
    assert len(bench.store.told) == 1


async def test_a_store_that_stays_away_leaves_the_tasks_to_their_leases(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    bench = Bench(tmp_path, away=1000)
    bench.left(["a#1"], [Task("a#1")])
    assert await bench.examine(-9)
    assert bench.store.calls == 4
    assert "leases" in caplog.text


async def test_many_tasks_travel_in_several_calls(bench: Bench) -> None:
    held = [Task(f"{number:020}#1") for number in range(1100)]
    bench.left([], held)
    await bench.examine(-9)
    assert bench.store.calls == 3
    assert len(bench.store.told) == 1100


def test_bisection_finds_the_one_at_fault_and_charges_nobody_else() -> None:
    names = map("g{}".format, itertools.count(1))
    suspects = [Attempt(f"t{number}", 1) for number in range(256)]
    charged: list[str] = []
    deaths = 0
    while not charged:
        deaths += 1
        told = deaths_of(Remains(tuple(suspects)), blameless=False, new_group=lambda: next(names))
        charged = [one.id for one in told if one.charged]
        group = next(one.isolation for one in told if one.id == "t77")
        suspects = [Attempt(one.id, one.attempt + 1, group) for one in told if one.isolation == group]
    assert charged == ["t77"]
    assert deaths == 9


def told(remains: Remains) -> dict[str, tuple[bool, bool]]:
    """Return of each task whether it is charged, and whether it executes apart from now on."""
    names = map("g{}".format, itertools.count(1))
    deaths = deaths_of(remains, blameless=False, new_group=lambda: next(names))
    return {one.id: (one.charged, bool(one.isolation)) for one in deaths}


def test_a_task_that_executed_beside_direct_calls_is_isolated_and_not_charged() -> None:
    remains = Remains((Attempt("a", 1),), (Attempt("b", 1),), executing_calls=True, held_calls=True)
    assert told(remains) == {"a": (False, True), "b": (False, False)}


def test_a_death_of_direct_calls_alone_leaves_the_tasks_that_wait_as_they_were() -> None:
    remains = Remains((), (Attempt("a", 1), Attempt("b", 1)), executing_calls=True, held_calls=True)
    assert told(remains) == {"a": (False, False), "b": (False, False)}


def test_a_death_outside_the_engine_beside_direct_calls_charges_nobody_at_first_but_in_the_end() -> None:
    assert told(Remains((), (Attempt("a", 1),), held_calls=True)) == {"a": (False, True)}
    assert told(Remains((), (Attempt("a", 2, "g"),), held_calls=True)) == {"a": (True, True)}


async def test_a_runner_that_direct_calls_killed_is_known_to_have_been_killed(bench: Bench) -> None:
    writer = JournalWriter(bench.journal)
    writer.calls(1)
    writer.executing(["call-1-1"])
    assert await bench.examine(-9)
    assert bench.store.calls == 0
