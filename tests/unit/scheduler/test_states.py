"""The table of moves, and that the domain's numbers are the wire's."""

from pathlib import Path

from forebay.tasks.v1 import task_pb2
from scheduler.states import BIRTHS, MOVES, TABLE, TERMINAL, Event, Level, TaskState


def test_states_have_the_numbers_of_the_contract() -> None:
    wire = {name.removeprefix("TASK_STATE_"): number for name, number in task_pb2.TaskState.items()}
    assert {state.name: int(state) for state in TaskState} == {k: v for k, v in wire.items() if v}


def test_levels_have_the_numbers_of_the_contract() -> None:
    wire = {name.removeprefix("PRIORITY_"): number for name, number in task_pb2.Priority.items()}
    assert {level.name: int(level) for level in Level} == {k: v for k, v in wire.items() if v}


def test_nothing_follows_a_terminal_state() -> None:
    assert not [move for move in MOVES if move[0] in TERMINAL]


def test_the_lifecycle_document_has_the_table_row_by_row() -> None:
    text = (Path(__file__).parents[3] / "docs" / "task_lifecycle.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{move.before.name}` | `{move.event}` | `{move.after.name}` | {move.written_by} | {move.effect} |"
        for move in TABLE
    ]


def test_an_event_means_one_move_in_a_state() -> None:
    assert len(MOVES) == len(TABLE)


def test_every_state_that_is_not_terminal_can_be_reached_and_left() -> None:
    entered = BIRTHS | {move.after for move in TABLE}
    left = {move.before for move in TABLE}
    assert entered == set(TaskState)
    assert left == set(TaskState) - TERMINAL


def test_every_state_that_is_not_terminal_can_be_cancelled_and_expire() -> None:
    for state in set(TaskState) - TERMINAL:
        assert MOVES[state, Event.CANCEL] is TaskState.CANCELLED
        assert MOVES[state, Event.EXPIRE] is TaskState.EXPIRED
