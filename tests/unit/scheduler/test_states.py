"""The table of moves, and that the domain's numbers are the wire's."""

from forebay.tasks.v1 import task_pb2
from scheduler.states import MOVES, TERMINAL, Level, TaskState


def test_states_have_the_numbers_of_the_contract() -> None:
    wire = {name.removeprefix("TASK_STATE_"): number for name, number in task_pb2.TaskState.items()}
    assert {state.name: int(state) for state in TaskState} == {k: v for k, v in wire.items() if v}


def test_levels_have_the_numbers_of_the_contract() -> None:
    wire = {name.removeprefix("PRIORITY_"): number for name, number in task_pb2.Priority.items()}
    assert {level.name: int(level) for level in Level} == {k: v for k, v in wire.items() if v}


def test_nothing_follows_a_terminal_state() -> None:
    assert not [move for move in MOVES if move[0] in TERMINAL]


def test_every_move_is_told_in_the_lifecycle_document() -> None:
    from pathlib import Path

    text = (Path(__file__).parents[3] / "docs" / "task_lifecycle.md").read_text("utf-8")
    rows = {
        tuple(cell.strip(" `") for cell in line.split("|")[1:4])
        for line in text.splitlines()
        if line.startswith("| `")
    }
    assert rows == {(before.name, event.value, after.name) for (before, event), after in MOVES.items()}
