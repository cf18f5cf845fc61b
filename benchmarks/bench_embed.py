"""Embeddings through the whole platform against ONNX Runtime in one process, by turns in the same run.

Both run the same file of all-MiniLM-L6-v2. The peer has all sentences at once, sorts them by length and runs batches
of 32 on all cores, as sentence-transformers does. Forebay is `forebay up`, asked over the direct door for one sentence
a call, so many calls in flight. A figure is the median of the rounds, a ratio the median of each round's own ratio.
"""

import argparse
import os
import random
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks import bars, machine
from benchmarks.peers.worker import Worker
from inference.importers import IMPORT_VERSION, fetch_minilm, import_model
from inference.importers.calibration_text import TEXT
from services.cli.demo_model import CACHE
from tests.system import System, forebay_up

MODEL: Final = "minilm"
BAR: Final = 0.95
BAR_IN_FLIGHT: Final = 64
SAME: Final = 0.9999
"""Least cosine between vectors of both."""
WORDS: Final = (16, 0.6, 3, 120)
"""Median of the words of a sentence, spread of its logarithm, fewest and most."""


def sentences(count: int, seed: int) -> list[str]:
    """Return sentences of many lengths, few of them long."""
    words = TEXT.split()
    middle, spread, fewest, most = WORDS
    chosen = random.Random(seed)
    made = []
    for _ in range(count):
        length = min(most, max(fewest, round(middle * chosen.lognormvariate(0, spread))))
        first = chosen.randrange(len(words) - length)
        made.append(" ".join(words[first : first + length]))
    return made


def model_folder(quantization: str) -> Path:
    """Return the model's folder in the cache; fetch and convert it when it is not there."""
    cache = CACHE.expanduser()
    folder = cache / f"{MODEL}-{quantization}-v{IMPORT_VERSION}"
    if not (folder / "embed_config.json").is_file():
        cache.mkdir(parents=True, exist_ok=True)
        import_model(
            fetch_minilm(cache, print),
            folder,
            quantization="int8" if quantization == "int8" else "none",
            report=print,
        )
    return folder


def check_same(ours: Worker, theirs: Worker, texts: list[str]) -> None:
    """See that both say the same. Raises AssertionError."""
    pairs = zip(ours.ask("vectors", texts=texts), theirs.ask("vectors", texts=texts), strict=True)
    least = min(float(np.dot(one, other)) for one, other in pairs)
    print(f"least cosine of {len(texts)} sentences, ours and theirs: {least:.6f}")
    assert least >= SAME, "the systems do not compute the same"


def measure(
    system: System, ours: Worker, theirs: Worker, texts: list[str], in_flight: list[int], rounds: int
) -> None:
    """Measure by turns and print."""
    peer: list[float] = []
    through: dict[int, list[float]] = {count: [] for count in in_flight}
    ratios: dict[int, list[float]] = {count: [] for count in in_flight}
    for number in range(rounds + 1):
        sample = texts if number else texts[: max(64, len(texts) // 8)]
        said = []
        for count in in_flight:
            # Each round begins with another one.
            if number % 2:
                their_rate = float(theirs.ask("rate", texts=sample))
            before = machine.cpu_seconds(system.children())
            our_rate = float(ours.ask("rate", texts=sample, in_flight=count))
            after = machine.cpu_seconds(system.children())
            if not number % 2:
                their_rate = float(theirs.ask("rate", texts=sample))
            used = ", ".join(
                f"{name} {(after[name] - seconds) / len(sample) * 1e6:.0f}"
                for name, seconds in before.items()
                if after[name] - seconds > 0.01
            )
            said.append(
                f"{count} in flight: {our_rate:,.0f}/s against {their_rate:,.0f}/s (µs a sentence: {used})"
            )
            if number:
                peer.append(their_rate)
                through[count].append(our_rate)
                ratios[count].append(our_rate / their_rate)
        print(f"{f'round {number}' if number else 'warming up'}: {'; '.join(said)}", flush=True)
    print("\nsentences/s, medians (lowest to highest):\n")
    print("| in flight | Forebay | ONNX Runtime in one process | ratio | bar |")
    print("|---|---|---|---|---|")
    for count in in_flight:
        rates, ratio = through[count], statistics.median(ratios[count])
        bar = f"{BAR}: {bars.at_least(ratio, BAR)}" if count == BAR_IN_FLIGHT else ""
        print(
            f"| {count} | {statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) "
            f"| {statistics.median(peer):,.0f} ({min(peer):,.0f} to {max(peer):,.0f}) | {ratio:.3f} | {bar} |"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, help="a folder for embeddings instead of all-MiniLM-L6-v2's")
    parser.add_argument("--quantization", choices=("none", "int8"), default="none")
    parser.add_argument("--sentences", type=int, default=2_000)
    parser.add_argument("--in-flight", default="64")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of either")
    options = parser.parse_args()
    machine.print_header("embeddings through the whole platform, and in one process")
    folder = options.model or model_folder(options.quantization)
    texts = sentences(options.sentences, seed=0)
    python, environ = Path(sys.executable), {**os.environ, "FOREBAY_ENGINE_THREADS": str(options.threads)}
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as data, ExitStack() as stack:
        system = stack.enter_context(forebay_up(Path(data), {MODEL: folder}, environment=environ))
        theirs = stack.enter_context(
            Worker(
                "peer",
                "benchmarks.peers.encoder_run",
                [str(folder), str(options.threads)],
                python=python,
                environ=environ,
            )
        )
        ours = stack.enter_context(
            Worker(
                "client",
                "benchmarks.peers.embed_client",
                [system.grpc, MODEL],
                python=python,
                environ=environ,
            )
        )
        print(f"peer: {theirs.description}\nclient: {ours.description}")
        check_same(ours, theirs, texts[:64])
        in_flight = [int(count) for count in options.in_flight.split(",")]
        measure(system, ours, theirs, texts, in_flight, options.rounds)


if __name__ == "__main__":
    main()
