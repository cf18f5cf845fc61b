"""What the whole platform costs while nothing happens: CPU and memory of each process.

A tensor model and a language model are loaded and have answered once; then nobody asks for anything.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil

from benchmarks import machine
from forebay.client import Client
from services.cli.demo_model import CACHE, MODEL, bring_model
from tests.system import System, forebay_up
from tests.tiny_models import save_add

BAR_PERCENT = 5.0
LIMIT_S = 60.0


def processes(system: System) -> dict[str, psutil.Process]:
    """Return every process of the platform by what it is; runners by their model."""
    runners = {system.runner(model).pid: model for model in ("add", MODEL)}
    found = {}
    for process in (psutil.Process(system.process.pid), *system.children()):
        model = runners.get(process.pid)
        found[f"runner of {model}" if model else machine.short_name(process)] = process
    return found


def answer_once(address: str) -> None:
    """Have each model answer, so that everything is loaded and connected that ever will be."""
    with Client(address) as client:
        tasks = [
            client.submit("add", tensors={"x": np.ones((1, 4), np.float32)}),
            client.submit(MODEL, prompt="Once upon a time", max_tokens=16),
        ]
        for task in client.wait_many(tasks, LIMIT_S):
            assert task.state.value == "succeeded", task.error


def cpu_percent(watched: Sequence[psutil.Process], seconds: float) -> list[float]:
    """Wait that long, and return what each process used meanwhile, in % of one core."""
    before, began_s = [_cpu_s(process) for process in watched], time.perf_counter()
    time.sleep(seconds)
    took_s = time.perf_counter() - began_s
    return [(_cpu_s(p) - used_s) / took_s * 100 for p, used_s in zip(watched, before, strict=True)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, help="a language model's folder instead of SmolLM2's")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--settle", type=float, default=8.0, help="seconds of rest before the measurement")
    options = parser.parse_args()
    machine.print_header("the whole platform, idle")
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as name:
        folder = Path(name)
        models = {
            "add": save_add(folder / "add.onnx"),
            MODEL: options.model
            or bring_model(CACHE.expanduser(), lambda subject, sentence: print(f"{subject}: {sentence}")),
        }
        with forebay_up(folder / "data", models) as system:
            answer_once(system.grpc)
            time.sleep(options.settle)
            watched = processes(system)
            used = cpu_percent(list(watched.values()), options.seconds)
            resident = [process.memory_info().rss / 1e6 for process in watched.values()]
    print(f"{'process':20s} {'% of a core':>12s} {'resident MB':>12s}")
    for row in sorted(zip(watched, used, resident, strict=True), key=lambda row: -row[1]):
        print("{:20s} {:12.2f} {:12.0f}".format(*row))
    print(f"{'all':20s} {sum(used):12.2f} {sum(resident):12.0f}")
    print(f"bar: under {BAR_PERCENT:.0f} % of one core; measured over {options.seconds:.0f} s")


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
