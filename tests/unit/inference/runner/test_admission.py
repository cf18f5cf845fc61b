"""Which waiting task enters the engine next."""

from inference.engine import GenerateRequest
from inference.runner.admission import AdmissionQueue
from inference.runner.held import Held
from inference.runner.waiting_line import WaitingLine
from scheduler.policies.levels import WeightedLevels
from scheduler.policies.policy import LevelMode, Policy
from scheduler.policies.strict import StrictLevels
from scheduler.states import Level

from .fakes import held, suspect


def queue_of(**tasks: Level) -> AdmissionQueue:
    queue = AdmissionQueue(WeightedLevels())
    queue.add([held(key, level) for key, level in tasks.items()])
    return queue


def keys(queue: AdmissionQueue, room: int) -> list[str]:
    return [task.key for task in queue.take(room)]


def test_inside_a_level_the_first_in_is_the_first_out() -> None:
    queue = queue_of(a=Level.LOW, b=Level.LOW, c=Level.LOW)
    assert keys(queue, 2) == ["a", "b"]
    assert keys(queue, 2) == ["c"]
    assert not queue


def test_a_higher_level_enters_before_lower_ones_that_came_earlier() -> None:
    queue = queue_of(low=Level.LOW, normal=Level.NORMAL, critical=Level.CRITICAL)
    assert keys(queue, 3) == ["critical", "normal", "low"]


def test_a_task_whose_level_rose_enters_behind_those_of_its_new_level_and_says_so_to_the_engine() -> None:
    queue = queue_of(normal=Level.NORMAL, low=Level.LOW, last=Level.LOW, high=Level.HIGH)
    queue.raise_level("last", Level.HIGH)
    queue.raise_level("high", Level.LOW)
    queue.raise_level("unknown", Level.CRITICAL)
    taken = queue.take(4)
    assert [task.key for task in taken] == ["high", "last", "normal", "low"]
    assert taken[1].level is Level.HIGH
    assert taken[1].request is not None and taken[1].request.level is Level.HIGH
    assert not queue


def test_saturated_levels_share_by_weight_and_the_lowest_progresses() -> None:
    queue = AdmissionQueue(WeightedLevels())
    queue.add([held(f"c{i}", Level.CRITICAL) for i in range(200)])
    queue.add([held(f"l{i}", Level.LOW) for i in range(200)])
    taken = keys(queue, 130)
    assert sum(key.startswith("l") for key in taken) == 2


def test_a_level_that_waited_alone_does_not_pay_for_it_later() -> None:
    queue = AdmissionQueue(WeightedLevels())
    queue.add([held(f"l{i}", Level.LOW) for i in range(100)])
    queue.take(50)
    queue.add([held(f"c{i}", Level.CRITICAL) for i in range(128)])
    taken = keys(queue, 130)
    assert sum(key.startswith("l") for key in taken) == 2


def test_a_removed_task_never_comes_out_and_an_unknown_one_is_not_found() -> None:
    queue = queue_of(a=Level.HIGH, b=Level.HIGH)
    assert queue.remove("a")
    assert not queue.remove("a")
    assert len(queue) == 1
    assert queue.remove("b")
    assert not queue
    assert keys(queue, 5) == []


def test_clearing_returns_everything_that_waits() -> None:
    queue = queue_of(a=Level.HIGH, b=Level.LOW)
    assert {task.key for task in queue.clear()} == {"a", "b"}
    assert not queue


def test_suspects_enter_only_when_the_engine_is_empty_and_alone() -> None:
    queue = queue_of(a=Level.LOW)
    queue.add([suspect("x1", "x"), suspect("x2", "x"), suspect("y1", "y")])
    assert len(queue) == 4
    assert keys(queue, 8) == ["x1", "x2"]
    assert [task.key for task in queue.take(8, occupied=True)] == []


def test_more_of_a_group_enters_while_the_group_is_inside() -> None:
    queue = AdmissionQueue(WeightedLevels())
    queue.add([suspect(f"x{i}", "x") for i in range(3)])
    assert keys(queue, 2) == ["x0", "x1"]
    assert [task.key for task in queue.take(1, occupied=True)] == ["x2"]
    assert not queue


def test_ordinary_tasks_stop_entering_when_suspects_wait_and_take_turns_with_them() -> None:
    queue = queue_of(**{f"o{i}": Level.NORMAL for i in range(5)})
    assert keys(queue, 2) == ["o0", "o1"]
    queue.add([suspect("x", "x"), suspect("y", "y")])
    assert queue.take(8, occupied=True) == []
    turns = []
    while queue:
        turns.append(keys(queue, 2))
    assert turns == [["x"], ["o2", "o3"], ["y"], ["o4"]]


def test_suspects_can_be_removed_and_cleared_like_others() -> None:
    queue = queue_of(a=Level.LOW)
    queue.add([suspect("x", "x"), suspect("y", "y")])
    assert queue.remove("x")
    assert not queue.remove("x")
    assert {task.key for task in queue.clear()} == {"a", "y"}
    assert not queue


def test_a_request_for_several_answers_takes_as_many_places() -> None:
    queue = AdmissionQueue(WeightedLevels())
    queue.add([held(f"k{n}", request=GenerateRequest(prompt="hi", n=3)) for n in range(4)])
    assert keys(queue, 6) == ["k0", "k1"]
    assert keys(queue, 1) == ["k2"]


def test_places_are_counted_across_levels_too() -> None:
    queue = AdmissionQueue(WeightedLevels())
    queue.add([held("four", Level.HIGH, GenerateRequest(prompt="hi", n=4)), held("low", Level.LOW)])
    assert keys(queue, 4) == ["four"]


def test_a_senseless_number_of_answers_makes_no_room_for_others() -> None:
    queue = AdmissionQueue(WeightedLevels())
    queue.add([held(f"k{n}", request=GenerateRequest(prompt="hi", n=-9)) for n in range(4)])
    assert keys(queue, 2) == ["k0", "k1"]


def test_only_critical_tasks_enter_over_capacity_and_in_their_order() -> None:
    queue = queue_of(high=Level.HIGH, c0=Level.CRITICAL, c1=Level.CRITICAL, c2=Level.CRITICAL)
    assert queue.critical
    assert [task.key for task in queue.take_critical(2)] == ["c0", "c1"]
    assert [task.key for task in queue.take_critical(2)] == ["c2"]
    assert queue.take_critical(2) == []
    assert keys(queue, 2) == ["high"]


def test_it_tells_whether_a_critical_task_waits() -> None:
    assert not queue_of(high=Level.HIGH).critical


def test_what_entered_over_capacity_counts_in_the_shares_of_the_levels() -> None:
    queue = AdmissionQueue(WeightedLevels())
    queue.add([held(f"l{i}", Level.LOW) for i in range(10)])
    queue.add([held(f"c{i}", Level.CRITICAL) for i in range(200)])
    queue.take_critical(128)
    assert keys(queue, 2) == ["l0", "l1"]


def test_critical_tasks_never_enter_beside_suspects_nor_before_those_that_wait() -> None:
    queue = queue_of(c=Level.CRITICAL)
    queue.add([suspect("x1", "x"), suspect("x2", "x")])
    assert queue.take_critical(1) == []
    assert keys(queue, 1) == ["x1"]
    assert queue.take_critical(1) == []
    assert [task.key for task in queue.take(1, occupied=True)] == ["x2"]
    assert queue.take_critical(1) == []
    assert keys(queue, 1) == ["c"]


def due(key: str, deadline_s: float, level: Level = Level.NORMAL) -> Held:
    """Make a task that must have ended when the monotonic clock says `deadline_s`."""
    task = held(key, level)
    task.due_s = deadline_s
    return task


def test_tasks_whose_time_runs_out_go_first_the_earliest_deadline_in_front() -> None:
    queue = queue_of(a=Level.NORMAL)
    queue.add([due("far", 500.0), due("near", 114.0), due("nearer", 112.0)])
    assert [task.key for task in queue.take(1, now_s=100.0)] == ["a"]
    assert [task.key for task in queue.take(9, now_s=105.0)] == ["nearer", "near", "far"]


def test_a_task_without_a_deadline_has_its_turn_however_many_come_whose_time_runs_out() -> None:
    queue = queue_of(a=Level.NORMAL, b=Level.NORMAL)
    starts: list[str] = []
    for number in range(40):
        # As many calls of waiting clients come as the engine takes, each with a second left.
        queue.add([due(f"call-{number}", 101.0 + number)])
        starts += [task.key for task in queue.take(1, now_s=100.0 + number)]
    assert starts.index("a") <= 7
    assert starts.index("b") - starts.index("a") <= 8
    # Those that hurry lose no more than that.
    assert len([key for key in starts if key.startswith("call")]) == 38


def test_a_far_deadline_or_an_unknown_time_changes_nothing() -> None:
    queue = queue_of(a=Level.NORMAL)
    queue.add([due("near", 101.0)])
    assert keys(queue, 9) == ["a", "near"]
    queue.add([held("b"), due("far", 111.0)])
    assert [task.key for task in queue.take(9, now_s=100.0)] == ["b", "far"]


def test_a_near_deadline_does_not_lift_a_task_out_of_its_level() -> None:
    queue = queue_of(a=Level.CRITICAL)
    queue.add([due("near", 101.0, Level.LOW)])
    assert [task.key for task in queue.take(1, now_s=100.0)] == ["a"]


def test_a_task_that_was_removed_is_not_met_again_by_its_deadline() -> None:
    queue = AdmissionQueue(WeightedLevels())
    queue.add([due("near", 101.0), held("b")])
    assert queue.remove("near")
    assert [task.key for task in queue.take(9, now_s=100.0)] == ["b"]


def test_deadlines_of_tasks_that_left_are_not_kept_without_bound() -> None:
    line = WaitingLine()
    line.add(held("stays"))
    for place in range(500):
        line.add(due(str(place), 10_000.0 + place))
        line.remove(str(place))
    assert len(line._due) <= 32
    assert [task.key for task in line.take(9)[0]] == ["stays"]


def test_another_policy_orders_what_waits_already() -> None:
    queue = AdmissionQueue(WeightedLevels())
    queue.add([held(f"h{i}", Level.HIGH) for i in range(100)])
    queue.add([held(f"l{i}", Level.LOW) for i in range(100)])
    queue.follow(Policy(level_mode=LevelMode.STRICT, express_slack_s=0.0))
    assert all(key.startswith("h") for key in keys(queue, 50))
    queue.add([due("near", 101.0, Level.HIGH)])
    assert [task.key for task in queue.take(1, now_s=100.0)] == ["h50"]
    queue.follow(Policy(weights=dict.fromkeys(Level, 1)))
    assert sum(key.startswith("l") for key in keys(queue, 40)) == 20


def test_strict_levels_order_a_runner_too() -> None:
    queue = AdmissionQueue(StrictLevels())
    queue.add([held("low", Level.LOW), held("high", Level.HIGH)])
    assert keys(queue, 9) == ["high", "low"]
