"""Which runner gets which of the chosen tasks, and whose they were when they are settled."""

from random import Random
from types import SimpleNamespace

import pytest

from forebay.dispatch.v1.dispatch_service_pb2 import Settled
from forebay.tasks.v1.envelope_pb2 import Envelope
from scheduler.lanes import Lane
from scheduler.routing.routers import Routers
from scheduler.service.entry import OpenBundle, Waiting
from scheduler.service.runner_stream import RunnerStream
from scheduler.service.runners import Roster
from scheduler.service.sharing_out import share_out
from scheduler.states import Level


def task(name: str, level: Level = Level.NORMAL, model: str = "m") -> Waiting:
    bundle = OpenBundle(SimpleNamespace(), 1)  # type: ignore[arg-type]  # never finished
    return Waiting(name, 1, model, Lane("default", level, 0), 0, Envelope(id=name, model=model), bundle)


def roster_of(*streams: RunnerStream) -> Roster:
    roster = Roster()
    for stream in streams:
        roster.add(stream)
    return roster


def shared(roster: Roster, *tasks: Waiting) -> tuple[dict[str, list[str]], list[str]]:
    shares, left = share_out(roster, Routers(Random(1)), "default", tasks, 0.0)
    return {stream.id: [one.id for one in share] for stream, share in shares.items()}, [
        one.id for one in left
    ]


def test_a_lone_runner_gets_all_that_it_has_credit_for_in_the_order_that_they_have() -> None:
    one, other = RunnerStream("r1", "m", "default", 3), RunnerStream("r2", "n", "default", 2)
    chosen = [task("a"), task("x", model="n"), task("b"), task("c", Level.CRITICAL)]
    assert shared(roster_of(one, other), *chosen) == ({"r1": ["a", "b", "c"], "r2": ["x"]}, [])
    assert (one.credits, other.credits) == (0, 1)


def test_a_lone_runner_keeps_its_reserve_for_critical_tasks() -> None:
    runner = RunnerStream("r1", "m", "default", 3, reserve=1)
    chosen = [task("a"), task("b"), task("late"), task("c", Level.CRITICAL)]
    assert shared(roster_of(runner), *chosen) == ({"r1": ["a", "b", "c"]}, ["late"])
    assert runner.credits == 0


def test_a_runner_that_takes_nothing_leaves_its_tasks_to_nobody() -> None:
    runner = RunnerStream("r1", "m", "default", 3, leaving=True)
    assert shared(roster_of(runner), task("a")) == ({}, ["a"])


def test_two_runners_share_and_neither_gets_more_than_its_credit() -> None:
    one, other = RunnerStream("r1", "m", "default", 1), RunnerStream("r2", "m", "default", 3)
    shares, left = shared(roster_of(one, other), *(task(str(number)) for number in range(4)))
    assert {runner: len(ids) for runner, ids in shares.items()} == {"r1": 1, "r2": 3}
    assert not left
    assert (one.credits, other.credits) == (0, 0)


def test_a_runner_is_found_under_each_of_its_names() -> None:
    second = RunnerStream("r2", "m", "default", 4, also=("m@2",))
    first = RunnerStream("r1", "m@1", "default", 4)
    roster = roster_of(first, second)
    assert roster.served("default") == {"m", "m@1", "m@2"}
    assert roster.credits("default", 0.0) == {"m": 4, "m@1": 4, "m@2": 4}
    chosen = [task("a"), task("b", model="m@1"), task("c", model="m@2"), task("d", model="m@3")]
    shares, left = shared(roster, *chosen)
    assert {runner: sorted(ids) for runner, ids in shares.items()} == {"r1": ["b"], "r2": ["a", "c"]}
    assert left == ["d"]
    assert (first.credits, second.credits) == (3, 2)


def test_tasks_that_name_a_runner_differently_get_its_credit_once() -> None:
    runner = RunnerStream("r1", "m", "default", 6, reserve=2, also=("m@2",))
    roster = roster_of(runner)
    assert roster.credits("default", 0.0) == {"m": 4, "m@2": 4}
    assert roster.reserves("default", 0.0) == {"m": 2, "m@2": 2}
    chosen = [task(f"a{n}") for n in range(4)] + [task(f"b{n}", model="m@2") for n in range(4)]
    urgent = [task(f"c{n}", Level.CRITICAL, "m@2") for n in range(3)]
    shares, left = shared(roster, *chosen, *urgent)
    assert shares == {"r1": ["a0", "a1", "a2", "a3", "c0", "c1"]}
    assert left == ["b0", "b1", "b2", "b3", "c2"]
    assert runner.credits == 0


@pytest.mark.parametrize("speaker", ["holder", "another"])
def test_what_is_settled_is_taken_from_whoever_holds_it(speaker: str) -> None:
    holder, another = RunnerStream("r", "m", "default"), RunnerStream("r", "m", "default")
    held, kept = task("07-held"), task("07-kept")
    holder.hold(held, 2)
    holder.hold(kept, 1)
    items = [
        Settled(id="07-held", attempt=1),
        Settled(id="07-held", attempt=2),
        Settled(id="07-held", attempt=2),
        Settled(id="07-unknown", attempt=1),
    ]
    reports = roster_of(holder, another).settled(holder if speaker == "holder" else another, items)
    assert reports == {holder: [(held, items[1])]}
    assert list(holder.holds) == ["07-kept"]
    assert holder.outstanding_ms == kept.expected.work_ms
