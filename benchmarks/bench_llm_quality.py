"""What quantisation costs, beside llama.cpp on the same file: every position of a fixed text of 500 tokens.

The measure is the GGUF file's own weights in float32, computed by NumPy. Each form of the model is run token by token,
as it is when it generates. Mean KL divergence is in nats from the float32 distribution; agreement is the share of
positions with the same most probable token.
"""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from benchmarks import machine
from benchmarks.peers.environment import peers_python
from benchmarks.peers.worker import Worker, WorkerFailed
from inference.generate.config import read_config
from inference.generate.kv_layout import KvLayout
from inference.importers import fetch_smollm2
from services.cli.demo_model import CACHE, bring_model
from tests.integration.test_smollm2 import TEXT
from tests.reference.llama_numpy import LlamaReference

TOKENS = 500

Logits = NDArray[np.float32]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model folder instead of SmolLM2's")
    parser.add_argument("--gguf", type=Path, help="the GGUF file that it was made from")
    options = parser.parse_args()
    if (options.model is None) != (options.gguf is None):
        parser.error("--model and --gguf go together")
    machine.print_header(f"quality of quantised models over {TOKENS} tokens")
    cache = CACHE.expanduser()
    folder = options.model or bring_model(cache, lambda subject, sentence: print(f"{subject}: {sentence}"))
    file = options.gguf or fetch_smollm2(cache, print)
    tokens: list[int] = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(TEXT).ids[:TOKENS]
    expected = LlamaReference(file).logits(tokens)
    print("\n| | mean KL, nats | same most probable token |\n|---|---|---|")
    for name in ("model.onnx", "wide.onnx"):
        if (folder / name).is_file():
            _show(name, expected, onnx_logits(folder, name, tokens))
    try:
        _show(
            "llama.cpp, the GGUF file", expected, llama_cpp_logits(file, tokens, peers_python(cache, print))
        )
    except WorkerFailed as error:
        print(f"LEFT OUT: {error}")


def onnx_logits(folder: Path, name: str, tokens: list[int]) -> Logits:
    """Return logits (tokens, vocabulary) of one ONNX file of a model folder, one run for each token."""
    config = read_config(folder)
    session = onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
    past = [*config.past_keys, *config.past_values]
    present = [*config.present_keys, *config.present_values]
    dtype = KvLayout(session, config, 0).dtype
    held = [np.zeros((1, config.kv_heads, 0, config.head_size), dtype)] * len(past)
    rows = []
    for place, token in enumerate(tokens):
        feeds = dict(zip(past, held, strict=True))
        feeds[config.input_ids] = np.array([[token]], np.int64)
        feeds[config.attention_mask] = np.ones((1, place + 1), np.int64)
        if config.position_ids is not None:
            feeds[config.position_ids] = np.array([[place]], np.int64)
        logits, *held = session.run([config.logits, *present], feeds)
        rows.append(logits[0, -1])
    return np.stack(rows).astype(np.float32)


def llama_cpp_logits(file: Path, tokens: list[int], python: Path) -> Logits:
    """Return logits (tokens, vocabulary) of llama.cpp. Raises WorkerFailed."""
    threads = str(os.cpu_count())
    with (
        tempfile.TemporaryDirectory(prefix="forebay-bench-") as folder,
        Worker(
            "llama.cpp",
            "benchmarks.peers.llama_cpp_run",
            [str(file), threads],
            python=python,
            environ=os.environ,
        ) as worker,
    ):
        found = Path(folder) / "logits.npy"
        worker.ask("logits", tokens=tokens, file=str(found))
        logits: Logits = np.load(found)
        return logits


def _show(name: str, expected: Logits, found: Logits) -> None:
    p, q = _log_softmax(expected), _log_softmax(found)
    divergence = float((np.exp(p) * (p - q)).sum(axis=-1).mean())
    agreement = float((expected.argmax(axis=-1) == found.argmax(axis=-1)).mean())
    print(f"| {name} | {divergence:.4f} | {agreement:.1%} |")


def _log_softmax(logits: Logits) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    normal: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return normal


if __name__ == "__main__":
    main()
