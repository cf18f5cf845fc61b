"""Starts the peers that speak KServe v2, each with the small model of `benchmarks/mlp.py` as `mlp`."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.peers.worker import ROOT
from services import grpc_core
from services.cli.up import ports

MODEL: Final = "mlp"
BARE: Final = "bare hops"
END_S: Final = 15.0
MAX_BATCH_SIZE: Final = 64
MAX_BATCH_TIME_S: Final = 0.001


@dataclass(frozen=True, slots=True)
class Served:
    """A server that is being started, or runs."""

    name: str
    grpc: str
    http: str
    """Empty for one that does not speak it."""
    process: int
    """Its children belong to it."""


@contextmanager
def mlserver(python: Path, model: Path, folder: Path, workers: int) -> Iterator[Served]:
    """Run MLServer with its adaptive batching, and so many processes for inference: 0 for its own."""
    grpc, http, metrics = ports.pick("127.0.0.1", 3)
    home = folder / "mlserver"
    (home / MODEL).mkdir(parents=True)
    settings = {
        "host": "127.0.0.1",
        "grpc_port": grpc,
        "http_port": http,
        "metrics_port": metrics,
        "parallel_workers": workers,
        "debug": False,
        "use_structured_logging": False,
    }
    of_model = {
        "name": MODEL,
        "implementation": "benchmarks.peers.mlserver_model.Mlp",
        "max_batch_size": MAX_BATCH_SIZE,
        "max_batch_time": MAX_BATCH_TIME_S,
        "parameters": {"uri": str(model)},
    }
    (home / "settings.json").write_text(json.dumps(settings))
    (home / MODEL / "model-settings.json").write_text(json.dumps(of_model))
    command = [str(python.with_name("mlserver")), "start", str(home)]
    variables = {"PYTHONPATH": str(ROOT)}
    with _running(command, home, home / "log", variables) as process:
        yield Served("MLServer", f"127.0.0.1:{grpc}", f"127.0.0.1:{http}", process)


@contextmanager
def pytriton(python: Path, model: Path, folder: Path) -> Iterator[Served]:
    """Run PyTriton."""
    grpc, http, metrics = ports.pick("127.0.0.1", 3)
    home = folder / "pytriton"
    home.mkdir(parents=True)
    arguments = [str(model), str(grpc), str(http), str(metrics)]
    command = [str(python), "-m", "benchmarks.peers.pytriton_run", *arguments]
    with _running(command, home, home / "log", {"PYTHONPATH": str(ROOT)}) as process:
        yield Served("PyTriton", f"127.0.0.1:{grpc}", f"127.0.0.1:{http}", process)


@contextmanager
def bare_hops(model: Path, folder: Path) -> Iterator[Served]:
    """Run the floor under the others, in this Python, with gRPC reading as ours does."""
    grpc = ports.pick("127.0.0.1", 1)[0]
    home = folder / "bare"
    home.mkdir(parents=True)
    command = [sys.executable, "-m", "benchmarks.peers.bare_hops_run", str(model), str(grpc)]
    variables = {"PYTHONPATH": str(ROOT), grpc_core.VARIABLE: grpc_core.WITHOUT_ENGINE}
    with _running(command, home, home / "log", variables) as process:
        yield Served(BARE, f"127.0.0.1:{grpc}", "", process)


@contextmanager
def _running(command: Sequence[str], folder: Path, log: Path, variables: Mapping[str, str]) -> Iterator[int]:
    """Run a program with what it starts in a process group of its own, and end them all with the block."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **variables},
            start_new_session=True,
        )
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:  # nothing of it is left
            pass
        process.wait()
