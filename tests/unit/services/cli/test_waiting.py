from collections.abc import Iterator
from typing import Any, cast

import pytest

from forebay.client import Choice, Chunk, Client, DeadlineExceeded, TaskHandle, TaskInfo, TaskState
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


def test_the_first_answer_is_written_as_it_comes_and_the_others_once_they_are_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    waiting.write_chunks(
        iter(
            [
                Chunk(1, "He", others=(Choice(2, "B"), Choice(1, "Y"))),
                Chunk(2, "llo", others=(Choice(1, "es", finish_reason="stop"),)),
                Chunk(3, "", others=(Choice(2, "ah", finish_reason="length"),)),
            ]
        )
    )
    assert capsys.readouterr().out == "Hello\nchoice 1 (stop)\nYes\nchoice 2 (length)\nBah\n"


def test_what_a_lost_runner_wrote_of_any_answer_is_void(capsys: pytest.CaptureFixture[str]) -> None:
    waiting.write_chunks(
        iter(
            [
                Chunk(1, "a", others=(Choice(1, "lost"),)),
                Chunk(2, "b", restarted=True, others=(Choice(1, "kept", finish_reason="stop"),)),
            ]
        )
    )
    written = capsys.readouterr()
    assert written.out == "a\nb\nchoice 1 (stop)\nkept\n"
    assert "begins again" in written.err
