"""The runners of one version of a model in one pool, as far as this gateway has to do with them."""

from typing import Final

from services.gateway.direct.connection import Connection
from services.gateway.direct.lineup import Key

STALLED_S: Final = 2.0
"""A runner that has not taken in a message for so long gets nothing while others do."""
_PACE: Final = 0.2
"""Weight of what was measured last."""


class Group:
    """The runners of one version of a model in one pool."""

    __slots__ = ("connections", "key", "model", "work_ms")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.model = key[1]
        self.connections: list[Connection] = []
        """To runners that are READY, by id; those that are being dialled are among them."""
        self.work_ms = 1.0
        """What a call costs of a runner's time, as measured lately."""

    def measured(self, work_ms: float) -> None:
        """Take in what a call did cost."""
        self.work_ms += _PACE * (work_ms - self.work_ms)
