"""Which runner gets a call: the policy's router of the model, among the runners that can take it.

Those that can be reached, take in what they are sent, and are not taken out by their circuit breaker come first; where
there are none, those that have not taken in a message for a while, then those that are being dialled, and those that
are taken out come last: a call to the last runner of a model may fail, one that is not sent does.

Routers see what they see of tasks: the runners that have room, all of them where none has, with their weights and
zones. Who has room is told by credit there, and here by what a runner is known to have to do.
"""

from collections.abc import Hashable, Sequence
from random import Random
from typing import Final
from zlib import crc32

from scheduler.errors import ModelNotReady, SequenceUnknown
from scheduler.policies.policy import Policy, Routing
from scheduler.routing.breaker import Circuit
from scheduler.routing.choice import Candidate, Errand, key_of
from scheduler.routing.consistent_hash import ConsistentHash
from scheduler.routing.routers import Routers
from services.gateway.direct.connection import Connection
from services.gateway.direct.group import STALLED_S, Group
from services.gateway.direct.pending import Pending
from services.gateway.direct.sequences import SequenceRunners

RETRY_S: Final = 0.5
"""When to try again where no runner can be reached."""
ROOM_MS: Final = 100.0
"""A runner that has less to do has room: as much work as it takes ahead of schedulers."""


class Chooser:
    """Remembers what routers remember, and sequences. Times are of a clock that never goes back."""

    def __init__(self, chance: Random, zone: str, policy: Policy) -> None:
        self.sequences: Final = SequenceRunners()
        self._routers = Routers(chance, zone, policy)
        self._by_hash = ConsistentHash()

    def follow(self, policy: Policy) -> None:
        """Go by another policy from now on."""
        self._routers.follow(policy)

    def by_prefix(self, model: str) -> bool:
        """Whether runners of a model are chosen by how prompts begin."""
        return self._routers.kind(model) is Routing.PREFIX_AFFINITY

    def choose(self, pending: Pending, now_s: float) -> Connection:
        """Return where a call goes. Raises ModelNotReady, SequenceUnknown."""
        wanted, tried, group = pending.wanted, pending.tried, pending.group
        if wanted.sequence_key:
            return self._of_sequence(pending, now_s)
        connections = group.connections
        if len(connections) == 1 and not tried:
            return connections[0]
        fit = _fittest(connections, tried, now_s)
        if not fit:
            raise _nobody(group)
        if len(fit) == 1:
            return fit[0]
        candidates = _candidates(fit, group)
        roomy = [
            place for place, one in enumerate(fit) if _has_room(one.place.ahead, candidates[place])
        ] or range(len(fit))
        errand = Errand(key_of(wanted.tenant, wanted.kind), wanted.prefixes, group.work_ms)
        router = self._routers.of(group.model)
        return fit[roomy[router.choose([candidates[place] for place in roomy], errand)]]

    def settle(self, pending: Pending, known: bool) -> None:
        """Learn that a call of a sequence came to an end, and whether its runner knows the sequence."""
        if pending.wanted.sequence_end or not known:
            self.sequences.forget(_sequence(pending))

    def _of_sequence(self, pending: Pending, now_s: float) -> Connection:
        wanted, group = pending.wanted, pending.group
        key = _sequence(pending)
        runner = None if wanted.sequence_start else self.sequences.runner(key)
        if runner is not None:
            chosen = next((one for one in group.connections if one.id == runner), None)
            if chosen is None:
                self.sequences.forget(key)
                raise SequenceUnknown
        else:
            fit = _fittest(group.connections, pending.tried, now_s)
            if not fit:
                raise _nobody(group)
            errand = Errand(crc32(repr(key).encode()))
            chosen = fit[self._by_hash.choose(_candidates(fit, group), errand)]
        self.sequences.expire(now_s)
        self.sequences.keep(key, chosen.id, now_s)
        return chosen


def _sequence(pending: Pending) -> Hashable:
    # Versions of a model are other runners: the same id means another sequence there.
    return pending.wanted.tenant, pending.group.key, pending.wanted.sequence_key


def _nobody(group: Group) -> ModelNotReady:
    return ModelNotReady(f"no runner of {group.model} can be reached", RETRY_S)


def _fittest(connections: Sequence[Connection], tried: tuple[str, ...], now_s: float) -> list[Connection]:
    """Return the best kind of those that were not tried, by id."""
    best = 5
    fit: list[Connection] = []
    for connection in connections:
        if connection.id in tried:
            continue
        rank = _rank(connection, now_s)
        if rank < best:
            best, fit = rank, [connection]
        elif rank == best:
            fit.append(connection)
    return fit


def _rank(connection: Connection, now_s: float) -> int:
    if not connection.open:
        return 2
    circuit = connection.breaker.state(now_s)
    if circuit is Circuit.OPEN:
        return 3
    if circuit is Circuit.HALF_OPEN:
        # One call at a time tells whether it is well again; it comes before others, or nothing ever would.
        return 3 if connection.calls else 0
    return 1 if connection.sent_s is not None and now_s - connection.sent_s >= STALLED_S else 0


def _candidates(connections: Sequence[Connection], group: Group) -> list[Candidate]:
    work_ms = group.work_ms
    candidates = []
    for connection in connections:
        untold, place = connection.untold, connection.place
        held = connection.held + untold
        candidates.append(
            Candidate(
                connection.id,
                max(0, place.slots - held),
                held,
                connection.load_ms + untold * work_ms,
                place.slots,
                place.weight,
                place.zone,
            )
        )
    return candidates


def _has_room(ahead: int, candidate: Candidate) -> bool:
    return candidate.held < ahead or candidate.outstanding_ms < ROOM_MS
