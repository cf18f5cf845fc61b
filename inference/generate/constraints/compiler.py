"""Compiling what requests ask for, once for each, for one model.

Everything runs on a thread of its own: making the library's tokenizer (0.3 s, at first use), the trial of a new grammar
in a process of its own, and the compilation of what passed it, which then repeats what the trial has shown to end.
"""

import hashlib
import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from tokenizers import Tokenizer

from inference.engine import FormatKind, ResponseFormat
from inference.generate.constraints.cache import BoundedCache
from inference.generate.constraints.constraint import Constraint, Mask
from inference.generate.constraints.definition import FIELD, grammar_of
from inference.generate.constraints.faults import fault_of
from inference.generate.constraints.limits import (
    CACHE_BYTES,
    CACHE_ENTRIES,
    COMPILE_STACK_BYTES,
    FIRST_MASK_S,
    GROWTH_BYTES_S,
    PARSER_LIMITS,
    RENEW_S,
    TEXT_FACTOR,
)
from inference.generate.constraints.sandbox import Sandbox
from scheduler.errors import InvalidInput

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Compiled:
    """A matcher in its first state, to be copied; or why there is none."""

    matcher: LLMatcher | None
    fault: str
    size_bytes: int
    learned_s: float = 0.0
    """Time that went into what its copies share."""


class Constraints:
    """The constrained answers of one model. Thread-safe."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        vocabulary: int,
        end_tokens: frozenset[int],
        limit_bytes: int,
        sandbox: Sandbox | None = None,
    ) -> None:
        """Take the tokenizer, the width of the model's logits, what ends an answer, and the longest definition.

        Nothing is made before the first use.
        """
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._end_tokens = end_tokens
        self._text_tokens = _all_but(end_tokens, vocabulary)
        self._limit_bytes = limit_bytes
        self._sandbox = sandbox or Sandbox()
        self._made: LLTokenizer | None = None
        self._lock = threading.Lock()
        self._cache: BoundedCache[_Compiled] = BoundedCache(CACHE_ENTRIES, CACHE_BYTES)
        self._worker: ThreadPoolExecutor | None = None
        self._closed = False

    @property
    def words(self) -> int:
        """Length of a mask in int32 words."""
        return (self._vocabulary + 31) // 32

    def prepare(self) -> "Future[None]":
        """Begin to make what the first compilation needs, so that the first such request does not wait for it."""
        return self._run().submit(self._prepare)

    def compile(self, wanted: ResponseFormat) -> Constraint:
        """Return a constraint for one answer; waits for `submit`, which says what is raised."""
        return self.submit(wanted).result()

    def submit(self, wanted: ResponseFormat) -> "Future[Constraint]":
        """Begin to make a constraint for one answer. What is in the cache is there at once (0.02 ms).

        The future raises InvalidInput for what is malformed, too large, too complex, or allows no answer at all, and
        ModelFailed when no process can be started to find that out. One new grammar after the other is compiled:
        2 ms for a typical one, about 2 s at most (limits.py). Raises RuntimeError after `close`.
        """
        key = hashlib.sha256(f"{wanted.kind}\n{wanted.definition}".encode(errors="surrogatepass")).digest()
        done: Future[Constraint] = Future()
        try:
            if (constraint := self._cached(key, wanted.kind)) is not None:
                done.set_result(constraint)
                return done
            grammar = grammar_of(wanted, self._limit_bytes)
        except InvalidInput as error:
            done.set_exception(error)
            return done
        return self._run().submit(self._compile, key, wanted, grammar)

    def close(self) -> None:
        """Let go of everything; what is not compiled then is not any more, its future cancelled. Idempotent."""
        with self._lock:
            self._closed = True
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.shutdown(wait=False, cancel_futures=True)
            self._sandbox.abort()
            worker.shutdown()
        self._sandbox.close()

    def _run(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._closed:
                raise RuntimeError("closed")
            if self._worker is None:
                self._worker = ThreadPoolExecutor(1, "constraints")
                # The size holds for threads that are started meanwhile elsewhere too, which harms none of them.
                before = threading.stack_size(COMPILE_STACK_BYTES)
                self._worker.submit(lambda: None).result()
                threading.stack_size(before)
            return self._worker

    def _prepare(self) -> None:
        self._sandbox.start()
        self._llguidance()

    def _cached(self, key: bytes, kind: FormatKind) -> Constraint | None:
        """Return a constraint from the cache, None when it is not there. Raises InvalidInput when it was refused."""
        with self._lock:
            compiled = self._cache.get(key)
        return None if compiled is None else self._constraint(key, kind, compiled)

    def _learned(self, key: bytes, compiled: _Compiled, seconds: float) -> None:
        """Count the memory of what a copy has learned; when it is much, the next row gets a new one."""
        with self._lock:
            compiled.learned_s += seconds
            if self._cache.get(key) is not compiled:
                return
            if compiled.learned_s > RENEW_S:
                self._cache.drop(key)
            else:
                grown = int(compiled.learned_s * GROWTH_BYTES_S)
                self._cache.put(key, compiled, compiled.size_bytes + grown)

    def _compile(self, key: bytes, wanted: ResponseFormat, grammar: str) -> Constraint:
        if (constraint := self._cached(key, wanted.kind)) is not None:
            return constraint
        tokenizer = self._llguidance()
        verdict = self._sandbox.run(grammar)
        matcher = None if verdict.fault else LLMatcher(tokenizer, grammar, log_level=0, limits=_limits())
        message = verdict.fault or _first_mask(matcher)
        fault = fault_of(wanted.kind, message) if message else ""
        size = max(verdict.held_bytes, TEXT_FACTOR * len(grammar)) if not fault else len(fault)
        compiled = _Compiled(None if fault else matcher, fault, size)
        if verdict.final:
            with self._lock:
                self._cache.put(key, compiled, compiled.size_bytes)
        return self._constraint(key, wanted.kind, compiled)

    def _constraint(self, key: bytes, kind: FormatKind, compiled: _Compiled) -> Constraint:
        if compiled.matcher is None:
            raise InvalidInput.of(FIELD, compiled.fault)
        with self._lock:
            matcher = compiled.matcher.deep_copy()
        return Constraint(
            matcher,
            kind,
            self._end_tokens,
            self._text_tokens,
            lambda seconds: self._learned(key, compiled, seconds),
        )

    def _llguidance(self) -> LLTokenizer:
        """Return the library's tokenizer. Raises InvalidInput when it cannot be made of the model's."""
        if self._made is None:
            try:
                self._made = LLTokenizer(
                    self._tokenizer.to_str(),
                    n_vocab=self._vocabulary,
                    eos_token=sorted(self._end_tokens) or None,
                )
            except ValueError as error:
                _log.warning("no constrained answers: the tokenizer is unusable", extra={"cause": str(error)})
                raise InvalidInput.of(
                    FIELD, "cannot be used with this model: its tokenizer is of another kind"
                )
        return self._made


def _all_but(tokens: frozenset[int], vocabulary: int) -> Mask:
    """Return the mask of a vocabulary without some tokens."""
    bits = np.ones((vocabulary + 31) // 32 * 32, np.bool_)
    bits[list(tokens)] = False
    return np.packbits(bits, bitorder="little").view(np.int32)


def _limits() -> LLParserLimits:
    return LLParserLimits(**PARSER_LIMITS)


def _first_mask(matcher: LLMatcher | None) -> str:
    """Compute a matcher's first mask, which its copies keep. Return the library's message when that failed."""
    assert matcher is not None
    began = time.thread_time()
    if not matcher.is_error():
        matcher.compute_bitmask()
    slow = time.thread_time() - began > FIRST_MASK_S
    return matcher.get_error() or ("too complex: the first mask is slow" if slow else "")
