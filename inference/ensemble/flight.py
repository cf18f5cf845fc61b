"""One request on its way through an ensemble: its tensors, and which steps are left."""

from collections.abc import Iterator, Mapping

from inference.engine import Array, TensorRequest
from inference.ensemble.plan import Route, Stage
from inference.tensor.batching import Item


class Flight:
    """A request. A tensor is kept as long as a step or the answer needs it. `forgotten` is set from outside."""

    def __init__(self, number: int, request: TensorRequest, item: Item, route: Route) -> None:
        """`item` is the request as it was checked; `number` grows from request to request."""
        self.key = item.key
        self.number = number
        self.level = request.level
        self.tenant = request.tenant
        self.place = request.sequence
        self.rows = item.layout.rows
        self.infer_s = 0.0
        """Sum of the runs that it took part in."""
        self.inside: set[Stage] = set()
        """Steps that run or wait inside their models."""
        self.forgotten = False
        self.item = item
        self._given = item.inputs
        # What the request brought belongs to the steps that need it from here on.
        item.inputs = {}
        self._route = route
        self._left = len(route.stages)
        self._missing = dict(route.needs)
        self._uses = dict(route.uses)
        self._tensors: dict[str, Array] = {}

    @property
    def ended(self) -> bool:
        """Whether every step has run."""
        return self._left == 0

    def begin(self, inputs: Iterator[str]) -> list[Stage]:
        """Take in what the client sent; return the steps that can run. `inputs` are all that it could have sent."""
        given, self._given = self._given, {}
        return [stage for name in inputs for stage in self._arrived(name, given.get(name))]

    def enter(self, stage: Stage) -> TensorRequest:
        """Return what a step takes and what is wanted of it, and let go of what nobody else needs."""
        feeds = {
            name: self._tensors[tensor] for name, tensor in stage.inputs.items() if tensor in self._tensors
        }
        for tensor in stage.takes:
            self._used(tensor)
        self.inside.add(stage)
        place = self.place if stage.member.engine.card.stateful else None
        return TensorRequest(feeds, self.level, self.tenant, self._route.wants[stage.index], place)

    def leave(self, stage: Stage, outputs: Mapping[str, Array]) -> list[Stage]:
        """Take in what a step made; return the steps that can run now."""
        self.inside.discard(stage)
        self._left -= 1
        return [
            ready
            for name, tensor in stage.outputs.items()
            for ready in self._arrived(tensor, outputs.get(name))
        ]

    def answer(self, names: tuple[str, ...]) -> list[Array]:
        """Return the tensors that were wanted, once it has ended."""
        return [self._tensors[name] for name in names]

    def _arrived(self, tensor: str, array: Array | None) -> Iterator[Stage]:
        """Keep a tensor if anyone needs it; None is one that was left out."""
        if not self._uses.get(tensor):
            return
        if array is not None:
            self._tensors[tensor] = array
        for stage in self._route.takers.get(tensor, ()):
            self._missing[stage.index] -= 1
            if not self._missing[stage.index]:
                yield stage

    def _used(self, tensor: str) -> None:
        self._uses[tensor] -= 1
        if not self._uses[tensor]:
            self._tensors.pop(tensor, None)
