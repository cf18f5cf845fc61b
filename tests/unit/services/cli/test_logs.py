import re
from pathlib import Path

import pytest

from services.cli.up import logs

WARNING = (
    b'{"time":"x","level":"warning","service":"agent","logger":"l","event":"lease refused","task_id":"07a"}\n'
)
REFUSED = b'{"level":"error","event":"process ends","reason":"STARTUP_REFUSED","why":"the port is taken"}\n'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (WARNING, "warning: lease refused task_id=07a"),
        (REFUSED, "error: process ends: the port is taken"),
        (b'{"level":"error","event":"model unusable","model":"m","reason":"no weights"}\n', ""),
        (b'{"level":"info","event":"ERROR in name only"}\n', ""),
        (
            b"2026-01-01T10:00:00.0Z ERROR broker: disk full\n",
            "2026-01-01T10:00:00.0Z ERROR broker: disk full",
        ),
        (b"71:M 01 Jan 2026 10:00:00.000 # Can't save\n", "71:M 01 Jan 2026 10:00:00.000 # Can't save"),
        (b"71:M 01 Jan 2026 10:00:00.000 # WARNING: The TCP backlog setting\n", ""),
        (b"Traceback (most recent call last):\n", ""),
    ],
)
def test_only_warnings_and_errors_are_said(line: bytes, said: str) -> None:
    assert logs.loud(line) == said


def test_a_log_is_put_aside_when_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "KEEP_BYTES", 100)
    log = logs.ChildLog(tmp_path / "a.log", lambda text: None)
    for number in range(30):
        log.write(b"line %03d\n" % number)
    log.close()
    kept = (tmp_path / "a.log.1").read_bytes() + (tmp_path / "a.log").read_bytes()
    assert kept.endswith(b"line 029\n")
    assert len(kept) < 250


def test_what_was_written_before_stays_and_the_last_error_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"before\n")
    heard: list[str] = []
    log = logs.ChildLog(tmp_path / "a.log", heard.append)
    log.write(REFUSED)
    log.close()
    assert (tmp_path / "a.log").read_bytes() == b"before\n" + REFUSED
    assert heard == [log.last_error] == ["error: process ends: the port is taken"]


@pytest.mark.parametrize("warning", [WARNING, b"2026-01-01T10:00:00.0Z WARN broker: slow disk\n"])
def test_a_warning_is_said_and_is_never_taken_for_the_reason_of_a_death(
    tmp_path: Path, warning: bytes
) -> None:
    heard: list[str] = []
    log = logs.ChildLog(tmp_path / "a.log", heard.append)
    log.write(warning)
    log.close()
    assert len(heard) == 1
    assert log.last_error == ""


def test_lines_that_cannot_be_kept_are_lost_which_is_said_once_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "KEEP_BYTES", 10)
    folder, away = tmp_path / "logs", tmp_path / "away"
    folder.mkdir()
    heard: list[str] = []
    log = logs.ChildLog(folder / "a.log", heard.append, re.compile(b"torn"))
    folder.rename(away)
    log.write(b"first line\n")
    log.write(b"second line\n")
    log.write(b"third line, torn\n")
    assert heard == ["warning: lines of a.log are lost (No such file or directory)"]
    assert log.damaged
    away.rename(folder)
    log.write(b"fourth\n")
    log.close()
    assert b"fourth\n" in b"".join(path.read_bytes() for path in folder.iterdir())
