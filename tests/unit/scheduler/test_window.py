"""The window: order, credit and bounds."""

from dataclasses import dataclass

from scheduler.lanes import Lane
from scheduler.policies.levels import WeightedLevels
from scheduler.states import Level
from scheduler.window import WaitingTask, Window


@dataclass
class Bundle:
    open: int = 1


def task(
    name: str, level: Level = Level.NORMAL, model: str = "m", lane: int = 0, at: int = 0
) -> WaitingTask[str, Bundle]:
    return WaitingTask(
        id=name,
        publication=1,
        model=model,
        lane=Lane("default", level, lane),
        create_time_ms=at,
        envelope=name,
        bundle=Bundle(),
        received_ns=at,
    )


def window(per_lane: int = 256) -> Window[str, Bundle]:
    return Window(per_lane, WeightedLevels())


def ids(tasks: list[WaitingTask[str, Bundle]]) -> list[str]:
    return [t.id for t in tasks]


def test_tasks_of_one_level_and_model_leave_in_the_order_they_came() -> None:
    w = window()
    for name in "abc":
        w.add(task(name))
    assert ids(w.take({"m": 9}, 9)) == ["a", "b", "c"]
    assert w.take({"m": 9}, 9) == []


def test_no_more_leave_than_there_is_credit_for_their_model() -> None:
    w = window()
    for name in ("a1", "a2", "a3"):
        w.add(task(name, model="a"))
    w.add(task("b1", model="b"))
    assert sorted(ids(w.take({"a": 2, "b": 0}, 9))) == ["a1", "a2"]
    assert sorted(ids(w.take({"a": 1, "b": 1}, 9))) == ["a3", "b1"]


def test_no_more_leave_than_the_limit() -> None:
    w = window()
    for i in range(10):
        w.add(task(str(i)))
    assert len(w.take({"m": 100}, 4)) == 4


def test_a_critical_task_overtakes_a_flood_of_low_ones() -> None:
    w = window()
    for i in range(1_000):
        w.add(task(f"low{i}", Level.LOW))
    w.take({"m": 500}, 500)
    w.add(task("urgent", Level.CRITICAL))
    assert ids(w.take({"m": 1}, 1)) == ["urgent"]


def test_a_level_whose_model_has_no_credit_does_not_hold_up_a_lower_one() -> None:
    w = window()
    w.add(task("urgent", Level.CRITICAL, model="busy"))
    w.add(task("low", Level.LOW, model="free"))
    assert ids(w.take({"free": 1}, 9)) == ["low"]


def test_models_of_one_level_are_served_oldest_first() -> None:
    w = window()
    w.add(task("late", model="a", at=2))
    w.add(task("early", model="b", at=1))
    assert ids(w.take({"a": 1, "b": 1}, 1)) == ["early"]


def test_a_full_lane_has_no_room_until_tasks_leave_and_other_lanes_keep_theirs() -> None:
    w = window(per_lane=2)
    first, second = Lane("default", Level.NORMAL, 0), Lane("default", Level.NORMAL, 1)
    w.add(task("a"))
    assert w.has_room(first)
    w.add(task("b"))
    assert not w.has_room(first)
    assert w.has_room(second)
    w.take({"m": 1}, 1)
    assert w.has_room(first)


def test_a_bundle_enters_as_its_tasks_would_one_by_one() -> None:
    w = window(per_lane=3)
    lane = Lane("default", Level.NORMAL, 0)
    w.extend(lane, [task("a"), task("x", model="other"), task("b")])
    assert not w.has_room(lane)
    assert ids(w.take({"m": 9}, 9)) == ["a", "b"]
    assert ids(w.take({"other": 9}, 9)) == ["x"]


def test_depths_and_oldest_ages_are_told_by_level() -> None:
    w = window()
    w.add(task("a", Level.LOW, at=7))
    w.add(task("b", Level.LOW, at=9))
    assert w.depths()[Level.LOW] == 2
    assert w.depths()[Level.HIGH] == 0
    assert w.oldest_ms() == {Level.LOW: 7}
