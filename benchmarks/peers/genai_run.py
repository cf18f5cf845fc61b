"""The peer onnxruntime-genai, running the very folder that the engine runs.

Its rows share one generator, so they begin and end together: what is compared is a step. Run by the Python of the
peers:

    python -m benchmarks.peers.genai_run FOLDER THREADS
"""

import json
import sys
from importlib.metadata import version
from typing import Any

import numpy as np
import onnxruntime_genai  # type: ignore[import-not-found]  # lives in the environment of the peers

from benchmarks.peers.worker import CELLS_A_ROW, Measure, rate_of, serve

TOKENS = (100, 40_000)
"""Range of the tokens of made-up prompts."""


class Genai:
    """A model in memory, and generators of it that live as long as one measurement."""

    def __init__(self, folder: str, threads: int) -> None:
        """Load a model folder."""
        config = onnxruntime_genai.Config(folder)
        options = {"intra_op_num_threads": threads}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
        self._model = onnxruntime_genai.Model(config)
        self._random = np.random.default_rng(0)

    def decode(self, rows: int, seconds: float, prompt_tokens: int) -> float:
        """Return tokens a second of all rows together."""
        generator = self._generator(rows, CELLS_A_ROW)
        generator.append_tokens(self._prompts(rows, prompt_tokens))

        def step() -> int:
            generator.generate_next_token()
            return rows

        step()
        return rate_of(step, seconds=seconds, most_steps=CELLS_A_ROW - prompt_tokens - 2)

    def prefill(self, tokens: int, times: int) -> float:
        """Return prompt tokens a second until the first token is chosen: of several times the best."""

        def once() -> float:
            generator = self._generator(1, tokens + 16)
            prompt = self._prompts(1, tokens)

            def step() -> int:
                generator.append_tokens(prompt)
                generator.generate_next_token()
                return tokens

            return rate_of(step, seconds=0, most_steps=1)

        return max(once() for _ in range(times))

    def _generator(self, rows: int, cells: int) -> Any:
        settings = onnxruntime_genai.GeneratorParams(self._model)
        settings.set_search_options(batch_size=rows, max_length=cells, min_length=cells, do_sample=False)
        return onnxruntime_genai.Generator(self._model, settings)

    def _prompts(self, rows: int, tokens: int) -> Any:
        return self._random.integers(*TOKENS, (rows, tokens)).astype(np.int32)


def _prepare() -> tuple[str, dict[str, Measure]]:
    folder, threads = sys.argv[1], int(sys.argv[2])
    model = Genai(folder, threads)
    description = f"onnxruntime-genai {version('onnxruntime_genai')} on onnxruntime {version('onnxruntime')}"
    return f"{description}, {threads} threads", {"decode": model.decode, "prefill": model.prefill}


if __name__ == "__main__":
    serve(_prepare)
