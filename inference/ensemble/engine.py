"""The engine for models made of others. Each step lets every model that has work run once, so requests that are at the
same model at the same time share its runs, whatever requests they came with.
"""

import time
from collections.abc import Callable, Sequence

from inference.engine import (
    Done,
    Failed,
    ModelCard,
    Request,
    RunCounts,
    SequencePlace,
    TensorOutput,
    TensorRequest,
    Update,
)
from inference.ensemble.describing import card_of
from inference.ensemble.failing import failure_in
from inference.ensemble.flight import Flight
from inference.ensemble.member_engines import MemberEngines, inner_key, outer_key
from inference.ensemble.members import Load, Member, open_members
from inference.ensemble.plan import Plan, Route, Stage
from inference.ensemble.waiting import Lines, Turns
from inference.repository.configuration import Report
from inference.repository.definition import ModelDefinition
from inference.repository.folder import ModelFolder
from inference.tensor.answers import Answers
from inference.tensor.counting import RunCounter
from inference.tensor.requests import Requests
from scheduler.errors import InvalidInput, ModelUnusable
from scheduler.policies.policy import Policy

MAX_ROUTES = 256
"""Combinations of wanted outputs that are remembered; when there are more, all are forgotten."""


class EnsembleEngine:
    """A graph of models behind the Engine protocol. `runs` and `interrupt` may be called from any thread."""

    def __init__(self, definition: ModelDefinition, members: Sequence[Member]) -> None:
        """`members` are those of the definition's steps, which this closes. Raises ModelUnusable, with the place,
        where they do not fit together.
        """
        self._definition = definition
        self._plan = Plan(definition, members)
        self._engines = MemberEngines(self._plan, members)
        self.card = card_of(definition, self._plan)
        """What is known of the model."""
        interface = self._plan.interface
        self._inputs = tuple(port.signature.name for port in interface.inputs)
        self._requests = Requests(interface, None)
        self._answers = Answers(interface, (), rows=definition.max_batch_size > 0)
        self._routes: dict[tuple[str, ...], Route] = {}
        self._flights: dict[str, Flight] = {}
        self._lines = Lines(self._plan)
        self._turns = Turns()
        self._updates: list[Update] = []
        self._interrupted: set[str] = set()
        self._number = 0
        self._counter = RunCounter()

    @classmethod
    def open(
        cls, folder: ModelFolder, load: Load, report: Report, inside: tuple[str, ...] = ()
    ) -> "EnsembleEngine":
        """Open an ensemble and its models. Raises ModelUnusable with the place, RuntimeMissing."""
        members = open_members(folder, load, report, inside)
        try:
            return cls(folder.definition, members)
        except BaseException:
            for member in members:
                member.engine.close()
            raise

    @property
    def member_cards(self) -> Sequence[tuple[str, ModelCard]]:
        """Name and card of each of its models, in the order of the steps."""
        return [(member.name, member.engine.card) for member in self._engines]

    @property
    def capacity(self) -> int:
        """How many requests can be admitted at once: as many as the smallest of its models can hold."""
        return self._engines.capacity

    @property
    def active(self) -> int:
        """How many requests are admitted and not ended."""
        return len(self._flights) + len(self._updates)

    @property
    def together(self) -> int:
        """How many requests one run takes at most, in the model that takes the fewest."""
        return self._engines.together

    @property
    def due_s(self) -> float:
        """Return the monotonic time before which a step would do nothing unless more is admitted; 0 for at once."""
        if self._updates or self._lines:
            return 0.0
        return self._engines.due_s

    def follow(self, policy: Policy) -> None:
        """Let each model choose by another policy from now on."""
        self._engines.follow(policy)

    def counts(self) -> RunCounts:
        """Return what was counted: a run is one request's way through all models, and lasts as long as their runs."""
        return self._counter.counts()

    def admit(self, key: str, request: Request) -> None:
        """Take a request in. Raises InvalidInput with every fault, fields as paths inside TaskSpec."""
        if type(request) is not TensorRequest:
            raise InvalidInput.of("input", "the model takes tensors, not a prompt or texts")
        if key in self._flights:
            raise ValueError(f"{key} is already admitted")
        if self.card.stateful and (request.sequence is None or not request.sequence.id):
            fault = "the model keeps state between requests: each needs the id of its sequence"
            raise InvalidInput.of("sequence", fault)
        checked = request
        if self.card.stateful:
            # Which ids there can be is for the models to say that keep the state.
            checked = TensorRequest(request.inputs, request.level, request.tenant, request.outputs)
        item = self._requests.read(key, checked, time.monotonic())
        self._interrupted.discard(key)  # one that came too late for an earlier request of this key
        self._number += 1
        flight = Flight(self._number, request, item, self._route(self._answers.names([item])))
        self._flights[key] = flight
        if self._turns.join(flight):
            self._begin(flight)

    def cancel(self, key: str) -> None:
        """Forget a request, wherever it is. Unknown keys are ignored."""
        if (flight := self._flights.get(key)) is not None:
            self._forget(flight)

    def tell_runs(self, tell: Callable[[Sequence[str]], None]) -> None:
        """Have the keys of each run of a model told before it is run, on the thread that steps."""
        self._engines.tell_runs(tell)

    def runs(self, key: str) -> bool:
        """Tell, on any thread, whether a model runs the request now."""
        return self._engines.runs(key)

    def interrupt(self, key: str) -> None:
        """Cancel a request that a model runs now, from any thread; its neighbours run again without it."""
        self._engines.interrupt(key, lambda: self._interrupted.add(key))

    def step(self) -> Sequence[Update]:
        """Let every model that has work run once, the last ones first. What a run brings enters the next models in the
        following step.
        """
        for member in self._engines:
            for flight, stage in self._lines.entering(member):
                self._enter(flight, stage)
        for member in reversed(self._engines):
            if member.engine.active:
                # When this raises, what other models brought is kept for the next step.
                self._advance(member)
        while self._interrupted:
            self.cancel(self._interrupted.pop())
        updates, self._updates = self._updates, []
        return updates

    def warm_up(self) -> None:
        """Warm each model up, and run the samples of the configuration. Raises ModelUnusable when one does not run."""
        self._engines.warm_up()
        place = SequencePlace("0", start=True, end=True) if self.card.stateful else None
        for sample in self._definition.warmup:
            for _ in range(sample.count):
                try:
                    self.admit("warm-up", TensorRequest(sample.inputs, sequence=place))
                    updates = list(self.step())
                    while self.active:
                        updates += self.step()
                    failed = next((update.error for update in updates if isinstance(update, Failed)), None)
                except InvalidInput as error:
                    failed = error
                if failed is not None:
                    raise ModelUnusable(f"{sample.place}: warm-up sample {sample.name!r}: {failed}")
        self._counter = RunCounter()

    def close(self) -> None:
        """Let go of every model. Idempotent."""
        self._engines.close()
        self._flights.clear()
        self._turns.clear()
        self._lines.clear()
        self._updates.clear()

    def _route(self, names: tuple[str, ...]) -> Route:
        route = self._routes.get(names)
        if route is None:
            if len(self._routes) >= MAX_ROUTES:
                self._routes.clear()
            route = self._routes[names] = self._plan.route(names, whole=self.card.stateful)
        return route

    def _begin(self, flight: Flight) -> None:
        self._line_up(flight, flight.begin(iter(self._inputs)))

    def _line_up(self, flight: Flight, stages: Sequence[Stage]) -> None:
        for stage in stages:
            self._lines.add(flight, stage)

    def _enter(self, flight: Flight, stage: Stage) -> None:
        request = flight.enter(stage)
        try:
            stage.member.engine.admit(inner_key(flight.key, stage), request)
        except Exception as error:  # whatever it is, it concerns this request only
            flight.inside.discard(stage)
            self._fail(flight, stage, error)

    def _advance(self, member: Member) -> None:
        began_s = time.perf_counter()
        updates = member.engine.step()
        took_s = time.perf_counter() - began_s
        counted = set()
        for update in updates:
            key, index = outer_key(update.key)
            flight = self._flights.get(key)
            if flight is None:
                continue  # another of its steps failed in this very step
            stage = self._plan.stages[index]
            if key not in counted:
                flight.infer_s += took_s
                counted.add(key)
            if isinstance(update, Failed):
                flight.inside.discard(stage)
                self._fail(flight, stage, update.error)
            elif isinstance(update, Done) and isinstance(update.output, TensorOutput):
                self._line_up(flight, flight.leave(stage, update.output.outputs))
                if flight.ended:
                    self._finish(flight)

    def _finish(self, flight: Flight) -> None:
        names = self._answers.names([flight.item])
        arrays = flight.answer(names)
        self._forget(flight)
        if flight.key in self._interrupted:
            return
        parts = self._answers.parts([flight.item], arrays, names)
        assert parts is not None, "one request's outputs are not split"
        self._counter.ran(flight.rows, (1, flight.rows), 0.0, flight.infer_s, 0.0)
        self._updates.append(Done(flight.key, parts[0]))

    def _fail(self, flight: Flight, stage: Stage, error: Exception) -> None:
        self._forget(flight)
        self._updates.append(Failed(flight.key, failure_in(stage, error)))

    def _forget(self, flight: Flight) -> None:
        """Take a request out of everything; the next call of its sequence can begin."""
        del self._flights[flight.key]
        flight.forgotten = True
        for stage in flight.inside:
            stage.member.engine.cancel(inner_key(flight.key, stage))
        if (following := self._turns.leave(flight)) is not None:
            self._begin(following)
