"""What HTTP alone can refuse: everything else is an error of the tree and gets its code from `services/status.py`."""

from typing import Final


class Refusal(Exception):
    """A request that goes no further, for the way in which it came."""

    code: int = 400
    """HTTP status."""
    name: str = "INVALID_ARGUMENT"
    """Of the google.rpc.Code that comes nearest, for metrics."""

    def __init__(self, what: str) -> None:
        self.what: Final = what
        super().__init__(what)


class BadBody(Refusal):
    """The body is not what the headers or the protocol say that it is."""


class TooLarge(Refusal):
    """The body is larger than is taken."""

    code = 413
    name = "RESOURCE_EXHAUSTED"


class UnknownEncoding(Refusal):
    """The body is compressed in a way that is not known here."""

    code = 415


class TooSlow(Refusal):
    """The body did not come in time."""

    code = 408
    name = "DEADLINE_EXCEEDED"


class FromElsewhere(Refusal):
    """A browser makes the call for a page of another site."""

    code = 403
    name = "PERMISSION_DENIED"
