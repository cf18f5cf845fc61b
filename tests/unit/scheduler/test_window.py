"""The window: order, credit and bounds."""

from dataclasses import dataclass
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.lanes import Lane
from scheduler.policies.backlog import IDLE_MODELS
from scheduler.policies.expected import Expected
from scheduler.policies.policy import DEFAULT_POLICY, LevelMode, Policy, TaskOrder
from scheduler.states import Level
from scheduler.window import Contents, WaitingTask, Window


@dataclass
class Bundle:
    open: int = 1


def task(
    name: str,
    level: Level = Level.NORMAL,
    model: str = "m",
    lane: int = 0,
    at: int = 0,
    tenant: str = "",
    deadline: int = 0,
    work_ms: float = 1.0,
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
        tenant=tenant,
        deadline_ms=deadline,
        expected=Expected(work_ms, work_ms),
    )


def window(per_lane: int = 256) -> Window[str, Bundle]:
    return Window(per_lane, DEFAULT_POLICY)


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


def test_depths_are_told_by_level() -> None:
    w = window()
    w.add(task("a", Level.LOW, at=7))
    w.add(task("b", Level.LOW, at=9))
    assert w.depths()[Level.LOW] == 2
    assert w.depths()[Level.HIGH] == 0


def test_held_tasks_stay_and_others_pass_them() -> None:
    w = window()
    w.hold(lambda t: t.id.startswith("held"))
    w.extend(Lane("default", Level.NORMAL, 0), [task("held1"), task("free1"), task("held2"), task("free2")])
    assert ids(w.take({"m": 9}, 9)) == ["free1", "free2"]
    assert w.depths()[Level.NORMAL] == 2


def test_tasks_that_wait_already_are_held_and_let_go_in_the_order_they_came() -> None:
    w = window()
    for at, name in enumerate(("a", "held1", "b", "held2")):
        w.add(task(name, at=at))
    w.hold(lambda t: t.id.startswith("held"))
    assert ids(w.take({"m": 1}, 9)) == ["a"]
    w.hold(None)
    assert ids(w.take({"m": 9}, 9)) == ["held1", "b", "held2"]


def test_held_tasks_keep_their_lane_full_and_show_their_age() -> None:
    w = window(per_lane=2)
    lane = Lane("default", Level.LOW, 0)
    w.hold(lambda t: True)
    w.extend(lane, [task("a", Level.LOW, at=7), task("b", Level.LOW, at=9)])
    assert w.take({"m": 9}, 9) == []
    assert not w.has_room(lane)
    assert w.full_lanes() == [lane]
    assert [part.oldest_ms for part in w.contents()] == [7]


def test_a_level_whose_tasks_are_let_go_pays_nothing_for_the_time_it_was_held() -> None:
    w = window()
    w.hold(lambda t: t.lane.level is Level.HIGH)
    for i in range(100):
        w.add(task(f"high{i}", Level.HIGH, at=i))
        w.add(task(f"low{i}", Level.LOW, at=i))
    assert all(name.startswith("low") for name in ids(w.take({"m": 40}, 40)))
    w.hold(None)
    # Weights 16 and 1: a level that was held begins at the present, not with what it missed.
    assert sum(name.startswith("low") for name in ids(w.take({"m": 51}, 51))) in (2, 3)


def test_what_is_stuck_is_found_by_lane_and_stays_until_it_is_withdrawn() -> None:
    w = window(per_lane=2)
    first, second = Lane("default", Level.NORMAL, 0), Lane("default", Level.NORMAL, 1)
    w.hold(lambda t: t.id == "held")
    w.extend(first, [task("held"), task("dead", model="gone"), task("fine")])
    w.extend(second, [task("other", model="gone", lane=1)])
    stuck = w.stuck({first}, {"gone"})
    assert {lane: sorted(ids(tasks)) for lane, tasks in stuck.items()} == {first: ["dead", "held"]}
    assert sorted(ids(w.withdraw(stuck[first]))) == ["dead", "held"]
    assert w.withdraw(stuck[first]) == []
    assert w.has_room(first)
    assert sorted(ids(w.take({"m": 9, "gone": 9}, 9))) == ["fine", "other"]
    assert w.models() == set()
    assert w.has_room(second)


def test_a_task_that_was_taken_meanwhile_is_not_withdrawn() -> None:
    w = window(per_lane=1)
    w.add(task("a"))
    taken = w.take({"m": 1}, 1)
    assert w.withdraw(taken) == []
    assert w.depths()[Level.NORMAL] == 0


def meets(condition: object, task: WaitingTask[str, Bundle]) -> bool:
    return condition in (task.lane.level, task.model)


moves = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"),
            st.sampled_from(list(Level)),
            st.lists(st.sampled_from("ab"), min_size=1, max_size=4),
        ),
        st.tuples(st.just("take"), st.integers(0, 3), st.integers(0, 3)),
        st.tuples(st.just("hold"), st.sampled_from([*Level, "a", "b"])),
        st.tuples(st.just("release")),
        st.tuples(st.just("withdraw"), st.sampled_from("ab")),
    ),
    max_size=20,
)


@settings(max_examples=60, deadline=None)
@given(moves)
def test_whatever_is_held_let_go_and_withdrawn_each_task_leaves_once(moves: list[tuple[object, ...]]) -> None:
    w = window(per_lane=3)
    added: list[WaitingTask[str, Bundle]] = []
    gone: list[WaitingTask[str, Bundle]] = []
    held: object = None
    for move in moves:
        match move:
            case ("add", Level() as level, list() as models):
                first = len(added)
                made = [task(str(first + i), level, model, at=first + i) for i, model in enumerate(models)]
                w.extend(made[0].lane, made)
                added += made
            case ("take", int() as a, int() as b):
                taken = w.take({"a": a, "b": b}, 9)
                assert not any(meets(held, t) for t in taken)
                gone += taken
            case ("hold", condition):
                held = condition
                w.hold(partial(meets, condition))
            case ("release",):
                held = None
                w.hold(None)
            case ("withdraw", str() as model):
                stuck = w.stuck(set(w.full_lanes()), {model})
                gone += w.withdraw([t for tasks in stuck.values() for t in tasks])
        assert sum(w.depths().values()) == len(added) - len(gone)
    w.hold(None)
    gone += w.take({"a": 999, "b": 999}, 999)
    assert sorted(t.id for t in gone) == sorted(t.id for t in added)
    assert all(w.has_room(t.lane) for t in added)


def test_only_critical_tasks_leave_on_the_reserve_and_only_when_other_credit_is_used_up() -> None:
    w = window()
    for name in ("n1", "n2", "n3"):
        w.add(task(name))
    for name in ("c1", "c2", "c3"):
        w.add(task(name, Level.CRITICAL))
    assert ids(w.take({"m": 1}, 9, {"m": 1})) == ["c1", "c2"]
    assert ids(w.take({}, 9, {"m": 5})) == ["c3"]
    assert ids(w.take({}, 9, {"m": 5})) == []
    assert ids(w.take({"m": 9}, 9, {"m": 5})) == ["n1", "n2", "n3"]


def test_the_reserve_of_another_model_is_of_no_use_and_the_limit_holds_for_both() -> None:
    w = window()
    for name in ("c1", "c2", "c3"):
        w.add(task(name, Level.CRITICAL))
    assert ids(w.take({}, 9, {"other": 5})) == []
    assert ids(w.take({"m": 1}, 2, {"m": 9})) == ["c1", "c2"]
    assert w.has_room(Lane("default", Level.CRITICAL, 0))


def test_short_tasks_and_near_deadlines_go_before_long_ones() -> None:
    w = window()
    w.add(task("long", work_ms=1e6))
    w.add(task("short"))
    w.add(task("due", deadline=2_000, work_ms=2_500))
    assert ids(w.take({"m": 9}, 9)) == ["due", "short", "long"]


def test_a_tenant_that_comes_to_a_flood_is_not_behind_it() -> None:
    w = window()
    w.extend(Lane("default", Level.NORMAL, 0), [task(f"f{i}", tenant="flood") for i in range(100)])
    w.take({"m": 9}, 9)
    w.add(task("a", tenant="new"))
    w.add(task("b", tenant="new"))
    assert ids(w.take({"m": 4}, 4)) == ["f9", "a", "f10", "b"]


def test_tenants_share_each_model_by_itself() -> None:
    w = window()
    for i in range(50):
        w.add(task(f"only-here{i}", model="free", tenant="a"))
        w.add(task(f"a{i}", model="scarce", tenant="a"))
        w.add(task(f"b{i}", model="scarce", tenant="b"))
    w.take({"free": 50}, 50)
    assert ids(w.take({"scarce": 4}, 4)) == ["a0", "b0", "a1", "b1"]


def test_a_level_that_waited_for_a_model_that_nobody_runs_has_nothing_to_catch_up_on() -> None:
    w = window()
    for i in range(100):
        w.add(task(f"low{i}", Level.LOW, model="gone"))
        w.add(task(f"n{i}", model="m"))
    w.take({"m": 100}, 100)
    w.add(task("urgent1", Level.CRITICAL, model="gone"))
    w.add(task("urgent2", Level.CRITICAL, model="gone"))
    assert ids(w.take({"gone": 2}, 2)) == ["urgent1", "urgent2"]


def test_a_batch_that_is_too_small_for_all_models_has_some_of_each_the_earliest_first() -> None:
    w = window()
    for i in range(9):
        w.add(task(f"a{i}", model="a", at=5))
        w.add(task(f"b{i}", model="b", at=1))
    assert ids(w.take({"a": 9, "b": 9}, 5)) == ["b0", "b1", "b2", "a0", "a1"]


def test_what_a_task_took_beyond_what_was_expected_is_charged_to_its_tenant_and_level() -> None:
    w = window()
    for name in ("a", "b"):
        w.extend(
            Lane("default", Level.HIGH, 0), [task(f"{name}{i}", Level.HIGH, tenant=name) for i in range(9)]
        )
    assert ids(w.take({"m": 1}, 1)) == ["a0"]
    w.correct(Level.HIGH, "a", "m", 2.0)
    assert ids(w.take({"m": 5}, 5)) == ["b0", "b1", "b2", "a1", "b3"]
    w.add(task("normal"))
    w.correct(Level.HIGH, "a", "m", 1_000.0)
    w.correct(Level.HIGH, "a", "unknown", 1_000.0)
    assert ids(w.take({"m": 1}, 1)) == ["normal"]


def test_another_policy_orders_what_waits_already_and_keeps_what_is_held() -> None:
    w = window()
    w.hold(lambda t: t.id == "held")
    for name, at, work_ms in (("long", 0, 1e6), ("held", 1, 1.0), ("short", 2, 1.0)):
        w.add(task(name, at=at, work_ms=work_ms))
    w.follow(Policy(order=TaskOrder.FIFO))
    assert w.depths()[Level.NORMAL] == 3
    assert ids(w.take({"m": 9}, 1)) == ["long"]
    w.follow(Policy(order=TaskOrder.SHORTEST))
    w.add(task("long2", at=3, work_ms=1e6))
    w.add(task("short2", at=4))
    assert ids(w.take({"m": 9}, 9)) == ["short", "short2", "long2"]
    w.hold(None)
    assert ids(w.take({"m": 9}, 9)) == ["held"]


def test_levels_can_become_strict_and_share_again_while_tasks_wait() -> None:
    w = window()
    for i in range(300):
        w.add(task(f"high{i}", Level.HIGH))
        w.add(task(f"low{i}", Level.LOW))
    w.follow(Policy(level_mode=LevelMode.STRICT))
    assert all(name.startswith("high") for name in ids(w.take({"m": 99}, 99)))
    w.follow(Policy(weights={**DEFAULT_POLICY.weights, Level.HIGH: 1, Level.LOW: 1}))
    assert sum(name.startswith("low") for name in ids(w.take({"m": 100}, 100))) == 50


def test_a_model_that_comes_later_is_ordered_by_the_policy_that_stands() -> None:
    w = window()
    w.follow(Policy(order=TaskOrder.FIFO))
    w.add(task("long", model="new", work_ms=1e6))
    w.add(task("short", model="new"))
    assert ids(w.take({"new": 9}, 9)) == ["long", "short"]


def test_what_has_waited_for_too_long_goes_first_now_and_then() -> None:
    w = Window[str, Bundle](256, Policy(level_mode=LevelMode.STRICT, ageing_s=1.0, ageing_every=4))
    w.add(task("old", Level.LOW))
    for i in range(20):
        w.add(task(f"c{i}", Level.CRITICAL, at=5_000))
    assert ids(w.take({"m": 5}, 5, {}, 5_000)) == ["c0", "c1", "c2", "old", "c3"]


def test_it_tells_what_waits_by_level_tenant_and_model_and_what_is_held() -> None:
    w = window()
    w.hold(lambda t: t.id.startswith("held"))
    w.add(task("a", tenant="t", at=5, work_ms=2.0))
    w.add(task("b", tenant="t", at=3, work_ms=3.5))
    w.add(task("c", Level.LOW, model="n", lane=1, tenant="u", at=9))
    w.add(task("held1", tenant="t", at=8, work_ms=9.0))
    assert sorted(w.contents()) == [
        Contents(Level.NORMAL, "t", "m", 1, 9.0, 8, True),
        Contents(Level.NORMAL, "t", "m", 2, 5.5, 3, False),
        Contents(Level.LOW, "u", "n", 1, 1.0, 9, False),
    ]
    assert w.in_window(Lane("default", Level.NORMAL, 0)) == 3
    assert w.in_window(Lane("default", Level.LOW, 1)) == 1
    assert w.in_window(Lane("default", Level.LOW, 0)) == 0
    assert list(w.lanes()) == [Lane("default", Level.NORMAL, 0), Lane("default", Level.LOW, 1)]


def test_models_that_nothing_waits_for_are_forgotten_in_time() -> None:
    w = window()
    w.add(task("kept", model="kept"))
    for i in range(10 * IDLE_MODELS):
        w.add(task(str(i), model=f"m{i}"))
        w.take({f"m{i}": 1}, 1)
    assert w.models() == {"kept"}
    assert len(w._backlog._models) <= IDLE_MODELS + 1


def test_what_is_set_apart_is_not_taken_counts_as_waiting_and_rejoins_in_its_place() -> None:
    these = window()
    names = ["a", "b", "c", "d"]
    these.extend(Lane("default", Level.NORMAL, 0), [task(name, at=place) for place, name in enumerate(names)])
    apart = these.set_apart(lambda one: one.id in ("a", "c"))
    assert sorted(one.id for one in apart) == ["a", "c"]
    assert these.depths()[Level.NORMAL] == these.in_window(Lane("default", Level.NORMAL, 0)) == 4
    [first] = these.take({"m": 1}, 1)
    assert first.id == "b"
    these.rejoin(apart)
    assert [one.id for one in these.take({"m": 4}, 4)] == ["a", "c", "d"]
    assert these.depths()[Level.NORMAL] == these.in_window(Lane("default", Level.NORMAL, 0)) == 0


def test_a_lane_is_read_past_tasks_that_are_set_aside_and_never_past_twice_its_share() -> None:
    these = window(per_lane=2)
    lane = Lane("default", Level.NORMAL, 0)
    these.extend(lane, [task("a"), task("b")])
    aside = these.take({"m": 2}, 2)
    these.set_aside(aside)
    assert these.in_window(lane) == 2
    assert these.has_room(lane)
    these.extend(lane, [task("c"), task("d")])
    assert not these.has_room(lane)
    assert these.full_lanes() == [lane]
    # As many as may be here: those set aside count from here on.
    aside += these.set_apart(lambda _: True)
    assert these.full_lanes() == [lane]
    these.leave(aside[:1])
    assert these.has_room(lane)
    these.rejoin(aside[1:])
    assert these.in_window(lane) == 3
    assert not these.has_room(lane)
    these.take({"m": 3}, 3)
    assert these.has_room(lane)
