"""The bare embedding engine against ONNX Runtime used as sentence-transformers uses it: sentences a second, also a
second of CPU time (for machines that do other things too), and padding.

The peer runs in one process too, on the same weights and with the same settings of ONNX Runtime: it tokenises
everything, sorts by length, pads batches of 32, takes the mean of the real tokens and scales it. Its graph is the usual
one with fused operators (Attention, SkipLayerNormalization, BiasGelu) on padded rows. Both take turns.
"""

import argparse
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import machine
from benchmarks.peers.padded_encoder import PaddedEncoder, save_padded
from inference.embed.engine import EmbedEngine
from inference.embed.layouts import Ids
from inference.engine import Array, Done, EmbedOutput, EmbedRequest
from inference.importers import fetch_minilm, import_model
from inference.importers.fetch import DEFAULT_CACHE
from inference.settings import EngineSettings
from tests.reference.varied_texts import sentences

TEXTS = 512
IN_FLIGHT = 64


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=TEXTS)
    options = parser.parse_args()
    machine.print_header("bare embedding engine")
    source = fetch_minilm(DEFAULT_CACHE, print)
    texts = sentences(options.texts)
    with tempfile.TemporaryDirectory(prefix="forebay-embeddings-") as name:
        folder = Path(name)
        peer = PaddedEncoder(save_padded(source, folder / "padded"), source)
        engines = {}
        for form in ("none", "int8"):
            path = import_model(source, folder / form, quantization=form, report=lambda _: None)
            engines[form] = _opened(path)
        ways: dict[str, Callable[[], None]] = {
            "ONNX Runtime, sorted, padded, batches of 32": lambda: _keep(peer.embed(texts)),
            "engine, float32, one request": lambda: _keep(embed(engines["none"], texts)),
            "engine, float32, 64 in flight": lambda: in_flight(engines["none"], texts),
            "engine, int8, one request": lambda: _keep(embed(engines["int8"], texts)),
            "engine, int8, 64 in flight": lambda: in_flight(engines["int8"], texts),
        }
        rates: dict[str, list[float]] = {way: [] for way in ways}
        costs: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(options.rounds):
            for way, run in ways.items():
                began_s, used_s = time.perf_counter(), time.process_time()
                run()
                rates[way].append(len(texts) / (time.perf_counter() - began_s))
                costs[way].append((time.process_time() - used_s) / len(texts))
        peer_way, *_ = ways
        base = rates[peer_way]
        tokens = sum(len(ids) for ids in peer.tokens(texts))
        print(
            f"{len(texts)} sentences of {tokens / len(texts):.1f} tokens; median of {options.rounds} rounds (best)"
        )
        for way, found in rates.items():
            ratio = statistics.median(one / other for one, other in zip(found, base, strict=True))
            cost = statistics.median(costs[way])
            print(
                f"{way:45} {statistics.median(found):7.0f} sentences/s ({max(found):.0f})  {ratio:.2f} x; "
                f"{1 / cost:.0f} a CPU second, {statistics.median(costs[peer_way]) / cost:.2f} x"
            )
        spread = SpreadCount(engines["none"])
        in_flight(engines["none"], texts)
        print(
            f"padding of the peer: {peer.padding(texts):.1%} of all tokens; of the engine: none, and of attention "
            f"{spread.padding:.1%} with {IN_FLIGHT} in flight, {spread.tokens / spread.runs:.0f} tokens a run"
        )
        wanted, got = peer.embed(texts), embed(engines["none"], texts)
        print(f"lowest cosine between the two: {float(np.einsum('td,td->t', wanted, got).min()):.6f}")


class SpreadCount:
    """Counts what the runs of an engine are, from now on."""

    def __init__(self, engine: EmbedEngine) -> None:
        self.runs = self.tokens = self._places = 0
        layout = engine._layout
        plain = layout.feeds

        def feeds(texts: Sequence[Ids]) -> dict[str, Array]:
            found = plain(texts)
            self.runs += 1
            self.tokens += len(found["input_ids"])
            self._places += found["spread"].size
            return found

        layout.feeds = feeds  # type: ignore[method-assign]

    @property
    def padding(self) -> float:
        """Which part of the places of attention has no token."""
        return 1 - self.tokens / self._places


def embed(engine: EmbedEngine, texts: Sequence[str]) -> NDArray[np.float32]:
    """Run one request with all texts."""
    engine.admit("all", EmbedRequest(tuple(texts)))
    return _finish(engine)["all"].vectors


def in_flight(engine: EmbedEngine, texts: Sequence[str], count: int = IN_FLIGHT) -> None:
    """Run a request for each text, `count` at a time, as clients would that wait for each answer."""
    waiting = deque(enumerate(texts))
    ended = 0
    for index, text in islice(waiting, count):
        engine.admit(str(index), EmbedRequest((text,)))
    for _ in range(min(count, len(waiting))):
        waiting.popleft()
    while engine.active:
        for update in engine.step():
            assert isinstance(update, Done), update
            ended += 1
            if waiting:
                index, text = waiting.popleft()
                engine.admit(str(index), EmbedRequest((text,)))
    assert ended == len(texts)


def _finish(engine: EmbedEngine) -> dict[str, EmbedOutput]:
    outputs: dict[str, EmbedOutput] = {}
    while engine.active:
        for update in engine.step():
            assert isinstance(update, Done), update
            assert isinstance(update.output, EmbedOutput)
            outputs[update.key] = update.output
    return outputs


def _opened(folder: Path) -> EmbedEngine:
    engine = EmbedEngine.open(folder, EngineSettings(providers=("cpu",)), lambda _: None)
    engine.warm_up()
    return engine


def _keep(vectors: Any) -> None:
    assert len(vectors)


if __name__ == "__main__":
    main()
