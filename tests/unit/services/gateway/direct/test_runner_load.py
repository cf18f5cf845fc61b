"""What a runner has to do, between two of its responses."""

from forebay.runner.v1.runner_service_pb2 import Load
from services.gateway.direct.runner_load import TRUSTED_S, RunnerLoad


def test_before_it_has_told_anything_it_has_nothing_to_do_and_holds_what_the_directory_says() -> None:
    load = RunnerLoad()
    assert (load.work_ms(5.0), load.held(5.0, announced=3)) == (0.0, 3)


def test_what_it_told_shrinks_as_time_passes_and_is_never_less_than_nothing() -> None:
    load = RunnerLoad()
    load.told(Load(outstanding_us=500_000, held=4), 10.0)
    assert [load.work_ms(now_s) for now_s in (10.0, 10.25, 10.5, 99.0)] == [500.0, 250.0, 0.0, 0.0]


def test_what_it_told_last_stands() -> None:
    load = RunnerLoad()
    load.told(Load(outstanding_us=500_000, held=4), 10.0)
    load.told(Load(outstanding_us=100_000, held=1), 10.1)
    assert (load.work_ms(10.1), load.held(10.1, announced=9)) == (100.0, 1)


def test_how_many_it_holds_is_believed_for_a_moment_and_then_the_directory_is() -> None:
    load = RunnerLoad()
    load.told(Load(outstanding_us=0, held=4), 10.0)
    assert load.held(10.0 + TRUSTED_S / 2, announced=9) == 4
    assert load.held(10.0 + TRUSTED_S, announced=9) == 9
