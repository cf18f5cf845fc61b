"""`forebay up` as a person meets it: started, used, disturbed, ended."""

import json
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper

from services.cli.up import ports

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def environment() -> dict[str, str]:
    paths = [str(ROOT), str(ROOT / "protos" / "gen"), str(ROOT / "sdk")]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FOREBAY_")}
    return {**kept, "PYTHONPATH": os.pathsep.join(paths)}


def forebay(*words: str, address: str = "127.0.0.1:1") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.cli", "--address", address, *words]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)


class Up:
    """A running `forebay up` and what it said."""

    def __init__(self, data: Path, *words: str) -> None:
        self.grpc_port, self.http_port = ports.pick("127.0.0.1", 2)
        self.address = f"127.0.0.1:{self.grpc_port}"
        self.lines: list[str] = []
        command = [sys.executable, "-m", "services.cli", "up", "--data", str(data)]
        command += ["--grpc-port", str(self.grpc_port), "--http-port", str(self.http_port), *words]
        self.process = subprocess.Popen(
            command,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self.process.stdout
        os.set_blocking(self.process.stdout.fileno(), False)
        self._unread = b""

    def wait_for(self, pattern: str, times: int = 1, timeout_s: float = START_S) -> None:
        """Wait until so many lines match. Fails with everything that was said."""
        until = time.monotonic() + timeout_s
        while sum(bool(re.search(pattern, line)) for line in self.lines) < times:
            if not self._read(until - time.monotonic()):
                pytest.fail(f"no {pattern!r} in:\n" + "\n".join(self.lines))

    def end(self, timeout_s: float = 40.0) -> int:
        """Wait for the end and return the exit code."""
        until = time.monotonic() + timeout_s
        while self._read(until - time.monotonic()):
            pass
        return self.process.wait(timeout=max(1.0, until - time.monotonic()))

    def family(self) -> list[psutil.Process]:
        """Return every process below it."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def _read(self, timeout_s: float) -> bool:
        """Read what there is, waiting for it; False at the end of output or of time."""
        assert self.process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(max(0.0, timeout_s)):
                return False
        data = os.read(self.process.stdout.fileno(), 65536)
        *whole, self._unread = (self._unread + data).split(b"\n")
        self.lines += [line.decode() for line in whole]
        return bool(data)


@contextmanager
def up(data: Path, *words: str) -> Iterator[Up]:
    running = Up(data, *words)
    family: list[psutil.Process] = []
    try:
        yield running
        if running.process.poll() is None:
            family = running.family()
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.process.wait()
        if running.process.stdout:
            running.process.stdout.close()
        psutil.wait_procs(family, timeout=10)


def alive(family: Sequence[psutil.Process], timeout_s: float = 10.0) -> list[psutil.Process]:
    """Return who still lives, after giving them time to go. A zombie does not live."""
    until = time.monotonic() + timeout_s
    while True:
        left = [one for one in family if _lives(one)]
        if not left or time.monotonic() > until:
            return left
        psutil.wait_procs(left, timeout=0.1)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with add.onnx (z = x + y), broken.onnx, x.npy and y.npy."""
    folder = tmp_path_factory.mktemp("models")
    x, y, z = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in "xyz")
    graph = helper.make_graph([helper.make_node("Add", ["x", "y"], ["z"])], "add", [x, y], [z])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        folder / "add.onnx",
    )
    (folder / "broken.onnx").write_bytes(b"this is no model")
    np.save(folder / "x.npy", np.array([[1, 2]], np.float32))
    np.save(folder / "y.npy", np.array([[3, 4]], np.float32))
    return folder


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A data folder whose path leaves room for the socket in it."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="fb-up-") as name:
        yield Path(name)


def test_it_serves_what_it_was_given_and_ctrl_c_drains_it(short_path: Path, models: Path) -> None:
    add, broken = f"add={models / 'add.onnx'}", f"broken={models / 'broken.onnx'}"
    tensors = ["--tensor", f"x={models / 'x.npy'}", "--tensor", f"y={models / 'y.npy'}"]
    with up(short_path / "data", "--model", add, "--model", broken) as running:
        running.wait_for("forebay is ready")
        where = (
            f"grpc {running.address}, http http://127.0.0.1:{running.http_port}, data {short_path / 'data'}"
        )
        assert running.lines[-1].endswith(f"forebay is ready: {where}")
        assert running.lines[-2].endswith("1 of 2 models cannot be served: broken")
        assert not any("reason=" in line for line in running.lines)
        said = "\n".join(running.lines)
        assert re.search(r"^broken +cannot be served: .*broken.onnx", said, re.MULTILINE)
        assert re.search(r"^add +ready on CPUExecutionProvider", said, re.MULTILINE)

        done = forebay(
            "submit", "--model", "add", *tensors, "--wait", "--output", "json", address=running.address
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["result"]["z"]["data"] == [[4.0, 6.0]]
        listed = forebay("ls", "--json", "--state", "succeeded", address=running.address)
        assert [task["model"] for task in json.loads(listed.stdout)] == ["add"]
        assert {
            one["name"]
            for one in json.loads(forebay("models", "ls", "--json", address=running.address).stdout)
        } == {
            "add",
            "broken",
        }

        # Prompts and outputs are in there.
        data = short_path / "data"
        open_to_others = [one for one in (data, *data.rglob("*")) if one.lstat().st_mode & 0o077]
        assert not open_to_others
        secret = (data / "secret").read_text()
        assert secret not in "\n".join(running.lines)
        assert not any(secret in log.read_text() for log in (data / "logs").iterdir())
        assert not any(secret in " ".join(one.cmdline()) for one in running.family())

        second = forebay("up", "--data", str(short_path / "data"))
        assert second.returncode == 1
        assert re.fullmatch(r"forebay: forebay is already up on .*\n", second.stderr)

        family = running.family()
        running.process.send_signal(signal.SIGINT)
        assert running.end() == 0, running.lines
        assert not alive(family)
        assert running.lines[-1].endswith("nothing is left running")


def test_sigkill_of_up_leaves_no_orphan(short_path: Path, models: Path) -> None:
    with up(short_path / "data", "--model", f"add={models / 'add.onnx'}") as running:
        running.wait_for("forebay is ready")
        family = running.family()
        # valkey, pulsar-lite, gateway, scheduler, agent, runner
        assert len(family) >= 6, family
        running.process.kill()
        running.process.wait()
        assert not alive(family)


def test_a_child_that_is_killed_comes_back_and_the_platform_works_again(
    short_path: Path, models: Path
) -> None:
    tensors = ["--tensor", f"x={models / 'x.npy'}", "--tensor", f"y={models / 'y.npy'}"]
    with up(short_path / "data", "--model", f"add={models / 'add.onnx'}") as running:
        running.wait_for("forebay is ready")
        for name in ("scheduler", "valkey"):
            pid = next(
                int(found[1])
                for line in running.lines
                if (found := re.match(rf"{name} +starting, pid (\d+)", line))
            )
            os.kill(pid, signal.SIGKILL)
            running.wait_for(rf"^{name} +died \(by SIGKILL\); starting it again")
            running.wait_for(rf"^{name} +ready after", times=2)
        done = forebay(
            "submit", "--model", "add", *tensors, "--wait", "--timeout", "40s", address=running.address
        )
        assert done.returncode == 0, (done.stderr, running.lines)
        running.process.send_signal(signal.SIGTERM)
        assert running.end() == 0, running.lines


def test_a_model_that_is_not_there_is_one_sentence(short_path: Path) -> None:
    done = forebay("up", "--data", str(short_path / "data"), "--model", "foo=/nope")
    assert done.returncode == 1
    assert done.stderr == "forebay: model foo: /nope does not exist\n"


def test_a_taken_port_is_one_sentence(short_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = forebay("up", "--data", str(short_path / "data"), "--grpc-port", str(port))
    assert done.returncode == 1
    assert re.fullmatch(rf"forebay: port {port} is taken by .*--grpc-port\n", done.stderr)


def test_a_process_that_refuses_its_settings_ends_everything_with_its_reason(short_path: Path) -> None:
    env = {**environment(), "FOREBAY_SCHEDULER_LEASE_MS": "soon"}
    grpc_port, http_port = ports.pick("127.0.0.1", 2)
    command = [sys.executable, "-m", "services.cli", "up", "--data", str(short_path / "data")]
    command += ["--grpc-port", str(grpc_port), "--http-port", str(http_port)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"forebay: scheduler cannot start: FOREBAY_SCHEDULER_LEASE_MS: .*\n", done.stderr)
