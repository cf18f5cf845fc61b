"""Makes the parts that keep the record store in order, and says what of them runs: the sweeper, with the duties that
it holds, and what it sets to work.
"""

from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any

from scheduler.service.children import Children
from scheduler.service.duties import Duties
from scheduler.service.firing import Firing
from scheduler.service.follow_ups import FollowUps
from scheduler.service.journal import Journal
from scheduler.service.outgoing import Outgoing
from scheduler.service.ports import Ports
from scheduler.service.promotion import Promotion
from scheduler.service.republisher import Republisher
from scheduler.service.settings import SchedulerSettings
from scheduler.service.sweeper import Sweeper


class Upkeep:
    """The sweeper and everything behind it."""

    def __init__(
        self,
        member: str,
        ports: Ports,
        republisher: Republisher,
        settings: SchedulerSettings,
        lost: Callable[[Sequence[str]], None],
        lost_error: bytes,
        needs_ms: Callable[[], Mapping[str, int]],
    ) -> None:
        """`lost` and `lost_error` are for attempts whose lease ran out, see Sweeper; `needs_ms` is for Promotion."""
        clock = ports.clock
        duties = Duties(member, ports.membership, clock, interval_s=settings.sweep_s)
        self.outgoing = Outgoing(republisher)
        children = Children(ports.follow_ups, ports.queries, self.outgoing)
        self._journal = Journal(ports.publisher, ports.follow_ups, clock)
        self._follow_ups = FollowUps(ports.follow_ups, ports.events, duties, children, self._journal, clock)
        self.promotion = Promotion(ports.sweeps, duties, self.outgoing, needs_ms, clock)
        self._sweeper = Sweeper(
            ports.sweeps,
            duties,
            self.outgoing,
            children,
            self._follow_ups,
            Firing(ports.schedules, ports.admissions, self.outgoing, ports.time),
            clock,
            lost,
            interval_s=settings.sweep_s,
            republish_after_ms=settings.republish_after_ms,
            lost_error=lost_error,
        )

    def loops(self) -> Iterator[Coroutine[Any, Any, None]]:
        """Yield what must run until it is cancelled, each as a task of its own."""
        yield self._sweeper.run()
        yield self.promotion.run()
        yield self.outgoing.run()
        yield self._follow_ups.listen()
        yield self._follow_ups.run()
        yield self._journal.run()
