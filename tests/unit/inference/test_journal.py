"""What a runner leaves behind when it dies at any moment."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from struct import Struct

import pytest

from inference import journal
from inference.journal import Attempt, JournalWriter, Remains, read_journal
from tests.unit.inference.runner.fakes import held, suspect


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runner.journal"


def test_it_tells_what_was_executing_and_what_waited(path: Path) -> None:
    writer = JournalWriter(path)
    tasks = [held("a#1"), suspect("b#2", "group"), held("c#1")]
    writer.took(tasks, lambda: tasks)
    writer.executing(["c#1", "d#7"])
    assert read_journal(path) == Remains(
        executing=(Attempt("c", 1), Attempt("d", 7)), waiting=(Attempt("a", 1), Attempt("b", 2, "group"))
    )


def test_only_the_latest_list_counts_as_executing(path: Path) -> None:
    writer = JournalWriter(path)
    for number in range(1, 6):
        writer.executing([f"a#{number}"])
        assert read_journal(path).executing == (Attempt("a", number),)
    writer.executing([])
    assert read_journal(path).executing == ()


def test_a_write_that_was_cut_off_leaves_the_one_before(path: Path) -> None:
    writer = JournalWriter(path)
    writer.executing(["a#1"])
    writer.executing(["b#1"])
    # The third write goes over the first: its first number is there, its last is not.
    data = bytearray(path.read_bytes())
    Struct("=QQ").pack_into(data, journal._EXECUTING[1], 3, 9999)
    path.write_bytes(data)
    assert read_journal(path).executing == (Attempt("b", 1),)


def test_a_full_log_is_begun_anew_with_what_is_held_then(path: Path) -> None:
    writer = JournalWriter(path)
    lives = held("lives#1")
    current = [lives]
    writer.took(current, lambda: current)
    for number in range(20_000):
        current = [lives, held(f"{number:040}#1")]
        writer.took(current[1:], current.copy)
    waiting = read_journal(path).waiting
    assert Attempt("lives", 1) in waiting
    assert waiting[-1] == Attempt(f"{19_999:040}", 1)
    assert len(waiting) <= journal.HELD_BYTES // 40


def test_what_does_not_fit_is_left_out_whole(path: Path) -> None:
    writer = JournalWriter(path)
    writer.executing([f"{number:040}#1" for number in range(10_000)])
    executing = read_journal(path).executing
    assert 1000 < len(executing) < 10_000
    assert executing[-1] == Attempt(f"{len(executing) - 1:040}", 1)


def test_the_file_is_bounded(path: Path) -> None:
    JournalWriter(path)
    assert path.stat().st_size < 1_000_000


@pytest.mark.parametrize("data", [b"", b"short", b"x" * journal._FILE_BYTES, b"\0" * journal._FILE_BYTES])
def test_a_file_that_is_no_journal_tells_nothing(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    assert read_journal(path) == Remains()


def test_no_file_tells_nothing(path: Path) -> None:
    assert read_journal(path) == Remains()


def test_it_outlives_a_kill_at_any_moment(path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from inference.journal import JournalWriter\n"
        "writer = JournalWriter(Path(sys.argv[1])); print('up', flush=True)\n"
        "number = 0\n"
        "while True:\n"
        "    number += 1\n"
        "    writer.executing([f'{number}-{index}#{number}' for index in range(200)])\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        while not read_journal(path).executing:
            os.sched_yield()
        process.send_signal(signal.SIGKILL)
        process.wait()
    executing = read_journal(path).executing
    assert len(executing) == 200
    assert len({one.attempt for one in executing}) == 1


def test_direct_calls_are_no_attempts_but_may_be_to_blame(path: Path) -> None:
    writer = JournalWriter(path)
    writer.calls(3)
    writer.executing(["call-1-7", "a#1"])
    assert read_journal(path) == Remains(executing=(Attempt("a", 1),), executing_calls=True, held_calls=True)
    writer.calls(0)
    writer.executing(["a#1"])
    assert read_journal(path) == Remains(executing=(Attempt("a", 1),))
