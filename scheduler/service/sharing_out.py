"""Gives chosen tasks to runners, each model by its router (scheduler/routing/)."""

from collections.abc import Iterable

from scheduler.policies.policy import Routing
from scheduler.routing.choice import Candidate, Errand, key_of
from scheduler.routing.routers import Routers
from scheduler.service.entry import Waiting
from scheduler.service.prefixes import prefixes_of
from scheduler.service.runner_stream import RunnerStream, room
from scheduler.service.runners import Roster
from scheduler.states import Level

Shares = dict[RunnerStream, list[Waiting]]


def share_out(
    roster: Roster, routers: Routers, pool: str, tasks: Iterable[Waiting], now_s: float
) -> tuple[Shares, list[Waiting]]:
    """Give each task to a runner of its model and use up its credit; returns the shares, and what nobody takes any
    more because a runner went since credit was counted.

    The caller takes no more tasks of a model than `Roster.credits` and, for CRITICAL ones, `Roster.reserves` say. A
    runner that tasks ask for by several names may have too little credit for all of them: what is over is left.
    """
    shares: Shares = {}
    left: list[Waiting] = []
    of_models: dict[str, list[Waiting]] = {}
    for task in tasks:
        of_models.setdefault(task.model, []).append(task)
    for model, wanted in of_models.items():
        desk = _Desk(roster.of_model(pool, model), now_s)
        alone = desk.takes_all(len(wanted))
        if alone is not None:
            given = {alone: wanted}
        else:
            given = {}
            for task in wanted:
                stream = desk.choose(task, routers)
                if stream is None:
                    left.append(task)
                else:
                    given.setdefault(stream, []).append(task)
        for stream, share in given.items():
            # At once: under another name of it the next model would be given the same credit, or the reserve.
            stream.credits -= len(share)
            if stream.also:
                stream.leasing.update(task.id for task in share)
            shares.setdefault(stream, []).extend(share)
    return shares, left


class _Desk:
    """The runners of one model for one round, with what each was given in it."""

    def __init__(self, streams: Iterable[RunnerStream], now_s: float) -> None:
        self._streams = [stream for stream in streams if stream.takes]
        self._any = [max(0, room(one, one.unreserved, now_s)) for one in self._streams]
        self._critical = [room(one, one.credits, now_s) for one in self._streams]
        self._candidates: list[Candidate] = []

    def takes_all(self, count: int) -> RunnerStream | None:
        """Return the only runner, when it has room for so many tasks of any level. Nothing is to be chosen then, and on
        one machine that is so nearly always.
        """
        return self._streams[0] if len(self._streams) == 1 and self._any[0] >= count else None

    def choose(self, task: Waiting, routers: Routers) -> RunnerStream | None:
        """Return the runner that gets a task, and count it there; None when none has credit for it."""
        free = self._critical if task.lane.level is Level.CRITICAL else self._any
        if len(self._streams) == 1:
            place = 0 if free[0] > 0 else -1
        else:
            place = self._routed(task, free, routers)
        if place < 0:
            return None
        self._critical[place] -= 1
        # What is not kept for CRITICAL tasks goes first, whoever takes it.
        if self._any[place] > 0:
            self._any[place] -= 1
        return self._streams[place]

    def _routed(self, task: Waiting, free: list[int], routers: Routers) -> int:
        if not self._candidates:
            self._candidates = [
                Candidate(
                    one.id,
                    max(0, one.credits),
                    len(one.holds) + len(one.leasing),
                    one.outstanding_ms,
                    one.slots,
                    one.weight,
                    one.zone,
                )
                for one in self._streams
            ]
        places = [place for place, count in enumerate(free) if count > 0]
        if not places:
            return -1
        prompts = routers.kind(task.model) is Routing.PREFIX_AFFINITY
        work_ms = task.expected.work_ms
        errand = Errand(
            key_of(task.tenant, task.envelope.kind),
            prefixes_of(task.envelope) if prompts else (),
            work_ms,
        )
        candidates = self._candidates
        able = candidates if len(places) == len(candidates) else [candidates[place] for place in places]
        place = places[routers.of(task.model).choose(able, errand)]
        chosen = candidates[place]
        candidates[place] = chosen._replace(
            free=chosen.free - 1,
            held=chosen.held + 1,
            outstanding_ms=chosen.outstanding_ms + work_ms * self._streams[place].pace,
        )
        return place
