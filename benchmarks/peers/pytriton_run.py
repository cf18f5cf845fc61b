"""The peer PyTriton: the core of NVIDIA's Triton Inference Server, with the model in Python behind its batcher.

The model runs in ONNX Runtime with one thread. Run by the Python of the peer:

    python -m benchmarks.peers.pytriton_run MODEL GRPC_PORT HTTP_PORT METRICS_PORT
"""

import sys
from typing import Any

import numpy as np
import onnxruntime
from pytriton.decorators import batch  # type: ignore[import-not-found]  # lives in the environment of the peer
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor  # type: ignore[import-not-found]
from pytriton.triton import Triton, TritonConfig  # type: ignore[import-not-found]

WIDTH = 64
MAX_BATCH_SIZE = 64


def main() -> None:
    """Serve until a signal comes."""
    path, grpc_port, http_port, metrics_port = sys.argv[1], *map(int, sys.argv[2:5])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    @batch  # type: ignore[untyped-decorator]  # it has no types
    def infer(input: Any) -> list[Any]:
        return list(session.run(None, {"input": input}))

    config = TritonConfig(
        grpc_address="127.0.0.1",
        grpc_port=grpc_port,
        http_address="127.0.0.1",
        http_port=http_port,
        metrics_address="127.0.0.1",
        metrics_port=metrics_port,
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="mlp",
            infer_func=infer,
            inputs=[Tensor(name="input", dtype=np.float32, shape=(WIDTH,))],
            outputs=[Tensor(name="output", dtype=np.float32, shape=(WIDTH,))],
            config=ModelConfig(max_batch_size=MAX_BATCH_SIZE, batcher=DynamicBatcher()),
        )
        triton.serve()


if __name__ == "__main__":
    main()
