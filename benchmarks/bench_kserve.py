"""Requests a second over KServe v2 against MLServer and PyTriton, by turns in the same run.

Every server has the same MLP of 64 x 64 x 64, runs it in ONNX Runtime with one thread, and forms batches of what waits.
Forebay is `forebay up` as it comes: gateway, scheduler, agent, runner and the embedded servers. One client process,
`tritonclient.grpc.aio`, holds so many requests in flight; the servers that are not measured sleep meanwhile. A figure
is the median of the rounds, a ratio the median of each round's own ratio. Beside them stand two hops of `grpc.aio` with
nothing but the model in them: the floor of this shape on the machine, which tells what the platform's duties cost.

The peers live in environments of their own, made in the model cache the first time; Pythons that have them already can
be named in FOREBAY_BENCH_MLSERVER_PYTHON and FOREBAY_BENCH_PYTRITON_PYTHON. PyTriton needs the system's own Python.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
import psutil

from benchmarks import bars, machine
from benchmarks.mlp import WIDTH, save_mlp
from benchmarks.peers import kserve_servers
from benchmarks.peers.environment import MLSERVER, PYTRITON, peers_python
from benchmarks.peers.kserve_servers import BARE, MODEL, Served
from benchmarks.peers.worker import Worker, WorkerFailed
from services.cli.demo_model import CACHE
from tests.system import forebay_up

OURS: Final = "Forebay"
START_S: Final = 60.0
P50_BAR_MS: Final = 0.9
"""Of one request alone."""
BARS: Final = {
    ("PyTriton", 1): 2.0,
    ("PyTriton", 16): 1.5,
    ("PyTriton", 64): 1.0,
    ("MLServer", 16): 1.6,
    ("MLServer", 64): 1.6,
}
"""Least ratio to a peer, by requests in flight, over gRPC."""


@dataclass(slots=True)
class Figures:
    """What was measured of one server at one number of requests in flight, a value for each round."""

    rates: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    cpu_us: list[dict[str, float]] = field(default_factory=list)
    """Processor time of a request, by process."""


Table = dict[tuple[str, str, int], Figures]
"""By protocol, server and requests in flight."""


@contextmanager
def forebay(model: Path, folder: Path) -> Iterator[Served]:
    """Run the whole platform with the model."""
    with forebay_up(folder / "data", {MODEL: model}) as system:
        yield Served(OURS, system.grpc, system.http, system.process.pid)


def start_all(
    stack: ExitStack, model: Path, folder: Path, peers: Sequence[str], workers: int
) -> list[Served]:
    """Start the servers until `stack` ends; a peer that cannot be had is reported and left out."""
    cache = CACHE.expanduser()

    def mlserver() -> AbstractContextManager[Served]:
        return kserve_servers.mlserver(peers_python(cache, print, MLSERVER), model, folder, workers)

    def pytriton() -> AbstractContextManager[Served]:
        return kserve_servers.pytriton(peers_python(cache, print, PYTRITON), model, folder)

    started = [stack.enter_context(forebay(model, folder))]
    starting: dict[str, Callable[[], AbstractContextManager[Served]]] = {
        "bare": lambda: kserve_servers.bare_hops(model, folder),
        "mlserver": mlserver,
        "pytriton": pytriton,
    }
    for name in peers:
        try:
            started.append(stack.enter_context(starting[name]()))
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"LEFT OUT: {name}: {error}")
    return started


def that_answer(client: Worker, servers: Sequence[Served], model: Path) -> list[Served]:
    """Return the servers that give the model's own answer, once they are there; the others are reported."""
    row = np.random.default_rng(1).standard_normal((1, WIDTH)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"input": row})
    found = []
    for server in servers:
        try:
            output = client.ask(
                "answer",
                protocol="grpc",
                address=server.grpc,
                model=MODEL,
                row=row[0].tolist(),
                wait_s=START_S,
            )
        except WorkerFailed as error:
            if server.name == OURS:
                raise
            print(f"LEFT OUT: {server.name}: {error}")
            continue
        np.testing.assert_allclose(output, expected[0], rtol=1e-4, atol=1e-5)
        found.append(server)
    return found


def processes_of(server: Served) -> list[psutil.Process]:
    """Return a server's processes."""
    parent = psutil.Process(server.process)
    return [parent, *parent.children(recursive=True)]


def measure_one(
    client: Worker, server: Served, protocol: str, in_flight: int, seconds: float
) -> tuple[Mapping[str, float], dict[str, float]]:
    """Return the client's figures, and microseconds of processor time of a request, by process."""
    processes = processes_of(server)
    before = machine.cpu_seconds(processes)
    figures = client.ask(
        "closed_loop",
        protocol=protocol,
        address=server.grpc if protocol == "grpc" else server.http,
        model=MODEL,
        width=WIDTH,
        in_flight=in_flight,
        seconds=seconds,
    )
    after = machine.cpu_seconds(processes)
    cpu_us = {
        name: (after.get(name, used) - used) / figures["all_requests"] * 1e6 for name, used in before.items()
    }
    return figures, cpu_us


def measure(
    client: Worker, servers: Sequence[Served], plan: Sequence[tuple[str, int]], rounds: int, seconds: float
) -> Table:
    """Measure, the servers by turns, after one short round that does not count. Prints each round."""
    table: Table = {}
    broken: set[tuple[str, str]] = set()
    for number in range(rounds + 1):
        print(f"round {number}:" if number else "warming up:", flush=True)
        order = [*servers[number % len(servers) :], *servers[: number % len(servers)]]
        for protocol, in_flight in plan:
            said = []
            for server in order:
                if (protocol, server.name) in broken or (protocol == "http" and not server.http):
                    continue
                try:
                    found, cpu_us = measure_one(
                        client, server, protocol, in_flight, seconds if number else min(1.0, seconds)
                    )
                except WorkerFailed as error:
                    if server.name == OURS or protocol == "grpc":
                        raise
                    print(f"  LEFT OUT over {protocol}: {server.name}: {str(error).splitlines()[0]}")
                    broken.add((protocol, server.name))
                    continue
                said.append(f"{server.name} {found['rate']:,.0f}/s p50 {found['p50_ms']:.2f} ms")
                if number:
                    figures = table.setdefault((protocol, server.name, in_flight), Figures())
                    figures.rates.append(found["rate"])
                    figures.p50_ms.append(found["p50_ms"])
                    figures.p99_ms.append(found["p99_ms"])
                    figures.cpu_us.append(cpu_us)
            print(f"  {protocol}, {in_flight} in flight: {'; '.join(sorted(said))}", flush=True)
    return table


def show(table: Table, servers: Sequence[Served], plan: Sequence[tuple[str, int]]) -> None:
    """Print the table in Markdown, what a request costs, and how the figures stand to their bars."""
    names = [server.name for server in servers]
    peers = [name for name in names if name != OURS]
    print("\nrequests/s (lowest to highest), median latency; medians of the rounds:\n")
    head = ["protocol, in flight", *names, *(f"against {peer}" for peer in peers)]
    print(f"| {' | '.join(head)} |")
    print("|---" * len(head) + "|")
    for protocol, in_flight in plan:
        cells = [_cell(table.get((protocol, name, in_flight))) for name in names]
        cells += [_ratio_cell(table, protocol, peer, in_flight) for peer in peers]
        print(f"| {protocol}, {in_flight} | {' | '.join(cells)} |")
    print("\nprocessor time of a request, µs, medians:")
    for (protocol, name, in_flight), figures in table.items():
        parts = {
            process: statistics.median(each[process] for each in figures.cpu_us)
            for process in figures.cpu_us[0]
        }
        used = ", ".join(f"{process} {us:.0f}" for process, us in sorted(parts.items()) if us >= 1)
        print(f"  {protocol}, {in_flight} in flight, {name}: {sum(parts.values()):.0f} ({used})")
    if ours := table.get(("grpc", OURS, 1)):
        p50_ms = statistics.median(ours.p50_ms)
        met = bars.at_most(p50_ms, P50_BAR_MS)
        print(f"\none request alone: p50 {p50_ms:.2f} ms, bar {P50_BAR_MS} ms: {met}")
        if bare := table.get(("grpc", BARE, 1)):
            ratio = statistics.median(
                one / other for one, other in zip(ours.p50_ms, bare.p50_ms, strict=True)
            )
            print(
                f"against two bare hops on this machine, {statistics.median(bare.p50_ms):.2f} ms: {ratio:.2f}"
            )


def _cell(figures: Figures | None) -> str:
    if figures is None:
        return ""
    rates = figures.rates
    return (
        f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f}), "
        f"{statistics.median(figures.p50_ms):.2f} ms"
    )


def _ratio_cell(table: Table, protocol: str, peer: str, in_flight: int) -> str:
    ours, theirs = table.get((protocol, OURS, in_flight)), table.get((protocol, peer, in_flight))
    if ours is None or theirs is None:
        return ""
    ratio = statistics.median(one / other for one, other in zip(ours.rates, theirs.rates, strict=True))
    bar = BARS.get((peer, in_flight)) if protocol == "grpc" else None
    return f"{ratio:.2f}" if bar is None else f"{ratio:.2f}, bar {bar}: {bars.at_least(ratio, bar)}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--in-flight", default="1,16,64")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one measurement")
    parser.add_argument("--protocols", default="grpc,http")
    parser.add_argument("--peers", default="bare,mlserver,pytriton", help="empty leaves them out")
    parser.add_argument("--mlserver-workers", type=int, default=0, help="processes of MLServer for inference")
    options = parser.parse_args()
    machine.print_header("requests over KServe v2, a small MLP")
    plan = [
        (protocol, int(in_flight))
        for protocol in options.protocols.split(",")
        for in_flight in options.in_flight.split(",")
    ]
    peers = [peer for peer in options.peers.split(",") if peer]
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        model = save_mlp(folder / "mlp.onnx")
        servers = start_all(stack, model, folder, peers, options.mlserver_workers)
        client = stack.enter_context(
            Worker(
                "client",
                "benchmarks.peers.kserve_client",
                [],
                python=Path(sys.executable),
                environ=os.environ,
            )
        )
        print(f"client: {client.description}")
        servers = that_answer(client, servers, model)
        table = measure(client, servers, plan, options.rounds, options.seconds)
    show(table, servers, plan)


if __name__ == "__main__":
    main()
