"""What somebody who asks brings along: how to find the answer, and how to compute it if it falls to them."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from cache.flights.lead import Lead

T = TypeVar("T")


class Call(Protocol[T]):
    """One request's own way to an answer of type T. All calls of one key have the same answer."""

    @property
    def trace(self) -> bytes:
        """What those who wait for this call's computation are told of it, for their traces; short, and may be empty."""
        ...

    @property
    def shares(self) -> bool:
        """Whether other processes have part in the computation. Where not, they neither wait for it nor are asked."""
        ...

    @property
    def reads(self) -> bool:
        """Whether it takes what is kept already. Where not, `find` returns only what is newer than what it replaces."""
        ...

    def followed(self, trace: bytes) -> None:
        """Take in that the answer is another call's, whose `trace` says this, or nothing. Not told where this process
        led the flight and found the answer in the tiers.
        """
        ...

    def accepts(self, began_ms: int) -> bool:
        """Tell whether it may be given what a computation says that began then at another process: no purge reached
        its answer since. 0 is a time that is not known.
        """
        ...

    async def find(self) -> T | None:
        """Return the answer if the tiers have it, as it is wanted."""
        ...

    async def compute(self, lead: Lead) -> T:
        """Compute the answer. Where it turns out not to be what the others asked for, `lead.set_apart` is called before
        the first chunk: then it is this request's alone, and never kept.

        Raises Abandoned when it ends for a reason that concerns this request only, Disbanded for one that concerns all
        of this process, Interrupted for what was nobody's fault; what else it raises is the failure of all who wait.
        Cancelled when nobody waits any more; it may outlive the request that brought it.
        """
        ...

    async def keep(self, answer: T) -> None:
        """Put an answer that `compute` has returned into the tiers. Those who wait in this process have it by then;
        those who wait elsewhere are told when this has returned, so that they find it. Raises nothing for a tier that
        is away.
        """
        ...

    def status_of(self, failure: Exception) -> bytes:
        """Return a failure of `compute` as a serialised google.rpc.Status, for those who wait."""
        ...

    def chunks_of(self, answer: T) -> Iterable[bytes]:
        """Return the chunks of an answer, as `compute` published them: one after the other, as they are taken."""
        ...

    def content_of(self, chunk: bytes) -> bytes:
        """Return the part of a chunk that is the same whoever computes it: not its times."""
        ...
