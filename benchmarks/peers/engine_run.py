"""The engine itself, measured in a process of its own like its peers.

python -m benchmarks.peers.engine_run FOLDER ROWS
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.bare_engine import CONTEXT, Bench, Prompts
from benchmarks.peers.worker import Measure, serve
from inference.generate import GenerateEngine
from inference.settings import EngineSettings
from services.settings import load


def _prepare() -> tuple[str, dict[str, Measure]]:
    folder, rows = Path(sys.argv[1]), int(sys.argv[2])
    settings = load(EngineSettings, section="engine", file=None, environ=os.environ)
    settings = replace(settings, slots=rows, context_length=CONTEXT, prefix_cache_bytes=0)
    engine = GenerateEngine.open(folder, settings, lambda sentence: print(sentence, file=sys.stderr))
    engine.warm_up()
    bench = Bench(engine, Prompts(folder))
    description = (
        f"forebay, bare engine; {engine.card.provider}, decoding on the {settings.decode} weights, "
        f"{settings.prefill_tokens} prompt tokens a step"
    )
    return description, {"decode": bench.decode_rate, "prefill": bench.prefill_rate}


if __name__ == "__main__":
    serve(_prepare)
