"""What errors of a model are taken for."""

import pytest

from inference.model_errors import failure_of
from scheduler.errors import ModelFailed, ModelOutOfMemory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("std::bad_alloc"),
        RuntimeError(
            "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Expand node. "
            "Status Message: bfc_arena.cc:376 AllocateRawInternal Failed to allocate memory for requested buffer of "
            "size 4398046511104"
        ),
        RuntimeError("bfc_arena.cc: Available memory of 1048576 is smaller than requested bytes of 2097152"),
        RuntimeError("CUDA failure 2: out of memory ; GPU=0"),
    ],
)
def test_what_the_allocators_say_means_that_memory_ran_out(error: Exception) -> None:
    assert type(failure_of(error)) is ModelOutOfMemory


def test_anything_else_is_a_failure_with_the_words_of_the_provider() -> None:
    failure = failure_of(RuntimeError("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : indices out of bounds"))
    assert type(failure) is ModelFailed
    assert "indices out of bounds" in str(failure)
