"""The model itself: ONNX Runtime sessions whose inputs and outputs stay bound to the same memory between runs.

A model may come in two forms with one cache: narrow weights (4 bits: little to read, so few rows are fast) and wide
ones (8 bits for the processor's int8 units: many tokens are fast). Prompts are read with the wide ones when there are
any. Which ones generate is a setting: always with the same, an answer does not depend on how many rows run beside it.

Binding the caches of every layer costs as much as a run of a small model, so there is one binding per size of a decode
run, made when it is first needed, and one per slot for prompts. Masks are as wide as the longest row, rounded up, so
that between two decode runs hardly ever anything is bound again and the runtime meets the same shapes.

On a device, the caches are bound where they lie. What goes in, tokens and masks, is copied there as it is bound, and
therefore bound anew for every run; of what comes out, the logits are copied to the memory of this process.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.generate.config import GenaiConfig
from inference.generate.kv_cache import KvCache
from inference.generate.kv_layout import on_device
from scheduler.errors import ModelUnusable

Logits = NDArray[np.float32]
Tokens = NDArray[np.int64]

MASK_STEP: Final = 64
"""Widths of masks are multiples of this."""
WIDE_FROM: Final = 4
"""Rows from which the wide weights are faster than the narrow ones, on 2 cores (docs/performance.md)."""

_LOGITS_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class DecoderSession:
    """Reads prompts for one slot and generates for the first n slots. One run at a time."""

    def __init__(
        self,
        narrow: Any,
        wide: Any,
        config: GenaiConfig,
        cache: KvCache,
        *,
        slots: int,
        context: int,
        decode: str = "wide",
    ) -> None:
        """Take opened sessions (one of them may be None) and the cache that they share.

        Raises ModelUnusable when inputs and outputs of a session are not those of the config.
        """
        sessions = [session for session in (narrow, wide) if session is not None]
        self._forms = [_Form(session, config, cache, slots, context) for session in sessions]
        self._decode = decode
        self._cache = cache

    @property
    def mixes(self) -> bool:
        """Whether the number of rows decides about the weights that generate."""
        return self._decode == "auto" and len(self._forms) > 1

    def prefill(self, slot: int, tokens: Tokens, past: int) -> Logits:
        """Add tokens (n,) to a slot that holds `past`; return the logits (vocabulary,) of the last one."""
        return self._forms[-1].append(slot, tokens, past)

    def decode(self, tokens: Tokens, held: Tokens) -> Logits:
        """Add one token to each of the first n slots; return logits (n, vocabulary), valid until the next run.

        `held` (n,) are the tokens that each slot holds already. A slot without a row takes any token: what it writes
        lies behind what the slot holds.
        """
        return self._generating(len(tokens)).step(tokens, held)

    def decode_one(self, slot: int, token: int, held: int) -> Logits:
        """Do the same for one slot alone, wherever it is; return its logits (vocabulary,)."""
        return self._generating(1).append(slot, np.array([token], np.int64), held)

    def _generating(self, rows: int) -> "_Form":
        wide = self._decode == "wide" or (self._decode == "auto" and rows >= WIDE_FROM)
        return self._forms[-1 if wide else 0]


class _Form:
    """One session with its bindings."""

    def __init__(self, session: Any, config: GenaiConfig, cache: KvCache, slots: int, context: int) -> None:
        self._session = session
        self._config = config
        self._cache = cache
        self._context = context
        self._copies_inputs = on_device(session)
        _check_names(session, config)
        try:
            self._logits_dtype = np.dtype(_LOGITS_DTYPES[_type_of(session.get_outputs(), config.logits)])
        except KeyError as error:
            raise ModelUnusable(
                f"logits of the model have the type {error.args[0]}, expected float or float16"
            )
        self._ones = np.ones((1, context), np.int64)
        self._columns = np.arange(context)
        self._tokens = np.zeros((slots, 1), np.int64)
        self._positions = np.zeros((slots, 1), np.int64)
        self._masks = np.zeros(slots * context, np.int64)
        self._logits = np.zeros((slots, 1, config.vocabulary), self._logits_dtype)
        self._steps: dict[int, tuple[Any, int]] = {}
        """By size of the run: its binding, and the width of the mask that is bound in it."""
        self._appends: dict[int, Any] = {}
        self._last_only = _is_one(session.get_outputs(), config.logits)

    def append(self, slot: int, tokens: Tokens, past: int) -> Logits:
        binding = self._appends.get(slot)
        if binding is None:
            binding = self._appends[slot] = self._session.io_binding()
            self._cache.bind(binding, slot, 1)
        count = len(tokens)
        _bind_input(binding, self._config.attention_mask, self._ones[:, : past + count])
        ids = np.ascontiguousarray(tokens[None, :])
        _bind_input(binding, self._config.input_ids, ids)
        if self._config.position_ids is not None:
            positions = np.arange(past, past + count, dtype=np.int64)[None, :]
            _bind_input(binding, self._config.position_ids, positions)
        logits = np.empty((1, 1 if self._last_only else count, self._config.vocabulary), self._logits_dtype)
        _bind_output(binding, self._config.logits, logits)
        self._session.run_with_iobinding(binding)
        last: Logits = logits[0, -1].astype(np.float32, copy=False)
        return last

    def step(self, tokens: Tokens, held: Tokens) -> Logits:
        rows = len(tokens)
        width = min(self._context, (int(held.max()) // MASK_STEP + 1) * MASK_STEP)
        self._tokens[:rows, 0] = tokens
        self._positions[:rows, 0] = held
        mask = self._masks[: rows * width].reshape(rows, width)
        np.less_equal(self._columns[:width], held[:, None], out=mask, casting="unsafe")
        binding, bound = self._steps.get(rows) or self._bound(rows)
        if self._copies_inputs or bound != width:
            self._bind_step(binding, rows, mask)
            self._steps[rows] = binding, width
        self._session.run_with_iobinding(binding)
        logits: Logits = self._logits[:rows, 0].astype(np.float32, copy=False)
        return logits

    def _bound(self, rows: int) -> tuple[Any, int]:
        binding = self._session.io_binding()
        self._cache.bind(binding, 0, rows)
        _bind_output(binding, self._config.logits, self._logits[:rows])
        return binding, 0

    def _bind_step(self, binding: Any, rows: int, mask: NDArray[np.int64]) -> None:
        _bind_input(binding, self._config.attention_mask, mask)
        _bind_input(binding, self._config.input_ids, self._tokens[:rows])
        if self._config.position_ids is not None:
            _bind_input(binding, self._config.position_ids, self._positions[:rows])


def _bind_input(binding: Any, name: str, array: NDArray[Any]) -> None:
    binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)


def _bind_output(binding: Any, name: str, array: NDArray[Any]) -> None:
    binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)


def _check_names(session: Any, config: GenaiConfig) -> None:
    """Compare the names of the config with those of the model. Raises ModelUnusable."""
    wanted = {config.input_ids, config.attention_mask, *config.past_keys, *config.past_values}
    if config.position_ids is not None:
        wanted.add(config.position_ids)
    _compare("input", wanted, {node.name for node in session.get_inputs()}, exact=True)
    outputs = {config.logits, *config.present_keys, *config.present_values}
    _compare("output", outputs, {node.name for node in session.get_outputs()}, exact=False)


def _compare(what: str, wanted: set[str], found: set[str], *, exact: bool) -> None:
    if missing := sorted(wanted - found):
        raise ModelUnusable(f"the model has no {what} {missing[0]}, which genai_config.json names")
    if exact and (surplus := sorted(found - wanted)):
        raise ModelUnusable(f"the model wants an {what} {surplus[0]}, which genai_config.json does not name")


def _type_of(nodes: Sequence[Any], name: str) -> str:
    return str(next(node.type for node in nodes if node.name == name))


def _is_one(nodes: Sequence[Any], name: str) -> bool:
    """Tell whether the middle dimension of the logits is fixed to the last position."""
    shape = next(node.shape for node in nodes if node.name == name)
    return len(shape) == 3 and shape[1] == 1
