"""The engines of an ensemble's models, each of which several steps may share, seen as one."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from inference.engine import Delays, Engine, Follows, SharesRuns, TellsRuns
from inference.ensemble.members import Member
from inference.ensemble.plan import Plan, Stage
from scheduler.policies.policy import Policy


def inner_key(key: str, stage: Stage) -> str:
    """Return the key of a request's step inside its model."""
    return f"{key}/{stage.index}"


def outer_key(inner: str) -> tuple[str, int]:
    """Return the request and the number of the step that have a key inside a model."""
    key, _, index = inner.rpartition("/")
    return key, int(index)


class MemberEngines:
    """Every model once, in the order of the steps. `runs` and `interrupt` are for any thread."""

    def __init__(self, plan: Plan, members: Sequence[Member]) -> None:
        """`members` are those of the steps."""
        self._plan = plan
        self._members = tuple({id(member.engine): member for member in members}.values())
        self._steps = Counter(id(member.engine) for member in members)
        """How many steps a model has."""

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members)

    def __reversed__(self) -> Iterator[Member]:
        return reversed(self._members)

    @property
    def capacity(self) -> int:
        """How many requests the one of them can hold that holds the fewest, each with all its steps there."""
        return min(
            max(1, member.engine.capacity // self._steps[id(member.engine)]) for member in self._members
        )

    @property
    def together(self) -> int:
        """How many requests one run takes at most, in the one that takes the fewest."""
        return min(
            member.engine.together if isinstance(member.engine, SharesRuns) else member.engine.capacity
            for member in self._members
        )

    @property
    def due_s(self) -> float:
        """Return the monotonic time before which none of them would do anything; 0 for at once."""
        return min((_due_s(member.engine) for member in self._members if member.engine.active), default=0.0)

    def follow(self, policy: Policy) -> None:
        """Let each choose by another policy from now on."""
        for member in self._members:
            if isinstance(member.engine, Follows):
                member.engine.follow(policy)

    def tell_runs(self, tell: Callable[[Sequence[str]], None]) -> None:
        """Have the requests of each run told before it, on the thread that steps."""
        for member in self._members:
            if isinstance(member.engine, TellsRuns):
                member.engine.tell_runs(lambda keys: tell([outer_key(key)[0] for key in keys]))

    def runs(self, key: str) -> bool:
        """Tell whether one of them runs a request now."""
        return any(
            engine.runs(inner_key(key, stage))
            for stage in self._plan.stages
            if (engine := stage.member.interruptible) is not None
        )

    def interrupt(self, key: str, found: Callable[[], object]) -> None:
        """Cancel a request where it runs now; `found` is called before."""
        for stage in self._plan.stages:
            engine = stage.member.interruptible
            inner = inner_key(key, stage)
            if engine is not None and engine.runs(inner):
                found()
                engine.interrupt(inner)

    def warm_up(self) -> None:
        """Warm each up. Raises ModelUnusable when a sample of one does not run."""
        for member in self._members:
            member.engine.warm_up()

    def close(self) -> None:
        """Let go of all. Idempotent."""
        for member in self._members:
            member.engine.close()


def _due_s(engine: Engine) -> float:
    return engine.due_s if isinstance(engine, Delays) else 0.0
