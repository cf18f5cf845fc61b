import os
from pathlib import Path

import pytest

from scheduler.errors import StartupRefused
from services.cli.up import lock


def test_a_folder_that_is_held_is_refused_with_the_holders_id(tmp_path: Path) -> None:
    with (
        lock.hold(tmp_path / "new" / "folder"),
        pytest.raises(StartupRefused, match=rf"already up on .*folder \(process {os.getpid()}\)"),
        lock.hold(tmp_path / "new" / "folder"),
    ):
        pass


def test_a_folder_that_was_let_go_can_be_held_again(tmp_path: Path) -> None:
    for _ in range(2):
        with lock.hold(tmp_path):
            pass


def test_what_a_dead_process_left_behind_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("123456789")
    with lock.hold(tmp_path):
        assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_a_folder_that_cannot_be_made_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupRefused, match="cannot be used"), lock.hold(tmp_path / "file" / "below"):
        pass
