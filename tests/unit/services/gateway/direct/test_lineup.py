"""Runners' cards, put in order by pool, model and version."""

from typing import Any

import pytest

from forebay.models.v1 import model_service_pb2 as models
from forebay.runner.v1.runner_service_pb2 import WatchStatusResponse
from scheduler.errors import ModelNotFound
from services.gateway.direct.lineup import Lineup, read_cards

READY, LOADING = models.RUNNER_STATE_READY, models.RUNNER_STATE_LOADING
DRAINING, FAILED = models.RUNNER_STATE_DRAINING, models.RUNNER_STATE_FAILED


def card(
    id_: str, model: str = "m", version: int = 0, state: Any = READY, digest: str = "d", **runner: Any
) -> WatchStatusResponse:
    described = models.Runner(id=id_, model=model, version=version, state=state, address="h:1", **runner)
    response = WatchStatusResponse(runner=described)
    if digest:
        response.model.CopyFrom(models.Model(name=model, digest=digest, engine=models.ENGINE_KIND_TENSOR))
    return response


def lineup(*cards: WatchStatusResponse) -> Lineup:
    return Lineup({one.runner.id: one for one in cards})


def test_a_model_has_its_runners_by_id_and_is_ready_when_one_of_them_is() -> None:
    known = lineup(card("b"), card("a", state=LOADING, digest="")).model("m")
    assert [runner.id for runner in known.runners] == ["a", "b"]
    assert (known.ready, known.model.digest, known.model.ready_runners) == (True, "d", 1)
    assert not lineup(card("a", state=DRAINING)).model("m").ready


def test_the_highest_version_that_is_ready_answers_to_the_bare_name() -> None:
    found = lineup(card("a", "m@1", 1), card("b", "m", 2), card("c", "m@3", 3, LOADING))
    assert found.model("m").version == 2
    assert [found.model("m", version).version for version in (1, 2, 3)] == [1, 2, 3]
    assert found.model("m@3").version == 3
    assert found.model("m").versions == found.model("m@1").versions == [1, 2]
    assert [found.model("m", version).latest for version in (1, 2, 3)] == [False, True, False]


def test_while_none_is_ready_the_highest_version_answers_to_the_bare_name() -> None:
    found = lineup(card("a", "m@1", 1, LOADING), card("b", "m", 2, LOADING))
    assert (found.model("m").version, found.model("m").versions) == (2, [])


def test_of_two_generations_the_later_one_describes_the_model() -> None:
    found = lineup(card("a", digest="old", generation=1), card("b", digest="new", generation=2))
    assert found.model("m").model.digest == "new"
    found = lineup(
        card("a", digest="old", generation=1), card("b", digest="new", generation=2, state=LOADING)
    )
    assert found.model("m").model.digest == "old"


def test_pools_are_apart_and_no_pool_is_the_default_one() -> None:
    found = lineup(card("a", pool="gpu"), card("b", "other"))
    assert found.model("m", pool="gpu").pool == "gpu"
    assert found.model("other").pool == "default"
    with pytest.raises(ModelNotFound, match="pool default"):
        found.model("m")


@pytest.mark.parametrize(
    "name", ["", "n", "m@", "m@0", "m@2", "m@x", "m@-1", "m@1@1", "@1", "m@" + "9" * 400]
)
def test_what_nobody_announces_is_not_found(name: str) -> None:
    with pytest.raises(ModelNotFound):
        lineup(card("a", "m@1", 1)).model(name)


def test_why_runners_failed_is_known() -> None:
    known = lineup(card("a", state=FAILED, digest="", reason="no such file")).model("m")
    assert (known.ready, list(known.model.failures)) == (False, ["no such file"])


def test_cards_that_cannot_be_read_hide_no_others_and_those_that_stay_are_read_once() -> None:
    raw = card("a").SerializeToString()
    first = read_cards([("a", raw), ("b", b"\xff\xff"), ("c", b"")], {})
    assert list(first) == ["a"]
    again = read_cards([("a", raw)], first)
    assert again["a"] is first["a"]
    changed = read_cards([("a", card("a", digest="new").SerializeToString())], first)
    assert changed["a"][1].model.digest == "new"


def test_what_a_model_is_comes_from_all_its_ready_runners_and_is_unknown_where_one_does_not_say() -> None:
    one, two = card("a", answers_digest="1"), card("b", answers_digest="2")
    both = lineup(one, two).model("m")
    assert lineup(two, one).model("m").identity == both.identity
    assert lineup(one, card("c", answers_digest="1")).model("m").identity == lineup(one).model("m").identity
    loading = card("b", answers_digest="2", state=LOADING)
    assert lineup(one, loading).model("m").identity == lineup(one).model("m").identity
    assert len({both.identity, lineup(one).model("m").identity, lineup(two).model("m").identity}) == 3
    assert lineup(one, card("b")).model("m").identity == b""
    assert lineup(loading).model("m").identity == b""


def test_a_model_draws_or_is_unsteady_when_one_of_its_ready_runners_is() -> None:
    found = lineup(card("a", draws=True), card("b", unsteady_chats=True, state=LOADING)).model("m")
    assert (found.draws, found.unsteady_chats) == (True, False)
