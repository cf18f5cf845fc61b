"""What waits outside the models of an ensemble: steps for a place in their model, calls for their sequence."""

import heapq
from collections.abc import Iterator

from inference.ensemble.flight import Flight
from inference.ensemble.members import Member
from inference.ensemble.plan import Plan, Stage


class Lines:
    """Steps that can run, by model; the most urgent ones first, and of one level those of the older request."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._lines: dict[int, list[tuple[int, int, int, Flight]]] = {
            id(stage.member.engine): [] for stage in plan.stages
        }

    def __bool__(self) -> bool:
        return any(self._lines.values())

    def add(self, flight: Flight, stage: Stage) -> None:
        """Let a step wait for its model."""
        place = (int(flight.level), flight.number, stage.index, flight)
        heapq.heappush(self._lines[id(stage.member.engine)], place)

    def entering(self, member: Member) -> Iterator[tuple[Flight, Stage]]:
        """Yield what enters a model, as long as it has room; what was forgotten meanwhile is passed over."""
        line = self._lines[id(member.engine)]
        room = member.engine.capacity - member.engine.active if line else 0
        while line and room > 0:
            _, _, index, flight = heapq.heappop(line)
            if not flight.forgotten:
                room -= 1
                yield flight, self._plan.stages[index]

    def clear(self) -> None:
        """Forget everything."""
        for line in self._lines.values():
            line.clear()


class Turns:
    """The calls of sequences: one of each is on its way, for the next could overtake it between two models."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, str], list[Flight]] = {}

    def join(self, flight: Flight) -> bool:
        """Let a call wait for those before it; return whether there are none."""
        if flight.place is None:
            return True
        calls = self._calls.setdefault((flight.tenant, flight.place.id), [])
        calls.append(flight)
        return len(calls) == 1

    def leave(self, flight: Flight) -> Flight | None:
        """Take a call out; return the one whose turn it is now, if it was not before."""
        if flight.place is None:
            return None
        key = (flight.tenant, flight.place.id)
        calls = self._calls[key]
        was_first = calls[0] is flight
        calls.remove(flight)
        if not calls:
            del self._calls[key]
            return None
        return calls[0] if was_first else None

    def clear(self) -> None:
        """Forget everything."""
        self._calls.clear()
