"""What a model's own errors mean for the request at fault: it wanted too much memory, or anything else.

ONNX Runtime has one exception class for most of what can go wrong, so the words of its allocators decide.
"""

from typing import Final

from inference.providers import brief
from scheduler.errors import ModelFailed, ModelOutOfMemory, TaskFailure

_ALLOCATION: Final = (
    "failed to allocate memory",
    "bad_alloc",
    "bad allocation",
    "bfcarena",
    "bfc_arena",
    "out of memory",
    "outofmemory",
    "smaller than requested bytes",
)
"""Parts of the messages of its arena, of the C++ runtime, of CUDA and of TensorRT, in lower case."""


def wants_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory could not be had."""
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    return any(words in text for words in _ALLOCATION)


def failure_of(error: Exception) -> TaskFailure:
    """Return the failure of a request whose run raised this, with what the provider said as one line."""
    if wants_memory(error):
        return ModelOutOfMemory(f"there is not enough memory to run the model on this input: {brief(error)}")
    return ModelFailed(brief(error))
