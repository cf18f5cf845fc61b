from scheduler.admission import Backlog, Taken, Waiting

LOW = 4
HIGH = 2


def taken(tasks: int, tenant: str = "t", level: int = LOW) -> Taken:
    return Taken(tenant, {level: Waiting(tasks, tasks * 10.0)})


def look(backlog: Backlog, now_s: float, *lines: tuple[str, int, int, float]) -> None:
    backlog.begin_look(now_s)
    backlog.end_look(lines)


def test_what_a_look_counts_is_summed_by_tenant_and_level() -> None:
    backlog = Backlog()
    look(backlog, 0.0, ("t", LOW, 3, 30.0), ("t", LOW, 1, 5.0), ("t", HIGH, 2, 2.0), ("u", LOW, 7, 7.0))
    assert backlog.waiting("t", LOW) == (4, 35.0)
    assert backlog.waiting("t", 0) == (6, 37.0)
    assert backlog.waiting("", LOW) == (11, 42.0)
    assert backlog.waiting("", 0) == (13, 44.0)
    assert backlog.waiting("nobody", 0) == (0, 0.0)


def test_what_was_let_in_counts_at_once_and_what_came_to_nothing_counts_no_more() -> None:
    backlog = Backlog()
    backlog.take(taken(5))
    assert backlog.waiting("t", 0).tasks == 5
    backlog.settle(taken(5), taken(2))
    assert backlog.waiting("t", 0) == (2, 20.0)


def test_what_was_recorded_before_a_look_is_in_its_counts_and_nowhere_else() -> None:
    backlog = Backlog()
    backlog.take(taken(5))
    backlog.settle(taken(5), taken(5))
    look(backlog, 1.0, ("t", LOW, 3, 30.0))
    assert backlog.waiting("t", 0).tasks == 3


def test_what_was_recorded_or_under_way_while_a_look_took_place_is_added_to_it() -> None:
    backlog = Backlog()
    backlog.take(taken(5))
    backlog.begin_look(1.0)
    backlog.settle(taken(5), taken(5))
    backlog.take(taken(2, level=HIGH))
    backlog.end_look([("t", LOW, 4, 40.0)])
    assert backlog.waiting("t", LOW).tasks == 9
    assert backlog.waiting("t", HIGH).tasks == 2
    look(backlog, 2.0, ("t", LOW, 9, 90.0))
    assert backlog.waiting("t", 0).tasks == 11
    backlog.settle(taken(2, level=HIGH), taken(2, level=HIGH))
    look(backlog, 3.0)
    assert backlog.waiting("t", 0).tasks == 0


def test_a_look_that_failed_forgets_nothing() -> None:
    backlog = Backlog()
    look(backlog, 0.0, ("t", LOW, 1, 10.0))
    backlog.take(taken(5))
    backlog.settle(taken(5), taken(5))
    backlog.begin_look(1.0)
    assert backlog.waiting("t", 0).tasks == 6
    look(backlog, 2.0, ("t", LOW, 6, 60.0))
    assert backlog.waiting("t", 0).tasks == 6


def test_how_fast_a_line_drains_is_what_was_there_and_came_in_and_is_gone() -> None:
    backlog = Backlog()
    look(backlog, 0.0, ("t", LOW, 100, 1000.0))
    assert backlog.draining("t", LOW).tasks == 0.0
    backlog.take(taken(10))
    backlog.settle(taken(10), taken(10))
    look(backlog, 2.0, ("t", LOW, 90, 900.0))
    assert backlog.draining("t", LOW) == (10.0, 100.0)
    assert backlog.draining("", 0) == (10.0, 100.0)


def test_forgetting_keeps_what_is_under_way() -> None:
    backlog = Backlog()
    look(backlog, 0.0, ("t", LOW, 100, 1000.0))
    backlog.take(taken(3))
    backlog.forget()
    assert backlog.waiting("t", 0).tasks == 3
    backlog.settle(taken(3), taken(0))
    assert backlog.waiting("t", 0).tasks == 0
