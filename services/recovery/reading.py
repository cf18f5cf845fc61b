"""What the log says: who has ended, who was accepted, and the envelopes that count. Called by `replay.py`."""

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import DecodeError

from forebay.tasks.v1.envelope_pb2 import Bundle, Endings, Publication
from scheduler.lanes import Lane
from scheduler.ports.log import LogReader
from scheduler.states import TERMINAL, TaskState
from services.recovery.finished import Finished, compact
from services.recovery.planning import NOTHING, Fault, Standing, fault_of

NAMED: Final = 20
"""Most damaged tasks that are told by name."""

_LOG: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class Faults:
    """What could not be used."""

    unreadable: int = 0
    """Messages, or parts of them, that are no tasks."""
    damaged: int = 0
    """Envelopes whose specification is not the one that was accepted."""
    ids: list[str] = field(default_factory=list)
    """The first tasks with damaged envelopes."""


class LogContents:
    """Reads topics as often as it is asked to; keeps numbers of tasks, never their envelopes."""

    def __init__(self, reader: LogReader, lanes: Sequence[Lane]) -> None:
        """Take the log and all lanes of all queues."""
        self._reader = reader
        self._lanes = lanes
        self._pools = sorted({lane.pool for lane in lanes})

    async def finished(self, faults: Faults) -> Finished:
        """Read the journal of endings. Raises LogUnavailable."""
        finished = Finished()
        async with aclosing(self._reader.journal()) as kept:
            async for message in kept:
                try:
                    endings = Endings.FromString(message.payload).ended
                except DecodeError:
                    faults.unreadable += 1
                    continue
                for ended in endings:
                    if ended.state in _TERMINAL_NUMBERS:
                        finished.add(TaskState(ended.state), ended.ids)
        return finished

    async def standings(self, finished: Finished, faults: Faults) -> dict[int, Standing]:
        """Return the best that is kept of each task that has not ended. Raises LogUnavailable."""
        found: dict[int, Standing] = {}
        # Most tasks stand alike: one object for all of them.
        alike: dict[Standing, Standing] = {}
        async with aclosing(self._publications(faults)) as publications:
            async for publication in publications:
                envelope = publication.envelope
                if finished.state_of(envelope.id) is None:
                    number = compact(envelope.id)
                    standing = found.get(number, NOTHING).with_(publication)
                    found[number] = alike.setdefault(standing, standing)
        return found

    async def counting(
        self, standings: dict[int, Standing]
    ) -> AsyncGenerator[tuple[Publication, Standing], None]:
        """Read again; yield each task's envelope that counts once. Consumes the standings. Raises LogUnavailable."""
        async with aclosing(self._publications(Faults())) as publications:
            async for publication in publications:
                number = compact(publication.envelope.id)
                standing = standings.get(number)
                if standing is not None and standing.is_of(publication):
                    del standings[number]
                    yield publication, standing

    async def _publications(self, faults: Faults) -> AsyncGenerator[Publication, None]:
        """Yield every publication that can be used."""
        readings = [self._reader.lane(lane) for lane in self._lanes]
        readings += [self._reader.parked(pool) for pool in self._pools]
        for reading in readings:
            async with aclosing(reading) as kept:
                async for message in kept:
                    try:
                        publications = Bundle.FromString(message.payload).publications
                    except DecodeError:
                        faults.unreadable += 1
                        continue
                    for publication in publications:
                        match fault_of(publication.envelope):
                            case None:
                                yield publication
                            case Fault.UNREADABLE:
                                faults.unreadable += 1
                            case Fault.DAMAGED:
                                _note(publication.envelope.id, faults)


def _note(task_id: str, faults: Faults) -> None:
    _LOG.warning("envelope damaged", extra={"task_id": task_id})
    faults.damaged += 1
    if len(faults.ids) < NAMED:
        faults.ids.append(task_id)


_TERMINAL_NUMBERS: Final = frozenset(int(state) for state in TERMINAL)
