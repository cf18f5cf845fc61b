"""What exactly the attached runners of a model are: what a question was made for must be what answers it."""

from collections.abc import Iterable
from typing import NamedTuple

from cache.key import identity_of
from forebay.tasks.v1.envelope_pb2 import CacheQuestion
from scheduler.service.runner_stream import RunnerStream


class Served(NamedTuple):
    """The runners that tasks of one name go to."""

    version: int
    """0 for a model without versions."""
    identity: bytes
    """As questions have it."""
    digests: frozenset[str]
    """What each of them announces."""

    def answers(self, question: CacheQuestion) -> bool:
        """Whether a question was made for these."""
        return self.version == question.version and self.identity == question.identity


def served_by(streams: Iterable[RunnerStream]) -> Served | None:
    """Return what these runners are together; None when they are of several versions, as while one takes over from
    another, or one of them does not say.
    """
    versions = {stream.version for stream in streams}
    digests = frozenset(stream.answers_digest for stream in streams)
    identity = identity_of(digests)
    if len(versions) != 1 or not identity:
        return None
    return Served(versions.pop(), identity, digests)
