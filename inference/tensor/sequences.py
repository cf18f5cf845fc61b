"""Sequences of calls between which a model keeps state: who is known, whose call may run, and the state itself.

Calls of one sequence run strictly one after the other, in the order in which they came: only the first of them is ever
in the batcher. A call that fails or is cancelled leaves the state as it was before, so it can be sent again; one that
was to begin a sequence leaves none, and those behind it are told that the sequence is unknown.

Names: a sequence is one of a tenant, so two tenants never share state, however they name theirs.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from inference.engine import Array
from inference.repository.definition import Sequences
from inference.tensor.batching import ALONE, Item
from inference.tensor.state import States
from scheduler.errors import Overloaded, SequenceUnknown


@dataclass(slots=True, eq=False)
class StateSequence:
    """One sequence."""

    whose: tuple[str, str]
    """Tenant and id."""
    state: Mapping[str, Array] | None = None
    """By the names of the model's inputs; None where it has not begun, or has ended."""
    calls: deque[Item | None] = field(default_factory=deque)
    """Those that have not ended; the first may run. None where one that was to begin the sequence is cancelled: there
    its state ends."""
    idle_since_s: float = 0.0

    @property
    def goes_on(self) -> bool:
        """Whether a call that does not begin it can follow what was taken in so far."""
        if self.calls:
            last = self.calls[-1]
            return last is not None and last.place is not None and not last.place.end
        return self.state is not None


class SequenceTable:
    """Every sequence of one model. Owned by the thread that steps."""

    def __init__(self, definition: Sequences, states: States, clock: Callable[[], float]) -> None:
        self._definition = definition
        self._states = states
        self._clock = clock
        self._all: dict[tuple[str, str], StateSequence] = {}
        self._idle: OrderedDict[tuple[str, str], StateSequence] = OrderedDict()
        """Those without a call, the one that has been so for longest in front."""

    def __len__(self) -> int:
        return len(self._all)

    def admit(self, item: Item, tenant: str) -> bool:
        """Take a call in; tell whether it may run now.

        Raises SequenceUnknown, Overloaded when there are too many sequences.
        """
        place = item.place
        assert place is not None, "checked where requests are read"
        self._forget_idle()
        whose = (tenant, place.id)
        sequence = self._all.get(whose)
        if not place.start and (sequence is None or not sequence.goes_on):
            raise SequenceUnknown
        if sequence is None:
            most = self._definition.most
            if len(self._all) >= most:
                raise Overloaded(
                    f"the model keeps the state of {most} sequences, and no more",
                    retry_after_s=self._definition.longest_idle_s,
                )
            sequence = self._all[whose] = StateSequence(whose)
        self._idle.pop(whose, None)
        item.sequence = sequence
        sequence.calls.append(item)
        return len(sequence.calls) == 1

    def prepare(self, item: Item) -> bool:
        """Get the first call of a sequence ready to run; False when its state is lost: it cannot."""
        sequence, place = item.sequence, item.place
        assert sequence is not None and place is not None, "the call of a sequence"
        if place.start:
            sequence.state = None
            state = self._states.initial
        elif sequence.state is None:
            return False
        else:
            state = sequence.state
        item.bucket = self._bucket(item.layout.bucket, state)
        return True

    def feeds(self, batch: Sequence[Item]) -> dict[str, Array]:
        """Return state and controls of a run."""
        initial = self._states.initial
        states = [
            item.sequence.state if item.sequence is not None and item.sequence.state is not None else initial
            for item in batch
        ]
        return self._states.feeds(states, batch)

    def keep(self, batch: Sequence[Item], outputs: Mapping[str, Array], gone: Collection[str] = ()) -> None:
        """Keep what a run made of the states, except by the calls that are `gone`."""
        for item, state in zip(batch, self._states.parts(outputs, len(batch)), strict=True):
            if item.sequence is not None and item.place is not None and item.key not in gone:
                item.sequence.state = None if item.place.end else state

    def ended(self, item: Item) -> Item | None:
        """Let go of a call that ended, or that nobody wants any more; return the one that may run now, if another."""
        sequence = item.sequence
        assert sequence is not None, "the call of a sequence"
        calls = sequence.calls
        waits_for_others = calls.index(item) > 0
        if waits_for_others:
            if item.place is not None and item.place.start:
                calls[calls.index(item)] = None
            else:
                calls.remove(item)
            return None
        calls.popleft()
        while calls and calls[0] is None:
            calls.popleft()
            sequence.state = None
        if calls:
            return calls[0]
        if sequence.state is None:
            self._all.pop(sequence.whose, None)
        else:
            sequence.idle_since_s = self._clock()
            self._idle[sequence.whose] = sequence
        return None

    def clear(self) -> None:
        """Forget everything."""
        self._all.clear()
        self._idle.clear()

    def _bucket(self, bucket: Hashable, state: Mapping[str, Array]) -> Hashable:
        if bucket == ALONE or not self._states.vary:
            return bucket
        return (bucket, tuple(state[name].shape for name in self._states.vary))

    def _forget_idle(self) -> None:
        before_s = self._clock() - self._definition.longest_idle_s
        while self._idle:
            whose, sequence = next(iter(self._idle.items()))
            if sequence.idle_since_s >= before_s:
                break
            del self._idle[whose], self._all[whose]
