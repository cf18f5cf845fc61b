from collections.abc import Iterator
from typing import Any, cast

import pytest

from forebay.client import Client, DeadlineExceeded, TaskHandle, TaskInfo, TaskState
from services.cli import waiting
from services.cli.exits import CommandFailed, Exit


class Slow:
    """A client whose task `a` ends, and all others take longer than anybody waits."""

    def watch(self, handles: Any, **options: Any) -> Iterator[TaskInfo]:
        yield TaskInfo("a", TaskState.SUCCEEDED)
        raise DeadlineExceeded("not in time")


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ("ab", "task b had not ended after 2 s; it goes on, see: forebay get b"),
        ("abc", "2 tasks had not ended after 2 s; they go on, see: forebay get ID, with b, c"),
    ],
)
def test_who_gives_up_waiting_learns_which_tasks_go_on(ids: str, said: str) -> None:
    handles = [TaskHandle(id_, TaskState.QUEUED, None) for id_ in ids]
    with pytest.raises(CommandFailed) as failed:
        waiting.wait_all(cast("Client", Slow()), handles, 2.0)
    assert (str(failed.value), failed.value.code) == (said, Exit.FAILED)
