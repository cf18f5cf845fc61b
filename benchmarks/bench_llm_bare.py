"""The bare generate engine, without the platform around it: decode of one row and of eight, prefill of 512 tokens.

    python -m benchmarks.bench_llm_bare [FOLDER]

FOLDER is a model folder; without it SmolLM2 is fetched and converted into the model cache.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.machine import print_header, restart_with_huge_pages
from inference.engine import Done, Failed, GenerateRequest
from inference.generate import GenerateEngine
from inference.settings import EngineSettings
from services.cli.demo_model import CACHE, bring_model

DECODED_TOKENS = 128
PREFILL_TOKENS = 512
ROUNDS = 5


def main() -> None:
    """Measure and print."""
    restart_with_huge_pages()
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else _smollm2()
    print_header("bare generate engine")
    engine = GenerateEngine.open(folder, EngineSettings(slots=8), print)
    engine.warm_up()
    print(f"provider: {engine.card.provider}; median of {ROUNDS} rounds (best)")
    _print("decode, 1 row", lambda: decode_rate(engine, 1))
    _print("decode, 8 rows together", lambda: decode_rate(engine, 8))
    _print(f"prefill, {PREFILL_TOKENS} tokens", lambda: prefill_rate(engine))
    engine.close()


def decode_rate(engine: GenerateEngine, rows: int) -> float:
    """Return tokens a second of all rows together, from when each has its first."""
    for row in range(rows):
        prompt = f"Once upon a time {row} foxes"
        engine.admit(str(row), GenerateRequest(prompt=prompt, max_tokens=DECODED_TOKENS, ignore_eos=True))
    for _ in range(rows):
        engine.step()
    tokens, started = 0, time.perf_counter()
    while engine.active == rows:
        tokens += len(engine.step())
    rate = tokens / (time.perf_counter() - started)
    while engine.active:
        engine.step()
    return rate


def prefill_rate(engine: GenerateEngine) -> float:
    """Return prompt tokens a second until the first token is there."""
    prompt = " water" * PREFILL_TOKENS
    started = time.perf_counter()
    engine.admit("prefill", GenerateRequest(prompt=prompt, max_tokens=1, ignore_eos=True))
    while engine.active:
        for update in engine.step():
            assert not isinstance(update, Failed), update
            assert isinstance(update, Done)
    return PREFILL_TOKENS / (time.perf_counter() - started)


def _print(what: str, measure: Callable[[], float]) -> None:
    rates = [measure() for _ in range(ROUNDS)]
    print(f"{what:28s} {statistics.median(rates):8.1f} tok/s ({max(rates):.1f})")


def _smollm2() -> Path:
    return bring_model(CACHE.expanduser(), lambda subject, sentence: print(f"{subject}: {sentence}"))


if __name__ == "__main__":
    main()
