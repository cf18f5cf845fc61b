"""Follows who is there, and keeps a connection to each runner of the models that were asked for.

A new runner can be used within a second. One whose stream ends is dropped at once, and dialled again, later and later,
for as long as it is announced. One that is announced no more while its stream stands is believed for a moment (the
directory may have lost its memory), then it gets no more calls, and in the end it is dropped.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from forebay.runner.v1.runner_service_pb2 import WatchStatusResponse
from scheduler.errors import RecordsUnavailable, ServerUnavailable
from scheduler.ports.clock import Clock
from scheduler.ports.membership import RUNNER_ROLE, Membership
from services.gateway.direct.connection import Connection, Listener
from services.gateway.direct.group import STALLED_S, Group
from services.gateway.direct.lineup import Key, Lineup, Place, read_cards
from services.gateway.direct.wanted import DEFAULT_POOL, KnownModel

LOOK_S: Final = 0.5
"""Pause between two looks at who is there."""
BELIEVED_S: Final = 2.0
"""How long a runner is believed to be there that is announced no more, while its stream stands."""
GONE_S: Final = 10.0
"""After so long without being announced it is dropped with what it has."""
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 8.0
STEADY_S: Final = 5.0
"""A connection that stood for so long is dialled again soon."""

_LOG: Final = logging.getLogger(__name__)


class Fleet:
    """Of one gateway. `connect` starts a connection's `run` in a task."""

    def __init__(
        self,
        membership: Membership,
        clock: Clock,
        listener: Listener,
        stranded: Callable[[Connection], None],
        connect: Callable[[Connection], asyncio.Task[None]],
    ) -> None:
        """`stranded` is told of connections whose unsent calls had better go elsewhere."""
        self.lineup = Lineup({})
        self.known: Final = asyncio.Event()
        """Set once somebody has looked who is there."""
        self._membership = membership
        self._clock = clock
        self.now_s = clock.monotonic
        """Seconds that never go back."""
        self._listener = listener
        self._stranded = stranded
        self._connect = connect
        self._cards: dict[str, tuple[bytes, WatchStatusResponse]] = {}
        self._groups: dict[Key, Group] = {}
        """Of the models that were asked for."""
        self._connections: dict[str, tuple[Connection, asyncio.Task[None], float]] = {}
        """By runner; since when."""
        self._pauses: dict[str, tuple[float, float]] = {}
        """Of runners that could not be reached: until when, and for how long."""
        self._away = False
        self._begun = 0
        """Looks that were begun."""
        self._seen = 0
        """Number of the look whose outcome stands."""

    def model(self, name: str, version: int = 0, pool: str = DEFAULT_POOL) -> KnownModel:
        """Return what is known of a model. Raises ModelNotFound, ServerUnavailable before the first look."""
        if not self.known.is_set():
            raise ServerUnavailable("which models are served is not known yet", LOOK_S)
        return self.lineup.model(name, version, pool)

    def group(self, known: KnownModel) -> Group:
        """Return the runners of a model; from now on there are connections to them."""
        key = (known.pool, known.name, known.version)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(key)
            self._fill(group)
        return group

    async def run(self) -> None:
        """Look for ever."""
        while True:
            try:
                await self.look()
            except RecordsUnavailable as error:
                if not self._away:
                    _LOG.warning(
                        "who is there is not known, what was seen last stands", extra={"reason": error.reason}
                    )
                self._away = True
            else:
                self._away = False
            await self._clock.sleep(LOOK_S)

    async def look(self) -> None:
        """Look who is there: once this returns, everything stands that was so when it was called. Raises
        RecordsUnavailable.
        """
        self._begun += 1
        number = self._begun
        members = await self._membership.members(RUNNER_ROLE)
        if number < self._seen:
            # A look that began after this one is through already: what this one saw may be older.
            return
        self._seen = number
        now_s = self.now_s()
        cards = read_cards(members, self._cards)
        self._note_gone(cards, now_s)
        if cards != self._cards:
            self._cards = cards
            self.lineup = Lineup({member: card for member, (_, card) in cards.items()})
        self.known.set()
        self._tend(now_s)

    def lost(self, connection: Connection) -> None:
        """Let go of a connection that is at its end."""
        known = self._connections.get(connection.id)
        if known is not None and known[0] is connection:
            del self._connections[connection.id]
            now_s = self.now_s()
            _, pause_s = self._pauses.get(connection.id, (0.0, 0.0))
            steady = now_s - known[2] >= STEADY_S
            pause_s = FIRST_PAUSE_S if steady or not pause_s else min(LONGEST_PAUSE_S, 2 * pause_s)
            self._pauses[connection.id] = now_s + pause_s, pause_s
        for group in self._groups.values():
            if connection in group.connections:
                group.connections.remove(connection)

    def _note_gone(self, cards: dict[str, tuple[bytes, WatchStatusResponse]], now_s: float) -> None:
        """Keep the cards of those that are believed to be there."""
        for runner, (connection, _, _) in self._connections.items():
            if runner in cards:
                connection.gone_s = None
                continue
            if connection.gone_s is None:
                connection.gone_s = now_s
            if connection.open and now_s - connection.gone_s < BELIEVED_S and runner in self._cards:
                cards[runner] = self._cards[runner]

    def _tend(self, now_s: float) -> None:
        """Dial who came, and let go of who left."""
        ready, models = self.lineup.ready, self.lineup.models
        for connection, task, _ in list(self._connections.values()):
            place = ready.get(connection.id)
            moved = place is not None and place.address != connection.place.address
            connection.leaving = place is None or moved
            if place is not None and not moved:
                connection.place = place
            gone = connection.gone_s is not None and now_s - connection.gone_s >= GONE_S
            if moved or gone or (connection.leaving and not connection.calls):
                task.cancel()
        for key in [key for key in self._groups if key not in models]:
            del self._groups[key]
        for runner in [runner for runner in self._pauses if runner not in self.lineup.present]:
            del self._pauses[runner]
        for group in self._groups.values():
            self._fill(group)
        for connection, _, _ in list(self._connections.values()):
            stalled = connection.sent_s is not None and now_s - connection.sent_s >= STALLED_S
            if connection.waiting and (stalled or (connection.leaving and connection.gone_s is not None)):
                self._stranded(connection)

    def _fill(self, group: Group) -> None:
        """Bring a group's connections up to date."""
        known = self.lineup.models.get(group.key)
        places = [self.lineup.ready.get(runner.id) for runner in known.runners] if known else []
        found = [self._connection(place) for place in places if place is not None]
        group.connections = [connection for connection in found if connection is not None]

    def _connection(self, place: Place) -> Connection | None:
        """Return the connection to a runner; None while there is a pause after one that failed."""
        standing = self._connections.get(place.id)
        if standing is not None:
            return None if standing[0].leaving else standing[0]
        now_s = self.now_s()
        until_s, _ = self._pauses.get(place.id, (0.0, 0.0))
        if now_s < until_s:
            return None
        connection = Connection(place, self._listener, self._clock.monotonic)
        self._connections[place.id] = connection, self._connect(connection), now_s
        return connection
