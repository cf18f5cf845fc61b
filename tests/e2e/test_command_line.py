"""The command line against the shared system: what it prints, and the exit code it leaves."""

import base64
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from forebay.client import Client
from scheduler.ids import new_ids
from services.cli.up import ports
from tests.system import System, run_cli, run_json

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

ENDLESS = 1 << 60
"""Turns of countdown that nobody waits for."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Arrays as .npy: `x` and `bad` for model add, `turns` for countdown, without end, and `nowhere`, which picky does
    not find.
    """
    folder = tmp_path_factory.mktemp("arrays")
    arrays: dict[str, NDArray[Any]] = {
        "x": np.array([[1, 2, 3, 4]], np.float32),
        "bad": np.array([[1, 2, 3, 4]], np.int32),
        "turns": np.array([ENDLESS], np.int64),
        "nowhere": np.array([9], np.int64),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return {name: folder / f"{name}.npy" for name in arrays}


def document(system: System, *arguments: str) -> Any:
    return run_json(system.grpc, *arguments)


def test_submit_wait_shows_the_answer_and_get_the_whole_story(system: System, files: dict[str, Path]) -> None:
    submit = ("submit", "--model", "add", "--tensor", f"x={files['x']}", "--label", "door=cli", "--wait")
    shown = run_cli(system.grpc, *submit)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout == "y float32 [1, 4]\n[[2. 4. 6. 8.]]\n" and shown.stderr == ""

    (newest,) = document(system, "ls", "--label", "door=cli", "--limit", "1")
    assert (newest["state"], newest["model"], newest["priority"]) == ("succeeded", "add", "normal")
    task = document(system, "get", newest["id"], "--input")
    assert task["result"]["y"]["data"] == [[2, 4, 6, 8]]
    assert [event["state"] for event in task["events"]] == ["queued", "running", "succeeded"]
    assert task["input"]["tensors"][0]["name"] == "x"
    for_people = run_cli(system.grpc, "get", newest["id"])
    assert for_people.returncode == 0 and "succeeded" in for_people.stdout


def test_a_task_that_fails_is_exit_code_1_and_says_why(system: System, files: dict[str, Path]) -> None:
    failed = run_cli(system.grpc, "submit", "--model", "add", "--tensor", f"x={files['bad']}", "--wait")
    assert failed.returncode == 1
    assert "input 'x' expects FP32, got INT32" in failed.stderr


def test_what_the_server_refuses_is_exit_code_1(system: System, files: dict[str, Path]) -> None:
    refused = run_cli(
        system.grpc, "submit", "--model", "add", "--tensor", f"x={files['x']}", "--pool", "nowhere"
    )
    assert refused.returncode == 1
    assert "there is no such pool" in refused.stderr
    missing = run_cli(system.grpc, "get", new_ids(7, 1, 0)[0])
    assert missing.returncode == 1
    assert "does not exist" in missing.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("submit", "--model", "add"),
        ("submit", "--prompt", "hello"),
        ("submit", "--model", "add", "--prompt", "hello", "--priority", "urgent"),
        ("submit", "--model", "add", "--tensor", "x=/nowhere/x.npy"),
        ("cancel",),
        ("watch",),
        ("ls", "--state", "asleep"),
        ("update", "zzz"),
        ("pause",),
        ("dlq", "purge"),
        ("schedules", "create", "x", "--task", "-"),
        ("recover", "--redis", "redis://127.0.0.1:1"),
        ("fetch",),
    ],
    ids=lambda words: " ".join(words),
)
def test_a_command_line_that_makes_no_sense_is_exit_code_2(system: System, words: tuple[str, ...]) -> None:
    done = run_cli(system.grpc, *words)
    assert done.returncode == 2, done.stderr
    assert "Usage:" in done.stderr and "Traceback" not in done.stderr


def test_a_server_that_is_not_there_is_exit_code_3_and_one_sentence() -> None:
    address = f"127.0.0.1:{ports.pick('127.0.0.1', 1)[0]}"
    done = run_cli(address, "ls")
    assert done.returncode == 3
    assert done.stderr == f"forebay: no server at {address}; start one with: forebay up\n"


def test_streaming_tensors_shows_them_at_the_end(system: System, files: dict[str, Path]) -> None:
    shown = run_cli(system.grpc, "submit", "--model", "add", "--tensor", f"x={files['x']}", "--stream")
    assert (shown.returncode, shown.stdout) == (0, "y float32 [1, 4]\n[[2. 4. 6. 8.]]\n")


def test_a_task_for_a_model_that_nobody_serves_is_accepted_with_a_warning(
    system: System, files: dict[str, Path]
) -> None:
    submit = ("submit", "--model", "nosuch", "--tensor", f"x={files['x']}")
    accepted = run_cli(system.grpc, *submit)
    task_id = accepted.stdout.strip()
    assert accepted.returncode == 0
    assert accepted.stderr == "warning: no runner serves nosuch: the task waits until one does\n"
    waited = run_cli(system.grpc, *submit, "--wait", "--timeout", "200ms")
    assert waited.returncode == 1
    assert "it goes on, see: forebay get " in waited.stderr
    other = waited.stderr.split()[-1]
    assert run_cli(system.grpc, "cancel", task_id, other).returncode == 0


def test_what_is_no_id_is_said_without_the_words_of_the_protocol(system: System) -> None:
    for words in (
        ("get", "zzz"),
        ("cancel", "zzz"),
        ("watch", "zzz"),
        ("update", "zzz", "--priority", "low"),
        ("dlq", "show", "zzz"),
        ("dlq", "replay", "zzz"),
    ):
        done = run_cli(system.grpc, *words)
        assert done.returncode == 1
        assert done.stderr.startswith("forebay: 'zzz' is not a task id"), done.stderr


def test_cancel_ends_a_running_task_and_watch_sees_it(
    system: System, client: Client, files: dict[str, Path]
) -> None:
    submit = ("submit", "--model", "countdown", "--tensor", f"turns={files['turns']}")
    task_id = run_cli(system.grpc, *submit).stdout.strip()
    assert any(update.state == "running" for update in client.watch([task_id], timeout_s=20))

    cancelled = run_cli(system.grpc, "cancel", task_id)
    assert cancelled.returncode == 0
    assert cancelled.stdout == f"{task_id}  cancelled\n1 cancelled, 0 had ended, 0 not found\n"
    watched = run_cli(system.grpc, "watch", task_id, "--json")
    assert watched.returncode == 1
    last = json.loads(watched.stdout.splitlines()[-1])
    assert (last["state"], last["error"]["reason"]) == ("cancelled", "TASK_CANCELLED")
    assert run_cli(system.grpc, "get", task_id).returncode == 1
    again = document(system, "cancel", task_id)
    assert again["outcomes"] == {task_id: "already_terminal"}
    unknown = run_cli(system.grpc, "cancel", new_ids(7, 1, 0)[0])
    assert unknown.returncode == 1


def test_count_and_json_files_submit_many(system: System, files: dict[str, Path], tmp_path: Path) -> None:
    submit = ("submit", "--model", "add", "--tensor", f"x={files['x']}", "--count", "3", "--wait")
    answer = run_cli(system.grpc, *submit, "--output", "json")
    assert answer.returncode == 0, answer.stderr
    assert [task["state"] for task in json.loads(answer.stdout)] == ["succeeded"] * 3

    tasks = tmp_path / "tasks.json"
    raw = "AACAPwAAAEAAAEBAAACAQA=="
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "raw": raw}
    spec = {"model": "add", "priority": "PRIORITY_HIGH", "tensors": {"tensors": [tensor]}}
    tasks.write_text(json.dumps([spec, spec]))
    answer = run_cli(system.grpc, "submit", "--json", str(tasks), "--wait", "--output", "json")
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert [(task["priority"], task["result"]["y"]["data"]) for task in found] == [
        ("high", [[2, 4, 6, 8]])
    ] * 2


def test_queues_models_and_runners_are_listed(system: System) -> None:
    assert [queue["priority"] for queue in document(system, "queues")] == [
        "critical",
        "high",
        "normal",
        "low",
    ]
    assert [model["name"] for model in document(system, "models", "ls")] == ["add", "countdown", "picky"]
    assert {one["state"] for one in document(system, "runners")} == {"ready"}
    for words in (("queues",), ("models", "ls"), ("runners",), ("ls",)):
        table = run_cli(system.grpc, *words)
        assert table.returncode == 0 and len(table.stdout.splitlines()) > 2, table.stderr


def test_doctor_finds_a_healthy_system_healthy_and_a_taken_port_taken(system: System) -> None:
    held = [address.rpartition(":")[2] for address in (system.grpc, system.http)]
    place = ("--data", str(system.data), "--grpc-port", held[0], "--http-port", held[1])
    found = {one["name"]: one for one in document(system, "doctor", *place)}
    assert {one["verdict"] for one in found.values()} <= {"ok", "warning"}
    assert found["server"]["found"] == f"{system.grpc} is SERVING"
    assert "cpu" in found["providers"]["found"]

    ill = run_cli(f"127.0.0.1:{ports.pick('127.0.0.1', 1)[0]}", "doctor", *place)
    assert ill.returncode == 1
    assert f"port {held[0]}: end it, or give `forebay up` other ports" in ill.stdout


def test_get_says_what_a_task_waits_for(system: System, client: Client, files: dict[str, Path]) -> None:
    def submitted(*options: str, model: str = "add") -> str:
        given = ("submit", "--model", model, *options)
        done = run_cli(system.grpc, *given)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def waits(task_id: str) -> str:
        shown = run_cli(system.grpc, "get", task_id)
        assert shown.returncode == 0, shown.stderr
        return next(line for line in shown.stdout.splitlines() if line.startswith("waits for"))

    x = f"x={files['x']}"
    later = submitted("--tensor", x, "--start-in", "1h", "--deadline-in", "2h")
    assert "its time, " in waits(later)
    child = submitted("--after", later, "--input-from", "x=0:y")
    assert waits(child).endswith(f"{later}  scheduled")
    assert document(system, "get", child)["parents"] == [later]
    assert document(system, "get", later)["deadline"] is not None
    resting = submitted("--json", _spec(files, initial_backoff="3600s", max_backoff="3600s"), model="picky")
    assert any(update.state == "retrying" for update in client.watch([resting], timeout_s=20))
    assert "attempt 2 of 3 after MODEL_FAILED, as a rule before " in waits(resting)
    sooner = run_cli(system.grpc, "update", resting, "--start-in", "0s")
    assert sooner.returncode == 0 and "an earlier start changes nothing" in sooner.stderr
    unserved = submitted("--tensor", x, model="nosuch")
    assert "no runner serves nosuch" in waits(unserved)

    started = run_cli(system.grpc, "update", later, "--start-in", "0s")
    assert started.returncode == 0, started.stderr
    assert client.wait(child, 20).tensors["y"].tolist() == [[4, 8, 12, 16]]
    assert client.cancel([resting, unserved]).cancelled == 2


def test_dead_letters_are_listed_shown_replayed_and_purged(
    system: System, client: Client, files: dict[str, Path]
) -> None:
    submit = ("submit", "--model", "picky", "--tensor", f"place={files['nowhere']}", "--max-attempts", "1")
    mine = ("--label", "door=dlq")
    task_id = run_cli(system.grpc, *submit, *mine).stdout.strip()
    assert client.wait(task_id, 20).state == "failed"
    [listed] = document(system, "dlq", "ls", *mine)
    assert (listed["id"], listed["error"]["reason"]) == (task_id, "MODEL_FAILED")
    assert task_id in run_cli(system.grpc, "dlq", "ls", *mine).stdout
    shown = run_cli(system.grpc, "dlq", "show", task_id, "--input")
    assert shown.returncode == 0 and "place INT64 [1], 8 bytes" in shown.stdout
    assert document(system, "dlq", "show", task_id)["input"] is None
    assert document(system, "dlq", "show", task_id, "--input")["input"]["tensors"][0]["name"] == "place"

    wrong = run_cli(system.grpc, "dlq", "replay", task_id, "--set", 'retry={"max_attempts": 5000}')
    assert wrong.returncode == 1 and "edits.retry.max_attempts" in wrong.stderr
    unasked = run_cli(system.grpc, "dlq", "replay", *mine)
    assert unasked.returncode == 130 and "--yes" in unasked.stderr
    replayed = run_cli(system.grpc, "dlq", "replay", *mine, "--set", "priority=high", "--yes")
    assert replayed.returncode == 0, replayed.stderr
    assert replayed.stdout.endswith("1 replayed, 0 not\n")
    new_id = replayed.stdout.split()[3]
    assert client.wait(new_id, 20).state == "failed"
    story = client.get(new_id)
    assert (story.replay_of, story.priority) == (task_id, "high")
    again = run_cli(system.grpc, "dlq", "replay", task_id)
    assert again.returncode == 1 and "not among the dead letters" in again.stderr

    purged = run_cli(system.grpc, "dlq", "purge", new_id, task_id, "--yes")
    assert (purged.returncode, purged.stdout) == (1, "1 purged, 1 not on the list\n")
    assert document(system, "dlq", "purge", *mine, "--yes") == {"purged": 0, "not_found": 0}
    assert run_cli(system.grpc, "dlq", "ls", *mine).stdout == "no dead letters\n"


def test_schedules_are_made_shown_paused_run_and_deleted(
    system: System, client: Client, files: dict[str, Path]
) -> None:
    def schedules(*words: str) -> subprocess.CompletedProcess[str]:
        return run_cli(system.grpc, "schedules", *words)

    task = _spec(files, max_attempts=1)
    every = ("create", "nightly", "--task", task, "--cron", "0 3 * * *", "--zone", "Europe/Berlin")
    made = schedules(*every, "--missed", "run_once", "--run-within", "5m")
    try:
        assert made.returncode == 0, made.stderr
        assert "missed  0; by its rule: run once" in made.stdout and "within  5 min" in made.stdout
        other = schedules(*every, "--run-within", "6m")
        assert other.returncode == 1 and "another schedule nightly" in other.stderr
        shown = document(system, "schedules", "show", "nightly")
        assert (shown["cron"], shown["run_within"], shown["paused"]) == ("0 3 * * *", "300s", False)
        assert "paused" in schedules("pause", "nightly").stdout
        assert "paused" in schedules("ls").stdout
        fired = document(system, "schedules", "run", "nightly")
        client.wait(fired["id"], 20)
        story = client.get(fired["id"])
        assert story.schedule == "nightly" and story.deadline is not None
        assert "(in " in schedules("resume", "nightly").stdout
    finally:
        gone = schedules("rm", "nightly")
    assert (gone.returncode, gone.stdout) == (0, "nightly deleted\n")
    for word in ("show", "pause", "resume", "run", "rm"):
        missing = schedules(word, "nightly")
        assert (missing.returncode, missing.stderr) == (1, "forebay: there is no schedule nightly\n")
    client.dead_letters.purge([fired["id"]])


def test_a_schedule_for_a_model_that_nobody_serves_is_made_with_a_warning(
    system: System, tmp_path: Path
) -> None:
    (tmp_path / "task.json").write_text(json.dumps({"model": "nosuch", "generate": {"prompt": "x"}}))
    task = ("--task", str(tmp_path / "task.json"))
    made = run_cli(system.grpc, "schedules", "create", "lonely", *task, "--every", "1h")
    run_cli(system.grpc, "schedules", "rm", "lonely")
    assert made.returncode == 0 and "no runner serves nosuch" in made.stderr


def test_a_pause_of_what_is_not_there_is_made_with_a_warning(system: System) -> None:
    paused = run_cli(system.grpc, "pause", "--pool", "nowhere", "--reason", "a slip")
    assert (paused.returncode, paused.stdout) == (0, "paused: pool nowhere (a slip)\n")
    assert paused.stderr.startswith("warning: there is no pool nowhere now")
    assert "pool nowhere (a slip)" in run_cli(system.grpc, "queues").stdout
    assert run_cli(system.grpc, "resume", "--pool", "nowhere").returncode == 0
    again = run_cli(system.grpc, "resume", "--pool", "nowhere")
    assert again.returncode == 1 and "nothing is paused by pool nowhere" in again.stderr


def test_a_platform_in_order_has_nothing_to_recover_and_gives_a_backup(
    system: System, client: Client, files: dict[str, Path], tmp_path: Path
) -> None:
    submit = ("submit", "--model", "add", "--tensor", f"x={files['x']}", "--start-in", "1h")
    waiting = run_cli(system.grpc, *submit).stdout.strip()
    place = ("--data", str(system.data))
    for dry in (("--dry-run",), ()):
        found = document(system, "recover", *place, *dry)
        assert found["recovered"] == 0 and found["existing"] >= 1
        assert found["faults"] == {"unreadable": 0, "damaged": 0, "ids": []}
        again = document(system, "recover", *place, "--republish", *dry)
        assert again["parked"] >= 1
    assert "with a record" in run_cli(system.grpc, "recover", *place).stdout
    assert client.get(waiting).state == "scheduled"

    file = tmp_path / "forebay.backup"
    kept = run_cli(system.grpc, "backup", str(file), *place)
    assert kept.returncode == 0 and " keys, " in kept.stdout
    assert file.stat().st_mode & 0o777 == 0o600
    unwritable = run_cli(system.grpc, "backup", str(tmp_path / "nowhere" / "file"), *place)
    assert unwritable.returncode == 1 and "cannot be written" in unwritable.stderr
    torn = tmp_path / "torn.backup"
    torn.write_bytes(file.read_bytes()[:-20])
    with tempfile.TemporaryDirectory(prefix="forebay-restore-") as fresh:
        refused = run_cli(system.grpc, "restore", str(torn), "--data", fresh)
        assert refused.returncode == 1 and "is damaged or cut off" in refused.stderr
        restored = run_cli(system.grpc, "restore", str(file), "--data", fresh)
        assert restored.returncode == 0, restored.stderr
        twice = run_cli(system.grpc, "restore", str(file), "--data", fresh)
        assert twice.returncode == 1 and "has keys of forebay already" in twice.stderr
    assert client.cancel(waiting).cancelled == 1


def _spec(files: dict[str, Path], **retry: Any) -> str:
    """Write a task that picky fails, and return the path of the file."""
    raw = base64.b64encode(np.load(files["nowhere"]).tobytes()).decode()
    tensor = {"name": "place", "datatype": "INT64", "shape": [1], "raw": raw}
    file = files["nowhere"].with_suffix(".json")
    file.write_text(json.dumps({"model": "picky", "retry": retry, "tensors": {"tensors": [tensor]}}))
    return str(file)
