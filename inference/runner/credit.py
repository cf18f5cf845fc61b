"""How many tasks each scheduler may send: one pool of credit for the runner, in equal shares."""

from typing import Protocol


class Creditor(Protocol):
    """A stream to a scheduler."""

    def set_share(self, tasks: int) -> None:
        """Have at most that many tasks at once from here on: assigned ones plus credit that is out."""
        ...


class CreditPool:
    """Splits the runner's credit between the streams that stand. Every stream gets at least one."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._streams: list[Creditor] = []

    def join(self, stream: Creditor) -> None:
        """Give a stream its share; the others get less."""
        self._streams.append(stream)
        self._share_out()

    def leave(self, stream: Creditor) -> None:
        """Give a stream's share to the others."""
        if stream in self._streams:
            self._streams.remove(stream)
            self._share_out()

    def resize(self, total: int) -> None:
        """Have so much credit in all from now on. Does nothing after `close`."""
        if self._total:
            self._total = total
            self._share_out()

    def close(self) -> None:
        """Take all credit back, for good."""
        self._total = 0
        self._share_out()

    def _share_out(self) -> None:
        for stream in self._streams:
            stream.set_share(max(1, self._total // len(self._streams)) if self._total else 0)
