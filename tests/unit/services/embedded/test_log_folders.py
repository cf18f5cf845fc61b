"""Which folder the embedded broker gets after every kind of end."""

from pathlib import Path

import pytest

from scheduler.errors import StartupRefused
from services.embedded.log_folders import BROKEN_KEPT, LogFolders


def folders(root: Path, *, records: bool = True) -> LogFolders:
    """Read the state as a process that starts does."""
    return LogFolders(root, records=records)


def used(root: Path, *, records: bool = False) -> LogFolders:
    """Begin, and let the broker write something."""
    first = folders(root, records=records)
    first.opened()
    first.folder.mkdir(parents=True, exist_ok=True)
    (first.folder / "log.data").write_bytes(b"x" * 1000)
    return first


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.is_dir())


def test_a_first_start_without_records_needs_no_repair(tmp_path: Path) -> None:
    first = folders(tmp_path, records=False)
    assert not first.exchanging
    assert not first.suspicious
    assert first.size_bytes() == 0


def test_a_log_that_is_not_there_although_there_are_records_was_lost(tmp_path: Path) -> None:
    assert folders(tmp_path).exchanging
    used(tmp_path / "removed").closed()
    (tmp_path / "removed" / "log-0" / "log.data").unlink()
    (tmp_path / "removed" / "log-0").rmdir()
    again = folders(tmp_path / "removed")
    assert again.exchanging
    again.finish()
    assert not again.exchanging


def test_an_end_in_order_leaves_no_suspicion_and_a_death_does(tmp_path: Path) -> None:
    used(tmp_path)
    assert folders(tmp_path).suspicious
    folders(tmp_path).closed()
    assert not folders(tmp_path).suspicious


def test_an_exchange_keeps_the_old_folder_until_it_is_finished(tmp_path: Path) -> None:
    used(tmp_path)
    present = folders(tmp_path)
    assert present.begin(broken=False).name == "log-1"
    assert present.exchanging
    assert names(tmp_path) == ["log-0"]
    present.finish()
    assert names(tmp_path) == []
    assert folders(tmp_path, records=False).folder.name == "log-1"


def test_a_death_during_an_exchange_is_made_good_at_the_next_start(tmp_path: Path) -> None:
    used(tmp_path)
    folders(tmp_path).begin(broken=False)
    again = folders(tmp_path)
    assert again.exchanging
    assert again.folder.name == "log-1"
    assert names(tmp_path) == ["log-0"]
    again.finish()
    assert not folders(tmp_path, records=False).exchanging


def test_a_new_folder_that_breaks_before_it_has_everything_is_exchanged_too(tmp_path: Path) -> None:
    used(tmp_path)
    present = folders(tmp_path)
    present.begin(broken=False).mkdir()
    assert present.begin(broken=True).name == "log-2"
    assert names(tmp_path) == ["broken-1", "log-0"]
    present.finish()
    assert folders(tmp_path, records=False).folder.name == "log-2"
    assert "log-0" not in names(tmp_path)


def test_broken_folders_are_kept_for_inspection_but_not_without_end(tmp_path: Path) -> None:
    used(tmp_path)
    for _ in range(BROKEN_KEPT + 3):
        present = folders(tmp_path)
        present.folder.mkdir(exist_ok=True)
        present.begin(broken=True)
        present.finish()
    broken = [name for name in names(tmp_path) if name.startswith("broken-")]
    assert broken == [f"broken-{number}" for number in range(3, 3 + BROKEN_KEPT)]


def test_what_a_death_left_of_a_removed_folder_is_removed(tmp_path: Path) -> None:
    used(tmp_path).begin(broken=False)
    (tmp_path / "log-7").mkdir()
    folders(tmp_path)
    assert names(tmp_path) == ["log-0"]


def test_files_of_a_broker_that_had_no_folder_of_its_own_are_taken_over(tmp_path: Path) -> None:
    (tmp_path / "log.rocksdb").mkdir()
    (tmp_path / "log.rocksdb" / "data").write_bytes(b"xyz")
    present = folders(tmp_path)
    assert present.size_bytes() == 3
    assert (present.folder / "log.rocksdb" / "data").is_file()
    assert not present.exchanging
    assert present.suspicious


def test_a_state_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(StartupRefused, match="cannot be understood"):
        folders(tmp_path)


def test_a_log_without_records_is_an_orphan_and_an_empty_place_is_none(tmp_path: Path) -> None:
    assert not folders(tmp_path, records=False).orphaned
    used(tmp_path).closed()
    assert folders(tmp_path, records=False).orphaned
    assert not folders(tmp_path).orphaned
