"""The tasks of one call that depend on others: in which order they can be recorded, and which never can. No I/O.

A task can be sealed when the ids of its parents are known. The id of a task without a key is known as soon as it is
drafted, so a whole graph of such tasks is recorded at once. A task with a key may turn out to exist under another id,
so its children wait for the answer of the record store; but keys that the client library made for one call live in one
partition and are recorded in one step, all or none, so those are known at once too.
"""

from collections import deque
from collections.abc import Collection, Sequence
from typing import Final

from forebay.tasks.v1 import task_pb2
from scheduler.errors import ForebayError
from services.gateway.validation import invalid_spec

AUTOMATIC_KEY: Final = "auto-"
"""How idempotency keys begin that the client library makes: `auto-<call>/<number>`."""


def automatic_call(key: str) -> str:
    """Return the part of a key that all automatic keys of one call share; empty for another key."""
    if not key.startswith(AUTOMATIC_KEY):
        return ""
    head, slash, _ = key.partition("/")
    return head if slash else ""


class Dependents:
    """Knows of each dependent task of a call how many parents have no id so far.

    Costs one look at each dependency, whatever the depth.
    """

    def __init__(self, specs: Sequence[task_pb2.TaskSpec], places: Collection[int]) -> None:
        """`places` are those of the dependent tasks, whose specs passed validation."""
        self._specs = specs
        self._missing: dict[int, int] = {}
        self._children: dict[int, list[int]] = {}
        self._ids: dict[int, str] = {}
        self._ready: deque[int] = deque()
        self.refused: dict[int, ForebayError] = {}
        for place in places:
            self._enter(place)

    def _enter(self, place: int) -> None:
        indexes: list[int] = []
        for number, dependency in enumerate(self._specs[place].depends_on):
            if dependency.WhichOneof("task") != "index":
                continue
            if dependency.index == place:
                self._refuse(place, number, "index", "is the task itself")
            elif 0 <= dependency.index < len(self._specs):
                indexes.append(dependency.index)
            else:
                fault = f"must be the place of one of the {len(self._specs)} tasks of the call"
                self._refuse(place, number, "index", f"{fault}, is {dependency.index}")
        self._missing[place] = len(indexes)
        for index in indexes:
            self._children.setdefault(index, []).append(place)
        if not indexes and place not in self.refused:
            self._ready.append(place)

    def named(self) -> list[str]:
        """Return the ids that parents are named by, each once."""
        ids = (
            dependency.id
            for place in self._missing
            for dependency in self._specs[place].depends_on
            if dependency.WhichOneof("task") == "id"
        )
        return list(dict.fromkeys(ids))

    def refuse_unknown(self, known: Collection[str]) -> None:
        """Refuse tasks with a parent that is named by an id that is not known."""
        for place in self._missing:
            for number, dependency in enumerate(self._specs[place].depends_on):
                if dependency.WhichOneof("task") == "id" and dependency.id not in known:
                    self._refuse(place, number, "id", "there is no such task")

    def foresee(self, place: int, task_id: str) -> None:
        """Learn the id that a task was drafted under, for those children that can rely on it."""
        children = self._children.get(place)
        if not children:
            return
        self._ids[place] = task_id
        key = self._specs[place].idempotency_key
        call = automatic_call(key)
        sure: list[int] = []
        waiting: list[int] = []
        for child in children:
            same_call = call and automatic_call(self._specs[child].idempotency_key) == call
            (sure if not key or same_call else waiting).append(child)
        self._children[place] = waiting
        self._release(sure)

    def settle(self, place: int, task_id: str) -> None:
        """Learn the id under which a task exists."""
        if place in self._children:
            self._ids[place] = task_id
            self._release(self._children.pop(place))

    def refuse_children(self, place: int) -> None:
        """Learn that a task was refused: so are its children, and theirs."""
        stack = [place]
        while stack:
            refused = stack.pop()
            for child in self._children.pop(refused, ()):
                if child not in self.refused:
                    number = self._number(child, refused)
                    self._refuse(child, number, "index", f"tasks[{refused}] was refused")
                    stack.append(child)

    def next(self) -> int | None:
        """Return the place of a task whose parents all have ids, once; None when there is none now."""
        while self._ready:
            place = self._ready.popleft()
            if place not in self.refused:
                return place
        return None

    def parents(self, place: int) -> tuple[str, ...]:
        """Return the ids of a task's parents, in the order of its `depends_on`."""
        return tuple(
            dependency.id if dependency.WhichOneof("task") == "id" else self._ids[dependency.index]
            for dependency in self._specs[place].depends_on
        )

    def refuse_rest(self) -> None:
        """Refuse what never became ready: what depends, in the end, on itself or on a task that does."""
        for place, missing in self._missing.items():
            if missing and place not in self.refused:
                number = next(
                    number
                    for number, dependency in enumerate(self._specs[place].depends_on)
                    if dependency.WhichOneof("task") == "index" and self._missing.get(dependency.index)
                )
                self._refuse(place, number, "index", "closes a cycle, or hangs on one")

    def _number(self, child: int, parent: int) -> int:
        return next(
            number
            for number, dependency in enumerate(self._specs[child].depends_on)
            if dependency.WhichOneof("task") == "index" and dependency.index == parent
        )

    def _refuse(self, place: int, number: int, kind: str, fault: str) -> None:
        if place not in self.refused:
            self.refused[place] = invalid_spec(place, [(f"depends_on[{number}].{kind}", fault)])

    def _release(self, children: Collection[int]) -> None:
        for child in children:
            self._missing[child] -= 1
            if not self._missing[child]:
                self._ready.append(child)


def resolved(spec: task_pb2.TaskSpec, parents: Sequence[str]) -> task_pb2.TaskSpec:
    """Return a spec that names its parents by id."""
    copy = task_pb2.TaskSpec()
    copy.CopyFrom(spec)
    copy.ClearField("depends_on")
    for parent in parents:
        copy.depends_on.add(id=parent)
    return copy
