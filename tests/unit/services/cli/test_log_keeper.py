"""When the embedded broker's folder is exchanged, and that nothing is removed before everything is on the new log."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

from scheduler.errors import StartupRefused
from services.cli.up import log_keeper, repair
from services.cli.up.log_keeper import LogKeeper
from services.cli.up.supervisor import Supervisor
from services.embedded.log_folders import LogFolders


class Switchboard:
    """Stands for the supervisor: notes what is halted and resumed."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.unreadable = False
        self.surgery = asyncio.Lock()

    def damaged(self, name: str) -> bool:
        return self.unreadable

    async def halt(self, name: str, within_s: float) -> None:
        self.calls.append(f"halt {name}")

    async def resume(self, name: str, command: list[str] | None = None) -> None:
        self.unreadable = False
        self.calls.append(f"resume {name}" + (f" on {Path(command[-1]).name}" if command else ""))


def keeper(
    root: Path,
    said: list[str],
    *,
    limit_bytes: int = 100,
    records: bool = True,
    done: asyncio.Event | None = None,
) -> LogKeeper:
    """A keeper that says things into `said`; `done` is set when it says that an exchange is complete."""

    def say(who: str, text: str) -> None:
        said.append(text)
        if done is not None and "open tasks are on the new log" in text:
            done.set()

    return LogKeeper(
        LogFolders(root, records=records),
        lambda folder: ["broker", str(folder)],
        "pulsar://127.0.0.1:1",
        limit_bytes=limit_bytes,
        say=say,
    )


async def watched_until(done: asyncio.Event, present: LogKeeper, board: Switchboard) -> None:
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(present.watch(cast("Supervisor", board), {}))
        await done.wait()
        watching.cancel()


def filled(root: Path, size: int, *, clean: bool = True) -> None:
    first = LogFolders(root, records=False)
    first.opened()
    first.folder.mkdir(parents=True)
    (first.folder / "log.data").write_bytes(b"x" * size)
    if clean:
        first.closed()


async def test_a_log_within_its_limit_is_used_as_it_is(tmp_path: Path) -> None:
    filled(tmp_path, 100)
    assert (await keeper(tmp_path, []).choose({}))[-1].endswith("log-0")


async def test_a_log_over_its_limit_is_exchanged_before_the_start(tmp_path: Path) -> None:
    filled(tmp_path, 101)
    assert (await keeper(tmp_path, []).choose({}))[-1].endswith("log-1")
    assert (tmp_path / "log-0").is_dir()


async def test_a_log_without_records_is_never_removed(tmp_path: Path) -> None:
    filled(tmp_path, 1000)
    said: list[str] = []
    present = keeper(tmp_path, said, records=False)
    assert (await present.choose({}))[-1].endswith("log-0")
    await present.watch(cast("Supervisor", Switchboard()), {})
    assert "forebay recover" in said[0]


@pytest.mark.parametrize("sound", [True, False])
async def test_after_a_death_the_log_is_checked_and_a_damaged_one_goes_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sound: bool
) -> None:
    filled(tmp_path, 10, clean=False)

    async def delivers(command: object, url: object, variables: object, limit_s: object) -> bool:
        return sound

    monkeypatch.setattr(repair, "delivers", delivers)
    assert (await keeper(tmp_path, []).choose({}))[-1].endswith("log-0" if sound else "log-1")


async def test_the_old_folder_goes_only_after_open_tasks_are_on_the_new_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path, 10)
    done = asyncio.Event()
    board = Switchboard()
    present = keeper(tmp_path, [], done=done)
    await present.choose({})
    (tmp_path / "log-0" / "log.data").write_bytes(b"x" * 101)
    tries: list[bool] = []

    async def republish(variables: Mapping[str, str], limit_s: float) -> int:
        tries.append((tmp_path / "log-0").is_dir())
        if len(tries) == 1:
            raise StartupRefused("the record store does not answer")
        return 7

    monkeypatch.setattr(repair, "republish", republish)
    monkeypatch.setattr(log_keeper, "CHECK_S", 0.0)
    await watched_until(done, present, board)
    assert not (tmp_path / "log-0").exists()
    assert tries == [True, True]
    assert board.calls == [
        "halt scheduler",
        "halt pulsar-lite",
        "resume pulsar-lite on log-1",
        "resume scheduler",
    ]


async def test_a_log_that_the_broker_cannot_read_is_exchanged_while_it_runs_and_kept_for_a_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path, 10)
    done = asyncio.Event()
    board = Switchboard()
    present = keeper(tmp_path, [], done=done)
    await present.choose({})
    board.unreadable = True

    async def republish(variables: Mapping[str, str], limit_s: float) -> int:
        return 7

    monkeypatch.setattr(repair, "republish", republish)
    monkeypatch.setattr(log_keeper, "CHECK_S", 0.0)
    await watched_until(done, present, board)
    assert board.calls[2] == "resume pulsar-lite on log-1"
    assert len(board.calls) == 4
    assert (tmp_path / "broken-0").is_dir()


async def test_a_fresh_log_is_begun_only_when_there_is_room_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path, 10)
    done = asyncio.Event()
    board = Switchboard()
    said: list[str] = []
    free = [0, 0, 0, log_keeper.ROOM_BYTES]
    present = keeper(tmp_path, said)
    await present.choose({})
    board.unreadable = True

    def free_bytes(folders: LogFolders) -> int:
        assert board.calls == []
        return free.pop(0)

    async def republish(variables: Mapping[str, str], limit_s: float) -> int:
        done.set()
        return 7

    monkeypatch.setattr(LogFolders, "free_bytes", free_bytes)
    monkeypatch.setattr(repair, "republish", republish)
    monkeypatch.setattr(log_keeper, "CHECK_S", 0.0)
    await watched_until(done, present, board)
    assert free == []
    assert [text for text in said if "make room" in text] == [
        "a fresh log is needed and only 0 MiB are free: make room"
    ]
    assert board.calls[2] == "resume pulsar-lite on log-1"


async def test_a_disk_that_is_full_during_an_exchange_ends_nothing_and_the_exchange_is_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path, 10)
    done = asyncio.Event()
    board = Switchboard()
    said: list[str] = []
    present = keeper(tmp_path, said, done=done)
    await present.choose({})
    board.unreadable = True
    begin, finish = LogFolders.begin, LogFolders.finish
    full = ["begin", "finish", "finish"]

    def meets(step: str) -> None:
        if step in full:
            full.remove(step)
            raise OSError(28, "No space left on device")

    def begins(folders: LogFolders, *, broken: bool) -> Path:
        meets("begin")
        return begin(folders, broken=broken)

    def finishes(folders: LogFolders) -> None:
        meets("finish")
        finish(folders)

    async def republish(variables: Mapping[str, str], limit_s: float) -> int:
        # The broker meets the full disk as well: the new log is damaged too.
        board.unreadable = "finish" in full
        return 7

    monkeypatch.setattr(LogFolders, "begin", begins)
    monkeypatch.setattr(LogFolders, "finish", finishes)
    monkeypatch.setattr(repair, "republish", republish)
    monkeypatch.setattr(log_keeper, "CHECK_S", 0.0)
    await watched_until(done, present, board)
    present.closed()
    assert full == []
    resumed = [call for call in board.calls if call.startswith("resume pulsar-lite")]
    assert resumed == [f"resume pulsar-lite on log-{number}" for number in (1, 2, 3)]
    assert not (tmp_path / "log-0").exists()
    assert sum("No space left" in text for text in said) == 3
