"""The command line against the shared system: what it prints, and the exit code it leaves."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from forebay.client import Client
from scheduler.ids import new_ids
from tests.system import System, free_port, run_cli, run_json

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

ENDLESS = 1 << 60
"""Turns of countdown that nobody waits for."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Arrays as .npy: `x` and `bad` for model add, `turns` for countdown, without end."""
    folder = tmp_path_factory.mktemp("arrays")
    arrays: dict[str, NDArray[Any]] = {
        "x": np.array([[1, 2, 3, 4]], np.float32),
        "bad": np.array([[1, 2, 3, 4]], np.int32),
        "turns": np.array([ENDLESS], np.int64),
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
        ("fetch",),
    ],
    ids=lambda words: " ".join(words),
)
def test_a_command_line_that_makes_no_sense_is_exit_code_2(system: System, words: tuple[str, ...]) -> None:
    done = run_cli(system.grpc, *words)
    assert done.returncode == 2, done.stderr
    assert "Usage:" in done.stderr and "Traceback" not in done.stderr


def test_a_server_that_is_not_there_is_exit_code_3_and_one_sentence() -> None:
    address = f"127.0.0.1:{free_port()}"
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
    for words in (("get", "zzz"), ("cancel", "zzz"), ("watch", "zzz")):
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
    assert [model["name"] for model in document(system, "models", "ls")] == ["add", "countdown"]
    assert {one["state"] for one in document(system, "runners")} == {"ready"}
    for words in (("queues",), ("models", "ls"), ("runners",), ("ls",)):
        table = run_cli(system.grpc, *words)
        assert table.returncode == 0 and len(table.stdout.splitlines()) > 2, table.stderr


def test_doctor_finds_a_healthy_system_healthy_and_a_taken_port_taken(system: System) -> None:
    ports = [address.rpartition(":")[2] for address in (system.grpc, system.http)]
    place = ("--data", str(system.data), "--grpc-port", ports[0], "--http-port", ports[1])
    found = {one["name"]: one for one in document(system, "doctor", *place)}
    assert {one["verdict"] for one in found.values()} <= {"ok", "warning"}
    assert found["server"]["found"] == f"{system.grpc} is SERVING"
    assert "cpu" in found["providers"]["found"]

    ill = run_cli(f"127.0.0.1:{free_port()}", "doctor", *place)
    assert ill.returncode == 1
    assert f"port {ports[0]}: end it, or give `forebay up` other ports" in ill.stdout
