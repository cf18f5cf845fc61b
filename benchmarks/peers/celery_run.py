"""Starts Celery workers on a Valkey of their own and measures submit-to-result throughput."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.cli.up import ports


@contextmanager
def _servers(folder: Path, model: Path) -> Iterator[dict[str, str]]:
    from services.embedded import valkey

    port = ports.pick("127.0.0.1", 1)[0]
    binary = valkey.command(folder, folder / "unused.sock")[0]
    data = folder / "celery"
    data.mkdir()
    server = subprocess.Popen(
        [
            binary,
            "--bind",
            "127.0.0.1",
            "--port",
            str(port),
            "--dir",
            str(data),
            "--appendonly",
            "yes",
            "--save",
            "",
        ],
        stdout=subprocess.DEVNULL,
    )
    environment = {
        **os.environ,
        "BENCH_CELERY_URL": f"redis://127.0.0.1:{port}/0",
        "BENCH_CELERY_MODEL": str(model),
    }
    worker = subprocess.Popen(
        [
            *(sys.executable, "-m", "celery", "-A", "benchmarks.peers.celery_app", "worker"),
            *("--concurrency", "2", "--loglevel", "ERROR", "--without-gossip", "--without-mingle"),
            "--without-heartbeat",
        ],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield environment
    finally:
        for process in (worker, server):
            process.terminate()
        for process in (worker, server):
            process.wait(20)


def measure(folder: Path, model: Path, tasks: int) -> tuple[float, float]:
    """Return (tasks per second from the first submit to the last result, median seconds of one task alone)."""
    with _servers(folder, model) as environment:
        os.environ.update({k: environment[k] for k in ("BENCH_CELERY_URL", "BENCH_CELERY_MODEL")})
        from celery import group

        from benchmarks.peers.celery_app import add

        row = [1.0, 2.0, 3.0, 4.0]
        add.delay(row).get(timeout=60)  # the workers are up and have the model
        started = time.perf_counter()
        results = group(add.s(row) for _ in range(tasks)).apply_async().get(timeout=300)
        rate = tasks / (time.perf_counter() - started)
        assert len(results) == tasks
        alone = []
        for _ in range(50):
            began = time.perf_counter()
            add.delay(row).get(timeout=30)
            alone.append(time.perf_counter() - began)
        return rate, sorted(alone)[len(alone) // 2]
