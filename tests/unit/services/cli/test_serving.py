import pytest

from forebay.client import RunnerInfo, TaskHandle, TaskState, task_spec
from services.cli.serving import shortage, warn_unserved


def runner(state: str, reason: str = "") -> RunnerInfo:
    return RunnerInfo("r", "m", "default", "", state, reason, "", "", 1, 0, None, None, "", 0)


@pytest.mark.parametrize(
    ("runners", "said"),
    [
        ([], "no runner serves m: the task waits until one does"),
        ([runner("ready"), runner("failed", "x")], ""),
        ([runner("loading")], "the runner of m is not ready yet: the task waits until it is"),
        (
            [runner("failed", "no weights")],
            "m cannot be served (no weights): the task waits until it can",
        ),
    ],
)
def test_a_task_that_nobody_can_run_yet_is_told_to_wait(runners: list[RunnerInfo], said: str) -> None:
    assert shortage("m", runners) == said


def test_a_question_that_fails_is_passed_over_in_silence(
    capsys: pytest.CaptureFixture[str], free_ports: list[int]
) -> None:
    accepted = TaskHandle("07-a", TaskState.QUEUED, None)
    warn_unserved(f"127.0.0.1:{free_ports[0]}", [task_spec("m", prompt="x")], [accepted])
    assert capsys.readouterr().err == ""
