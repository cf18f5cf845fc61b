"""API keys on the whole system: from `forebay keys new` to a tenant that works, and one that does not any more."""

import json
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from forebay.client import Client, RetryPolicy, Unauthenticated
from tests.system import System, forebay_up, run_cli

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

FOLLOWED_S = 10.0
"""Longest wait until a gateway follows its file; two seconds on a machine that does nothing else."""


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys"


@pytest.fixture(scope="module")
def guarded(tiny_models: dict[str, Path], keys_file: Path) -> Iterator[System]:
    keys_file.write_text("# nobody yet\n")
    with (
        tempfile.TemporaryDirectory(prefix="forebay-keys-") as data,
        forebay_up(
            Path(data),
            {"add": tiny_models["add"]},
            environment={"FOREBAY_GATEWAY_API_KEYS_FILE": str(keys_file)},
        ) as running,
    ):
        yield running


def new_key(system: System, *arguments: str) -> tuple[str, str]:
    done = run_cli(system.grpc, "keys", "new", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    return made["key"], made["line"]


def until_known(system: System, key: str, known: bool) -> None:
    end_s = time.monotonic() + FOLLOWED_S
    with Client(system.grpc, api_key=key, retry=RetryPolicy(attempts=1)) as client:
        while time.monotonic() < end_s:
            try:
                client.models()
            except Unauthenticated:
                if not known:
                    return
            else:
                if known:
                    return
    raise AssertionError(f"the file was not followed within {FOLLOWED_S:g} s")


def logs(system: System) -> str:
    return "".join(file.read_text(errors="replace") for file in (system.data / "logs").glob("*.log"))


def test_a_key_works_from_its_line_in_the_file_until_the_line_is_taken_out(
    guarded: System, keys_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded.wait_line(r"^add +ready on", 0.1)  # `up` itself has a key of its own
    nobody = run_cli(guarded.grpc, "ls")
    assert nobody.returncode == 1
    assert "API key" in nobody.stderr

    key, line = new_key(guarded, "acme")
    keys_file.write_text(line + "\n")
    until_known(guarded, key, known=True)
    with Client(guarded.grpc, api_key=key) as client:
        task = client.submit("add", tensors={"x": np.ones((1, 4), np.float32)})
        assert client.wait(task, 60).tensors["y"].tolist() == [[2.0] * 4]
    shown = run_cli(guarded.grpc, "--api-key", key, "get", task.id, "--json")
    assert json.loads(shown.stdout)["id"] == task.id
    monkeypatch.setenv("FOREBAY_API_KEY", key)
    paused = run_cli(guarded.grpc, "pause", "--model", "add")
    assert (paused.returncode, "operate the platform" in paused.stderr) == (1, True)

    keys_file.write_text("nonsense\n")
    keys_file.write_text("# nobody any more\n")
    until_known(guarded, key, known=False)
    assert key not in logs(guarded)


def test_the_pages_for_monitoring_need_no_key(guarded: System) -> None:
    for page in ("healthz", "readyz", "metrics"):
        with urllib.request.urlopen(f"http://{guarded.http}/{page}", timeout=20) as answer:
            assert answer.status == 200
