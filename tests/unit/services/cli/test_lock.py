import os
import stat
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


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_of_ours_is_closed_to_others_and_so_is_what_we_write_in_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o755)
    before = os.umask(0o022)
    try:
        with lock.hold(data):
            (data / "a.log").touch()
            (data / "logs").mkdir()
        (data / "afterwards").touch()
    finally:
        os.umask(before)
    assert mode(data) == 0o700
    assert mode(data / "a.log") == 0o600
    assert mode(data / "logs") == 0o700
    assert mode(data / "afterwards") == 0o644


def test_a_folder_that_all_share_is_left_open(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with lock.hold(tmp_path):
        assert mode(tmp_path) == 0o1777


def test_the_secret_is_made_once_and_is_random(tmp_path: Path) -> None:
    made = []
    for folder in ("a", "a", "b"):
        with lock.hold(tmp_path / folder):
            made.append((tmp_path / folder / "secret").read_text())
            assert mode(tmp_path / folder / "secret") == 0o600
    assert len(bytes.fromhex(made[0])) == 32
    assert made[0] == made[1] != made[2]


def test_a_secret_of_which_nothing_was_written_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    (tmp_path / "secret.new").write_text("half")
    with lock.hold(tmp_path):
        assert len((tmp_path / "secret").read_text()) == 64
    assert not (tmp_path / "secret.new").exists()
