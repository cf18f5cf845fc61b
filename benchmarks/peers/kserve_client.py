"""The client of measurements over the KServe v2 protocol: Triton's own, the same process for every server.

It is a process of its own, for the generated code of tritonclient has the names of ours. Measures:
`answer` (one request, the output), `closed_loop` (so many requests in flight all the time).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import tritonclient.grpc as grpc_messages
import tritonclient.grpc.aio as grpc_client
import tritonclient.http as http_messages
import tritonclient.http.aio as http_client

from benchmarks.peers.worker import Measure, serve

INPUT, OUTPUT = "input", "output"
WARM_UP_SHARE = 0.2
"""Of the time of a measurement, at its beginning: requests that are made and not counted."""

Ask = Callable[[], Awaitable[Any]]


async def _over_grpc(address: str, model: str, row: Any) -> tuple[Ask, Any]:
    client = grpc_client.InferenceServerClient(address)
    given = grpc_messages.InferInput(INPUT, list(row.shape), "FP32")
    given.set_data_from_numpy(row)
    return lambda: client.infer(model, [given]), client


async def _over_http(address: str, model: str, row: Any) -> tuple[Ask, Any]:
    client = http_client.InferenceServerClient(address, conn_limit=256)
    given = http_messages.InferInput(INPUT, list(row.shape), "FP32")
    given.set_data_from_numpy(row, binary_data=True)
    wanted = [http_messages.InferRequestedOutput(OUTPUT, binary_data=True)]
    return lambda: client.infer(model, [given], outputs=wanted), client


_PROTOCOLS = {"grpc": _over_grpc, "http": _over_http}


async def _answer(
    protocol: str, address: str, model: str, row: Sequence[float], wait_s: float
) -> list[float]:
    given = np.array([row], np.float32)
    ask, client = await _PROTOCOLS[protocol](address, model, given)
    until_s = time.monotonic() + wait_s
    try:
        while True:
            try:
                output = (await ask()).as_numpy(OUTPUT)
                return [float(value) for value in output[0]]
            except Exception:  # whatever it says while it starts; what is left at the end is the answer
                if time.monotonic() > until_s:
                    raise
                await asyncio.sleep(0.2)
    finally:
        await client.close()


async def _closed_loop(
    protocol: str, address: str, model: str, width: int, in_flight: int, seconds: float
) -> dict[str, float]:
    row = np.random.default_rng(0).standard_normal((1, width)).astype(np.float32)
    ask, client = await _PROTOCOLS[protocol](address, model, row)
    latencies: list[float] = []
    asked = 0
    began_s = time.perf_counter()
    counted_s = began_s + WARM_UP_SHARE * seconds
    end_s = counted_s + seconds

    async def loop() -> None:
        nonlocal asked
        while (start_s := time.perf_counter()) < end_s:
            await ask()
            asked += 1
            now_s = time.perf_counter()
            if counted_s <= now_s <= end_s:
                latencies.append(now_s - start_s)

    try:
        await asyncio.gather(*(loop() for _ in range(in_flight)))
    finally:
        await client.close()
    latencies.sort()
    return {
        "rate": len(latencies) / seconds,
        "p50_ms": latencies[len(latencies) // 2] * 1e3,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1e3,
        "all_requests": asked,
    }


def _prepare() -> tuple[str, dict[str, Measure]]:
    def answer(**arguments: Any) -> list[float]:
        return asyncio.run(_answer(**arguments))

    def closed_loop(**arguments: Any) -> dict[str, float]:
        return asyncio.run(_closed_loop(**arguments))

    return (
        f"tritonclient {version('tritonclient')}, grpcio {version('grpcio')}",
        {"answer": answer, "closed_loop": closed_loop},
    )


if __name__ == "__main__":
    serve(_prepare)
