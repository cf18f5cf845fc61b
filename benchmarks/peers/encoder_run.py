"""The peer of embeddings: ONNX Runtime in one process, fed as sentence-transformers does it.

All texts are there at once, are sorted by length and run in batches of 32; each is pooled and normalised. The model is
the very file that the engine runs, with ONNX Runtime's own options and as many threads as are given.

    python -m benchmarks.peers.encoder_run FOLDER THREADS
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from benchmarks.peers.worker import Measure, serve
from inference.artifacts import EMBED_CONFIG, MODEL_FILE
from inference.embed.layouts import PackedLayout
from inference.embed.pipeline import Pooling

BATCH = 32


class Encoder:
    """A model in memory."""

    def __init__(self, folder: Path, threads: int) -> None:
        """Load a folder for embeddings."""
        config = json.loads((folder / EMBED_CONFIG).read_text())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(folder / MODEL_FILE), options, providers=["CPUExecutionProvider"]
        )
        self._layout = PackedLayout()
        self._pooling = Pooling(config["pooling"])
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(config["max_length"])

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Return (texts, dimensions) of length 1, in the order of the texts."""
        ids = [np.array(one.ids, np.int64) for one in self._tokenizer.encode_batch_fast(texts)]
        order = sorted(range(len(ids)), key=lambda at: -len(ids[at]))
        found: dict[int, NDArray[np.float32]] = {}
        for first in range(0, len(order), BATCH):
            batch = order[first : first + BATCH]
            rows = [ids[at] for at in batch]
            [hidden] = self._session.run([self._layout.output], self._layout.feeds(rows))
            found.update(zip(batch, self._layout.pool(hidden, rows, self._pooling), strict=True))
        vectors = np.stack([found[at] for at in range(len(texts))])
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors


def _prepare() -> tuple[str, dict[str, Measure]]:
    folder, threads = Path(sys.argv[1]), int(sys.argv[2])
    encoder = Encoder(folder, threads)

    def rate(texts: list[str]) -> float:
        began_s = time.perf_counter()
        encoder.embed(texts)
        return len(texts) / (time.perf_counter() - began_s)

    def vectors(texts: list[str]) -> list[list[float]]:
        return [[float(value) for value in vector] for vector in encoder.embed(texts)]

    described = f"onnxruntime {onnxruntime.__version__} in one process, {threads} threads, batches of {BATCH} by length"
    return described, {"rate": rate, "vectors": vectors}


if __name__ == "__main__":
    serve(_prepare)
