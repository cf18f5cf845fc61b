"""Loss of the log, loss of the records, and a log that grows, as a person meets them with `forebay up`."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from redis import Redis

from forebay.client import Client, TaskHandle, TaskState, task_spec
from tests.e2e.test_up import forebay, models, short_path, up  # noqa: F401  # fixtures among them

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ARRAY = np.zeros((100, 2), np.float32)


@pytest.fixture
def small_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the log be exchanged when it has more than 1 MiB."""
    monkeypatch.setattr("tests.e2e.test_up.environment", _environment)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FOREBAY_")}
    root = Path(__file__).resolve().parents[2]
    paths = os.pathsep.join([str(root), str(root / "protos" / "gen"), str(root / "sdk")])
    return {**kept, "PYTHONPATH": paths, "FOREBAY_UP_LOG_LIMIT_MB": "1"}


def submit(client: Client, count: int, *, model: str = "add") -> list[TaskHandle]:
    specs = [task_spec(model, tensors={"x": ARRAY, "y": ARRAY}) for _ in range(count)]
    return list(client.submit_many(specs))


def all_succeed(client: Client, handles: list[TaskHandle]) -> None:
    for done in client.wait_many(handles, timeout_s=60):
        assert done.state is TaskState.SUCCEEDED, done


def said(*words: str) -> dict[str, object]:
    done = forebay(*words, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_a_log_that_grows_is_exchanged_while_tasks_come_and_none_is_lost(
    short_path: Path,  # noqa: F811
    models: Path,  # noqa: F811
    small_log: None,
) -> None:
    with up(short_path / "data", "--model", f"add={models / 'add.onnx'}") as running:
        running.wait_for("forebay is ready")
        handles: list[TaskHandle] = []
        longest_s = 0.0
        with Client(running.address, timeout_s=60) as client:
            while not any("are on the new log" in line for line in running.lines):
                begun = time.monotonic()
                handles += submit(client, 20)
                longest_s = max(longest_s, time.monotonic() - begun)
                running._read(0.02)
                assert len(handles) < 20_000, running.lines
            handles += submit(client, 20)
            all_succeed(client, handles)
        folders = sorted(path.name for path in (short_path / "data" / "pulsar-lite").glob("log-*"))
        assert folders == ["log-1"]
        assert longest_s < 10


def test_a_log_whose_end_was_torn_off_is_put_aside_and_open_tasks_are_on_a_new_one(
    short_path: Path,  # noqa: F811
    models: Path,  # noqa: F811
) -> None:
    data = short_path / "data"
    with up(data) as running:
        running.wait_for("forebay is ready")
        with Client(running.address, timeout_s=60) as client:
            waiting = [handle.id for handle in submit(client, 50)]
        running.process.kill()
        running.process.wait()
    (torn,) = (data / "pulsar-lite" / "log-0").glob("log.rocksdb/entrylog/*.log")
    os.truncate(torn, torn.stat().st_size - 100)
    with up(data, "--model", f"add={models / 'add.onnx'}") as running:
        running.wait_for("the log is damaged")
        running.wait_for("open tasks are on the new log")
        with Client(running.address, timeout_s=60) as client:
            for task_id in waiting:
                assert client.wait(task_id, timeout_s=60).state is TaskState.SUCCEEDED
            all_succeed(client, submit(client, 10))
    assert (data / "pulsar-lite" / "broken-0").is_dir()


def test_records_that_were_lost_come_back_from_the_log_and_a_backup_brings_everything(
    short_path: Path,  # noqa: F811
    models: Path,  # noqa: F811
) -> None:
    data, file = short_path / "data", short_path / "backup"
    with up(data) as running:
        running.wait_for("forebay is ready")
        with Client(running.address, timeout_s=60) as client:
            waiting = [handle.id for handle in submit(client, 30)]
            client.cancel(waiting[:5])
            kept = said("backup", str(file), "--data", str(data))
            assert int(str(kept["keys"])) > 30
            with Redis(unix_socket_path=str(data / "valkey.sock")) as store:
                store.flushall()
            assert said("recover", "--data", str(data), "--dry-run")["recovered"] == 25
            assert said("recover", "--data", str(data))["recovered"] == 25
            assert said("recover", "--data", str(data))["recovered"] == 0
            assert {task.id for task in client.list()} == set(waiting[5:])
        refused = forebay("restore", str(file), "--data", str(data))
        assert refused.returncode == 1
        assert "already up" in refused.stderr
    fresh = short_path / "fresh"
    assert said("restore", str(file), "--data", str(fresh))["keys"] == kept["keys"]
    with up(fresh, "--model", f"add={models / 'add.onnx'}") as running:
        running.wait_for("open tasks are on the new log")
        with Client(running.address, timeout_s=60) as client:
            for task_id in waiting[5:]:
                assert client.wait(task_id, timeout_s=60).state is TaskState.SUCCEEDED
            assert client.get(waiting[0]).state is TaskState.CANCELLED


def test_recover_without_a_platform_is_one_sentence(short_path: Path) -> None:  # noqa: F811
    done = forebay("recover", "--data", str(short_path))
    assert done.returncode == 1
    assert done.stderr.startswith("forebay: forebay is not up on ")
    assert done.stderr.count("\n") == 1
