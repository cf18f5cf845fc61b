"""What becomes of the requests of a run that fails, or that somebody interrupts."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.engine import Array
from inference.tensor.batch_runs import BatchRuns, Lost
from inference.tensor.batching import ALONE, Item, Layout
from scheduler.errors import ModelFailed, ModelOutOfMemory

LAYOUT = Layout(ALONE, 1, ("x",))


def item(key: str) -> Item:
    return Item(key, {}, LAYOUT, ALONE)


def runs_of(run: Callable[[], object] = lambda: None) -> BatchRuns[Item]:
    """Make the runs of a model that does as it is told."""

    def ran(*_: object) -> list[Array]:
        run()
        return [np.zeros(1)]

    return BatchRuns[Item](cast(Any, SimpleNamespace(options=SimpleNamespace, run=ran)))


def attempt(runs: BatchRuns[Item], fails: Callable[[list[str]], Exception | None]) -> list[Lost[Item]]:
    """Run what is next; return what leaves without an answer."""
    batch = runs.next(lambda: [])
    if error := fails([one.key for one in batch]):
        return runs.failed(batch, error)
    return []


@given(st.integers(1, 40), st.data())
@settings(deadline=None)
def test_only_those_at_fault_leave_and_all_others_run(count: int, data: st.DataObject) -> None:
    culprits = {f"{number}" for number in data.draw(st.sets(st.integers(0, count - 1), max_size=4))}
    ran: list[str] = []

    def fails(keys: list[str]) -> Exception | None:
        if culprits.intersection(keys):
            return RuntimeError("bad")
        ran.extend(keys)
        return None

    runs = runs_of()
    everything = [item(str(number)) for number in range(count)]
    first = list(everything)
    lost: list[Lost[Item]] = runs.failed(first, RuntimeError("bad")) if culprits else []
    while runs:
        lost += attempt(runs, fails)
    assert {one.item.key for one in lost} == culprits
    assert all(isinstance(one.error, ModelFailed) for one in lost)
    if culprits:
        assert sorted([*ran, *culprits]) == sorted(one.key for one in everything)


def test_a_run_without_memory_is_that_request_s_error_only_once_it_is_alone() -> None:
    runs = runs_of()
    assert runs.failed([item("a"), item("b")], MemoryError()) == []
    assert [one.key for one in runs.next(lambda: [])] == ["a"]
    [lost] = runs.failed([item("a")], MemoryError())
    assert isinstance(lost.error, ModelOutOfMemory)


@pytest.mark.parametrize("fails", [True, False], ids=["the run ends by it", "the run ends by itself"])
def test_an_interrupted_request_leaves_without_an_error_and_the_others_run_again(fails: bool) -> None:
    batch = [item("a"), item("gone"), item("c")]
    runs = runs_of(lambda: runs.interrupt("gone"))
    runs.run(batch, ("y",), lambda items: {})
    lost = runs.failed(batch, RuntimeError("terminated")) if fails else runs.apart(batch)
    assert [(one.item.key, one.error) for one in lost] == [("gone", None)]
    again = []
    while runs:
        again.append([one.key for one in runs.next(lambda: [])])
    assert again == ([["a", "c"]] if fails else [["a"], ["c"]])
    assert not runs.take_interrupted()


def test_what_is_forgotten_does_not_run_again_and_the_rest_comes_before_what_is_new() -> None:
    runs, told = runs_of(), list[list[str]]()
    runs.tell(lambda keys: told.append(list(keys)))
    runs.failed([item("a"), item("b"), item("c")], RuntimeError("bad"))
    runs.forget("a")
    assert [one.key for one in runs.next(lambda: [item("new")])] == ["b", "c"]
    assert [one.key for one in runs.next(lambda: [item("new"), item("new")])] == ["new", "new"]
    assert runs.next(lambda: []) == []
    assert told == [["b", "c"], ["new"]], "a key is told once, however many of its texts run"
