"""Which failures are the input's own: whoever asks the same fails the same way, so it needs no try of its own.

One rule for calls, whose failures the gateway remembers for a moment, and for tasks, whose followers fail with their
leader.
"""

from typing import Final

from google.protobuf.message import DecodeError
from google.rpc import code_pb2, status_pb2

_CODES: Final = frozenset({code_pb2.INVALID_ARGUMENT, code_pb2.OUT_OF_RANGE})


def is_inputs_own(code: int) -> bool:
    """Tell whether a failure with this google.rpc.Code is the input's own."""
    return code in _CODES


def inputs_fault(status: bytes) -> status_pb2.Status | None:
    """Read a serialised google.rpc.Status that is the input's own failure; None for any other, and for what is none."""
    try:
        read = status_pb2.Status.FromString(status)
    except DecodeError:
        return None
    return read if is_inputs_own(read.code) else None
