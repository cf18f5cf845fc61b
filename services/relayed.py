"""An error that another process of the platform answered, and that goes on to the client as it is."""

from typing import Final

from google.rpc import code_pb2, error_details_pb2, status_pb2

from scheduler.errors import ForebayError

_CODES: Final = frozenset(code_pb2.Code.values()) - {code_pb2.OK}


class Relayed(ForebayError):
    """Has no row in the table of `services/status.py`: it brings its own status."""

    def __init__(self, status: status_pb2.Status) -> None:
        """`status` becomes part of the error. One without a reason, or with a code that is none, is completed."""
        if status.code not in _CODES:
            status.code = code_pb2.UNKNOWN
        if not (status.details and status.details[0].Is(error_details_pb2.ErrorInfo.DESCRIPTOR)):
            told = list(status.details)
            del status.details[:]
            status.details.add().Pack(error_details_pb2.ErrorInfo(reason=self.reason, domain="forebay"))
            status.details.extend(told)
        self.status: Final = status
        super().__init__(status.message)
