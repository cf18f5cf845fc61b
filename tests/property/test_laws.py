"""Laws that hold for all inputs: sharing between levels, the window, page tokens, bundles on the log."""

import asyncio
import string
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.tasks.v1 import task_pb2, task_service_pb2
from scheduler.bundles import MAX_BUNDLE_BYTES, MAX_BUNDLE_TASKS
from scheduler.errors import InvalidInput
from scheduler.ids import new_ids
from scheduler.lanes import Lane
from scheduler.policies.levels import WeightedLevels
from scheduler.policies.policy import Policy
from scheduler.states import Level
from scheduler.window import WaitingTask, Window
from services.gateway.fingerprint import Fingerprints
from services.gateway.page_token import PageTokens
from services.gateway.publisher import bundle_publisher

quick = settings(max_examples=50, deadline=None)

LEVELS = list(Level)
weights = st.fixed_dictionaries({level: st.integers(1, 100) for level in LEVELS})

# --- Sharing between levels ----------------------------------------------------------------------------------


@quick
@given(weights, st.sets(st.sampled_from(LEVELS), min_size=1), st.integers(1, 400))
def test_levels_that_always_wait_share_the_starts_by_weight(
    weights: dict[Level, int], waiting: set[Level], starts: int
) -> None:
    levels = WeightedLevels(weights)
    started = dict.fromkeys(waiting, 0)
    for _ in range(starts):
        chosen = levels.pick(waiting)
        assert chosen is not None
        levels.charge(chosen)
        started[chosen] += 1
    # Nobody got more for its weight than any other will have after one more start.
    for one in waiting:
        for other in waiting:
            assert started[one] / weights[one] <= (started[other] + 1) / weights[other] + 1e-9


@quick
@given(
    weights,
    st.sampled_from(LEVELS),
    st.lists(st.sets(st.sampled_from(LEVELS)), min_size=1, max_size=300),
)
def test_a_level_that_keeps_waiting_is_not_passed_over_for_long_whatever_the_others_do(
    weights: dict[Level, int], patient: Level, arrivals: list[set[Level]]
) -> None:
    levels = WeightedLevels(weights)
    others = sum(weight for level, weight in weights.items() if level is not patient)
    levels.arrive(patient)
    waiting: set[Level] = {patient}
    passed_over = 0
    for arrived in arrivals:
        for level in arrived - waiting:
            levels.arrive(level)
        waiting = arrived | {patient}
        chosen = levels.pick(waiting)
        assert chosen in waiting
        levels.charge(chosen)
        passed_over = 0 if chosen is patient else passed_over + 1
        # An idle level comes back at the patient one's last start tag, two of the patient one's steps before its
        # next tag; a level that waited too is at most one start further back than its share.
        assert passed_over <= 2 * others / weights[patient] + len(LEVELS) - 1


# --- The window ----------------------------------------------------------------------------------------------

MODELS = ("a", "b", "c")
Task = WaitingTask[int, None]
tasks_of_bundle = st.lists(st.sampled_from(MODELS), max_size=6)
moves = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from(LEVELS), st.integers(0, 1), tasks_of_bundle),
        st.tuples(
            st.just("take"), st.dictionaries(st.sampled_from(MODELS), st.integers(-1, 5)), st.integers(0, 8)
        ),
    ),
    max_size=30,
)


def in_order(tasks: Sequence[Task]) -> bool:
    return all(before.envelope < after.envelope for before, after in pairwise(tasks))


@quick
@given(moves, weights, st.booleans())
def test_the_window_gives_each_task_once_in_order_and_within_credit(
    moves: list[tuple[object, ...]], weights: dict[Level, int], by_bundle: bool
) -> None:
    window: Window[int, None] = Window(8, Policy(weights=weights))
    added: list[Task] = []
    taken: list[Task] = []

    def take(credits: Mapping[str, int], limit: int) -> None:
        batch = window.take(credits, limit)
        assert len(batch) <= limit
        for model in MODELS:
            assert sum(task.model == model for task in batch) <= max(0, credits.get(model, 0))
        left = [task for task in added if task not in taken and task not in batch]
        # It is not stingy either: what is left had no credit, or the limit was reached.
        spare = {
            model: credits.get(model, 0) - sum(task.model == model for task in batch) for model in MODELS
        }
        assert len(batch) == limit or all(spare[task.model] <= 0 for task in left)
        taken.extend(batch)

    for move in moves:
        match move:
            case ("add", Level() as level, int() as index, list() as models):
                lane = Lane("default", level, index)
                first = len(added)
                bundle: list[Task] = [
                    WaitingTask(str(first + i), 1, model, lane, first + i, first + i, None, first + i)
                    for i, model in enumerate(models)
                ]
                if by_bundle:
                    window.extend(lane, bundle)
                else:
                    for task in bundle:
                        window.add(task)
                added += bundle
            case ("take", dict() as credits, int() as limit):
                take(credits, limit)
        assert sum(window.depths().values()) == len(added) - len(taken)
    take(dict.fromkeys(MODELS, len(added)), len(added))

    assert sorted(task.envelope for task in taken) == list(range(len(added)))
    for level in LEVELS:
        for model in MODELS:
            assert in_order([task for task in taken if task.lane.level is level and task.model == model])
    assert window.models() == set()
    assert all(window.has_room(Lane("default", level, index)) for level in LEVELS for index in (0, 1))


# --- Page tokens ---------------------------------------------------------------------------------------------

texts = st.text(max_size=12)
filters = st.builds(
    task_service_pb2.TaskFilter,
    states=st.lists(st.sampled_from(task_pb2.TaskState.values()), max_size=3),
    model=texts,
    pool=texts,
    labels=st.dictionaries(texts, texts, max_size=4),
)
task_ids = st.builds(lambda part, at: new_ids(part, 1, at)[0], st.integers(0, 63), st.integers(0, 1 << 41))
tokens = PageTokens(Fingerprints(b"a secret of the gateways"))


@quick
@given(texts, filters, task_ids)
def test_a_page_token_reads_back_for_its_tenant_and_filter(
    tenant: str, wanted: task_service_pb2.TaskFilter, task_id: str
) -> None:
    same = task_service_pb2.TaskFilter.FromString(wanted.SerializeToString())
    assert tokens.read(tenant, same, tokens.make(tenant, wanted, task_id)) == task_id


@quick
@given(texts, texts, filters, filters, task_ids)
def test_a_page_token_is_refused_for_another_tenant_filter_or_secret(
    tenant: str,
    stranger: str,
    wanted: task_service_pb2.TaskFilter,
    other: task_service_pb2.TaskFilter,
    task_id: str,
) -> None:
    token = tokens.make(tenant, wanted, task_id)
    elsewhere = PageTokens(Fingerprints(b"a secret of others"))
    readers = [(elsewhere, tenant, wanted)]
    readers += [(tokens, stranger, wanted)] if stranger != tenant else []
    readers += [(tokens, tenant, other)] if other != wanted else []
    for reader, caller, filter_ in readers:
        with pytest.raises(InvalidInput):
            reader.read(caller, filter_, token)


@quick
@given(filters, task_ids, st.data())
def test_a_page_token_with_one_changed_character_is_refused(
    wanted: task_service_pb2.TaskFilter, task_id: str, data: st.DataObject
) -> None:
    token = tokens.make("tenant", wanted, task_id)
    at = data.draw(st.integers(0, len(token) - 1))
    alphabet = string.ascii_letters + string.digits + "-_+/=. é"
    char = data.draw(st.sampled_from(alphabet).filter(lambda char: char != token[at]))
    with pytest.raises(InvalidInput):
        tokens.read("tenant", wanted, token[:at] + char + token[at + 1 :])


@quick
@given(st.text(min_size=1, max_size=80))
def test_any_text_is_either_refused_or_a_token_of_ours(text: str) -> None:
    with suppress(InvalidInput):
        last_id = tokens.read("tenant", task_service_pb2.TaskFilter(), text)
        assert tokens.make("tenant", task_service_pb2.TaskFilter(), last_id) == text


# --- Bundles on the log --------------------------------------------------------------------------------------

LANE = Lane("default", Level.NORMAL, 0)


class ListLog:
    """Keeps what it is given; acknowledges after a turn of the loop, so that bundles gather."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    async def publish(self, lane: Lane, payload: bytes, properties: Mapping[str, str]) -> None:
        self.payloads.append(payload)
        await asyncio.sleep(0)

    async def set_aside(self, lane: Lane, payload: bytes, fault: str) -> None:
        raise AssertionError

    async def park(self, pool: str, payload: bytes) -> None:
        raise AssertionError

    async def journal(self, payload: bytes) -> None:
        raise AssertionError

    async def close(self) -> None:
        """Do nothing."""


# Mostly small tasks, some that fill a bundle quickly, some that are larger than one.
sizes = st.one_of(
    st.lists(st.integers(4, 40), min_size=1, max_size=20),
    st.lists(st.sampled_from([100, 90_000, MAX_BUNDLE_BYTES, MAX_BUNDLE_BYTES + 1]), min_size=1, max_size=6),
    st.integers(MAX_BUNDLE_TASKS - 1, 2 * MAX_BUNDLE_TASKS + 1).map(lambda count: [8] * count),
)


@quick
@given(st.lists(sizes, min_size=1, max_size=4))
async def test_bundles_carry_every_task_once_in_order_and_within_bounds(calls: list[list[int]]) -> None:
    number = iter(range(1 << 30))
    framed = [[next(number).to_bytes(4, "big") + b"\0" * (size - 4) for size in call] for call in calls]
    carried: list[int] = []
    log = ListLog()
    async with bundle_publisher(log, carried.append) as publisher:
        parcels = [parcel for call in framed for parcel in publisher.hand_over(LANE, call, "")]
        assert await asyncio.gather(*(parcel.outcome for parcel in parcels)) == [None] * len(parcels)
    assert [frame for parcel in parcels for frame in parcel.frames] == [f for call in framed for f in call]
    assert b"".join(log.payloads) == b"".join(frame for call in framed for frame in call)
    for payload, tasks in zip(log.payloads, carried, strict=True):
        assert 1 <= tasks <= MAX_BUNDLE_TASKS
        assert len(payload) <= MAX_BUNDLE_BYTES or tasks == 1
