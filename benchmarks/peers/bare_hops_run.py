"""The floor under every figure of requests: two hops of `grpc.aio` with nothing in them but the model.

A gate answers ModelInfer of KServe v2 for the one model and puts what waits into one message to a runner, a process of
its own, which runs it as one batch in ONNX Runtime with one thread. There are no limits, no checks, no order, no
deadlines, no retries, no telemetry: what a platform of this shape is slower than this, its duties cost.

    python -m benchmarks.peers.bare_hops_run MODEL GRPC_PORT
"""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc.aio
import numpy as np
import onnxruntime
import uvloop

from benchmarks.mlp import WIDTH
from forebay.compat.kserve import kserve_service_pb2 as contract
from services.cli.up import ports

ROW_BYTES: Final = 4 * WIDTH
DOOR: Final = "inference.GRPCInferenceService"
STREAM: Final = "/bare.Runner/Run"
MESSAGES_OUT: Final = 2
"""Messages with the runner at once: one that runs and the next."""


class Gate:
    """The outer hop."""

    def __init__(self, stream: "grpc.aio.StreamStreamCall[bytes, bytes]") -> None:
        """`stream` goes to the runner: rows one after another, in one message as many as in its answer."""
        self._stream = stream
        self._waiting: list[tuple[bytes, asyncio.Future[bytes]]] = []
        self._sent: list[list[asyncio.Future[bytes]]] = []
        self._work = asyncio.Event()

    async def infer(
        self, request: contract.ModelInferRequest, context: object
    ) -> contract.ModelInferResponse:
        """Answer one row."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append((request.raw_input_contents[0], answer))
        self._work.set()
        response = contract.ModelInferResponse(model_name=request.model_name, id=request.id)
        response.outputs.add(name="output", datatype="FP32", shape=[1, WIDTH])
        response.raw_output_contents.append(await answer)
        return response

    async def write(self) -> None:
        """Send what waits, for ever."""
        while True:
            await self._work.wait()
            self._work.clear()
            if self._waiting and len(self._sent) < MESSAGES_OUT:
                rows, answers = zip(*self._waiting, strict=True)
                self._waiting = []
                self._sent.append(list(answers))
                await self._stream.write(b"".join(rows))

    async def read(self) -> None:
        """Hand out what comes back, in the order in which it was sent."""
        async for message in self._stream:
            for place, answer in enumerate(self._sent.pop(0)):
                answer.set_result(message[place * ROW_BYTES : (place + 1) * ROW_BYTES])
            self._work.set()


async def gate(runner_port: int, port: int) -> None:
    """Serve the outer hop until the process ends."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{runner_port}") as channel:
        await channel.channel_ready()
        outer = Gate(channel.stream_stream(STREAM)())
        handler = grpc.unary_unary_rpc_method_handler(
            outer.infer, contract.ModelInferRequest.FromString, contract.ModelInferResponse.SerializeToString
        )
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(DOOR, {"ModelInfer": handler}),)
        )
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(outer.write())
            tasks.create_task(outer.read())


async def runner(model: str, port: int) -> None:
    """Serve the inner hop until the process ends."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    async def run(messages: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
        async for message in messages:
            rows = np.frombuffer(message, np.float32).reshape(-1, WIDTH)
            yield session.run(None, {"input": rows})[0].tobytes()

    server = grpc.aio.server()
    handler: Any = grpc.stream_stream_rpc_method_handler(run)
    _, service, method = STREAM.split("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


def main() -> None:
    """Serve until a signal comes."""
    model, port = sys.argv[1], int(sys.argv[2])
    if len(sys.argv) > 3:
        uvloop.run(runner(model, port))
        return
    inner = ports.pick("127.0.0.1", 1)[0]
    child = subprocess.Popen([sys.executable, "-m", __spec__.name, model, str(inner), "runner"])
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    try:
        uvloop.run(gate(inner, port))
    finally:
        child.kill()
        child.wait()


if __name__ == "__main__":
    main()
