"""The peer llama.cpp, by the C interface that llama-cpp-python wraps: no work of Python inside a step but its call.

Whether flash attention and one cache for all sequences are faster is tried for each number of rows, and the best of the
four is what counts. Run by the Python of the peers:

    python -m benchmarks.peers.llama_cpp_run FILE.gguf THREADS
"""

import ctypes
import itertools
import sys
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import llama_cpp  # type: ignore[import-not-found]  # lives in the environment of the peers
import numpy as np

from benchmarks.peers.worker import CELLS_A_ROW, Measure, rate_of, serve

TRIAL_S = 0.5


@dataclass(frozen=True)
class Way:
    """Settings of a context that no rule of thumb decides."""

    flash_attention: bool
    unified_cache: bool


WAYS = [Way(flash, unified) for flash, unified in itertools.product((True, False), repeat=2)]


class LlamaCpp:
    """A model in memory, and contexts of it that live as long as one measurement."""

    def __init__(self, path: str, threads: int) -> None:
        """Load a GGUF file."""
        self._threads = threads
        self._random = np.random.default_rng(0)
        self._model = llama_cpp.llama_model_load_from_file(
            path.encode(), llama_cpp.llama_model_default_params()
        )
        if not self._model:
            raise ValueError(f"{path} cannot be loaded")
        self._vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))
        self._best: dict[tuple[str, int], Way] = {}

    def decode(self, rows: int, seconds: float, prompt_tokens: int) -> float:
        """Return tokens a second of all rows together, in the way that is fastest for so many rows."""

        def measure(way: Way, seconds: float) -> float:
            return self._decode(way, rows, seconds, prompt_tokens)

        if ("decode", rows) not in self._best:
            self._best["decode", rows] = max(WAYS, key=lambda way: measure(way, TRIAL_S))
        return measure(self._best["decode", rows], seconds)

    def prefill(self, tokens: int, times: int) -> float:
        """Return prompt tokens a second: of several times the best, in the way that is fastest."""

        def measure(way: Way, times: int) -> float:
            return self._prefill(way, tokens, times)

        if ("prefill", tokens) not in self._best:
            self._best["prefill", tokens] = max(WAYS, key=lambda way: measure(way, 1))
        return measure(self._best["prefill", tokens], times)

    def ways(self) -> dict[str, str]:
        """Return what was found to be best, by what was measured."""
        return {f"{what} {count}": str(way) for (what, count), way in self._best.items()}

    def logits(self, tokens: list[int], file: str) -> None:
        """Save the logits of every position of one text, (tokens, vocabulary) float32, as NumPy does."""
        context, batch = self._open(WAYS[0], 1, 2 * len(tokens)), self._batch(len(tokens))
        self._fill(batch, tokens, sequence=0, logits=True)
        self._run(context, batch)
        found = llama_cpp.llama_get_logits(context)
        np.save(file, np.ctypeslib.as_array(found, (len(tokens), self._vocabulary)))
        self._close(context, batch)

    def _decode(self, way: Way, rows: int, seconds: float, prompt_tokens: int) -> float:
        context, batch = self._open(way, rows, CELLS_A_ROW * rows), self._batch(max(rows, prompt_tokens))
        self._fill(batch, self._prompt(prompt_tokens), sequence=0, logits=False)
        self._run(context, batch)
        memory = llama_cpp.llama_get_memory(context)
        for row in range(1, rows):
            llama_cpp.llama_memory_seq_cp(memory, 0, row, -1, -1)
        places = itertools.count(prompt_tokens)

        def step() -> int:
            place = next(places)
            batch.n_tokens = rows
            for row in range(rows):
                self._set(batch, row, token=100 + row, place=place, sequence=row, logits=True)
            self._run(context, batch)
            return rows

        step()
        rate = rate_of(step, seconds=seconds, most_steps=CELLS_A_ROW - prompt_tokens - 2)
        self._close(context, batch)
        return rate

    def _prefill(self, way: Way, tokens: int, times: int) -> float:
        context, batch = self._open(way, 1, 2 * tokens), self._batch(tokens)
        rates = []
        for _ in range(times):
            llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
            self._fill(batch, self._prompt(tokens), sequence=0, logits=False)
            batch.logits[tokens - 1] = 1

            def step() -> int:
                self._run(context, batch)
                return tokens

            rates.append(rate_of(step, seconds=0, most_steps=1))
        self._close(context, batch)
        return max(rates)

    def _open(self, way: Way, rows: int, cells: int) -> Any:
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx = cells
        settings.n_seq_max = rows
        settings.n_batch = settings.n_ubatch = 512
        settings.n_threads = settings.n_threads_batch = self._threads
        settings.flash_attn_type = int(way.flash_attention)
        settings.kv_unified = way.unified_cache
        context = llama_cpp.llama_init_from_model(self._model, settings)
        if not context:
            raise ValueError(f"no context with {way}")
        return context

    @staticmethod
    def _batch(tokens: int) -> Any:
        return llama_cpp.llama_batch_init(tokens, 0, 1)

    @staticmethod
    def _close(context: Any, batch: Any) -> None:
        llama_cpp.llama_batch_free(batch)
        llama_cpp.llama_free(context)

    def _prompt(self, tokens: int) -> list[int]:
        return [int(token) for token in self._random.integers(100, self._vocabulary, tokens)]

    def _fill(self, batch: Any, tokens: list[int], *, sequence: int, logits: bool) -> None:
        batch.n_tokens = len(tokens)
        for place, token in enumerate(tokens):
            self._set(batch, place, token=token, place=place, sequence=sequence, logits=logits)

    @staticmethod
    def _set(batch: Any, index: int, *, token: int, place: int, sequence: int, logits: bool) -> None:
        batch.token[index] = token
        batch.pos[index] = place
        batch.n_seq_id[index] = 1
        batch.seq_id[index][0] = sequence
        batch.logits[index] = int(logits)

    @staticmethod
    def _run(context: Any, batch: Any) -> None:
        status = llama_cpp.llama_decode(context, batch)
        if status:
            raise RuntimeError(f"llama_decode returned {status}")
        llama_cpp.llama_synchronize(context)


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _silent(level: int, text: bytes, data: ctypes.c_void_p) -> None:
    """Drop what the library reports of itself."""


def _prepare() -> tuple[str, dict[str, Measure]]:
    llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    path, threads = sys.argv[1], int(sys.argv[2])
    model = LlamaCpp(path, threads)
    measures: dict[str, Measure] = {
        "decode": model.decode,
        "prefill": model.prefill,
        "ways": model.ways,
        "logits": model.logits,
    }
    system = llama_cpp.llama_print_system_info().decode().replace(" = 1", "")
    return (
        f"llama.cpp (llama-cpp-python {version('llama_cpp_python')}), {threads} threads; {system}",
        measures,
    )


if __name__ == "__main__":
    serve(_prepare)
