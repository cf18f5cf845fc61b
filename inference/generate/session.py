"""The model itself: an ONNX Runtime session whose inputs and outputs stay bound to the same memory between runs.

Binding the caches of every layer costs as much as a run of a small model, so there is one binding per number of
decoding rows, made when it is first needed, and one per row for prefill. Between two decode runs only the mask is bound
again, for it grows; a mask of the full capacity would not need that, but costs attention 5 % of a run.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.generate.config import GenaiConfig
from inference.generate.kv_cache import KvCache, device_of
from scheduler.errors import ModelUnusable

Logits = NDArray[np.float32]

_LOGITS_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class DecoderSession:
    """Runs prefill for one row and decode for the first n rows. One run at a time."""

    def __init__(self, session: Any, config: GenaiConfig, rows: int, capacity: int) -> None:
        """Take an opened session and memory for `rows` rows of `capacity` tokens.

        Where the cache lies on a device, one row is held: rows are kept together by moving them in memory.
        Raises ModelUnusable when the model's inputs and outputs are not those of the config.
        """
        self._session = session
        self._config = config
        _check_names(session, config)
        if device_of(session, config.past_keys[0]) != "cpu":
            rows = 1
        self.rows = rows
        try:
            self._cache = KvCache(session, config, rows, capacity)
            self._logits_dtype = np.dtype(_LOGITS_DTYPES[_type_of(session.get_outputs(), config.logits)])
        except KeyError as error:
            raise ModelUnusable(
                f"a tensor of the model has the type {error.args[0]}, expected float or float16"
            )
        except MemoryError:
            raise ModelUnusable(f"there is no memory for {rows} rows of {capacity} tokens")
        self._ones = np.ones((1, capacity), np.int64)
        self._columns = np.arange(capacity)
        self._tokens = np.zeros((rows, 1), np.int64)
        self._positions = np.zeros((rows, 1), np.int64)
        self._logits = np.zeros((rows, 1, config.vocabulary), self._logits_dtype)
        self._decoding: dict[int, Any] = {}
        self._prefilling: dict[int, Any] = {}
        self._last_only = _is_one(session.get_outputs(), config.logits)

    def prefill(self, row: int, tokens: NDArray[np.int64], past: int) -> Logits:
        """Add tokens (n,) int64 to a row that holds `past`; return the logits (vocabulary,) of the last one."""
        binding = self._prefilling.get(row)
        if binding is None:
            binding = self._prefilling[row] = self._session.io_binding()
            self._cache.bind(binding, row, 1)
        _bind_input(binding, self._config.attention_mask, self._ones[:, : past + len(tokens)])
        ids = np.ascontiguousarray(tokens[None, :])
        _bind_input(binding, self._config.input_ids, ids)
        if self._config.position_ids is not None:
            positions = np.arange(past, past + len(tokens), dtype=np.int64)[None, :]
            _bind_input(binding, self._config.position_ids, positions)
        length = 1 if self._last_only else len(tokens)
        logits = np.empty((1, length, self._config.vocabulary), self._logits_dtype)
        _bind_output(binding, self._config.logits, logits)
        self._session.run_with_iobinding(binding)
        last: Logits = logits[0, -1].astype(np.float32, copy=False)
        return last

    def decode(self, tokens: Sequence[int], lengths: Sequence[int]) -> Logits:
        """Add one token to each of the first n rows; return logits (n, vocabulary), valid until the next run.

        `lengths` are the tokens that each row holds already.
        """
        rows = len(tokens)
        binding = self._decoding.get(rows) or self._bind_decoding(rows)
        self._tokens[:rows, 0] = tokens
        self._positions[:rows, 0] = lengths
        mask = self._mask(lengths)
        _bind_input(binding, self._config.attention_mask, mask)
        self._session.run_with_iobinding(binding)
        logits: Logits = self._logits[:rows, 0].astype(np.float32, copy=False)
        return logits

    def move(self, source: int, target: int, length: int) -> None:
        """Copy what a row holds to another."""
        self._cache.move(source, target, length)

    def _bind_decoding(self, rows: int) -> Any:
        binding = self._decoding[rows] = self._session.io_binding()
        self._cache.bind(binding, 0, rows)
        _bind_input(binding, self._config.input_ids, self._tokens[:rows])
        if self._config.position_ids is not None:
            _bind_input(binding, self._config.position_ids, self._positions[:rows])
        _bind_output(binding, self._config.logits, self._logits[:rows])
        return binding

    def _mask(self, lengths: Sequence[int]) -> NDArray[np.int64]:
        """Return ones for what each row holds after the run, (rows, longest) int64."""
        longest = max(lengths) + 1
        if len(lengths) == 1:
            return self._ones[:, :longest]
        return (self._columns[:longest] <= np.array(lengths)[:, None]).astype(np.int64)


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
