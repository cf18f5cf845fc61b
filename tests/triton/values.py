"""Tensors of every datatype."""

from typing import Any, Final

import ml_dtypes
import numpy as np

TYPES: Final[dict[str, Any]] = {
    "BOOL": np.array([True, False, True]),
    "UINT8": np.array([0, 1, 255], np.uint8),
    "UINT16": np.array([0, 1, 65535], np.uint16),
    "UINT32": np.array([0, 1, 2**32 - 1], np.uint32),
    "UINT64": np.array([0, 1, 2**64 - 1], np.uint64),
    "INT8": np.array([-128, 0, 127], np.int8),
    "INT16": np.array([-(2**15), 0, 2**15 - 1], np.int16),
    "INT32": np.array([-(2**31), 0, 2**31 - 1], np.int32),
    "INT64": np.array([-(2**63), 0, 2**63 - 1], np.int64),
    "FP16": np.array([-1.5, 0, 65504], np.float16),
    "FP32": np.array([-1.1, 0, 3.4e38], np.float32),
    "FP64": np.array([-1.1, 0, 1.7e308], np.float64),
    "BYTES": np.array([b"", "gr\u00fc\u00df".encode(), b"plain"], np.object_),
}
BRAIN: Final = np.array([-1.5, 0, 3], ml_dtypes.bfloat16)


def row(*values: float) -> Any:
    """Return a batch of one."""
    return np.array([values], np.float32)


def same(first: Any, second: Any) -> bool:
    """Whether two arrays have the same datatype, shape and values."""
    return bool(first.dtype == second.dtype and first.tolist() == second.tolist())
