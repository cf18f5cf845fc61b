"""Words of `forebay policy set`, as changes of a policy; and a policy in such words."""

import re
from dataclasses import replace

import pytest
from click.testing import CliRunner

from forebay.client import PolicyChanges, PolicyLimit, Priority
from services.cli.__main__ import cli
from services.cli.policy_edits import changes, read_edits, shown
from tests.unit.sdk.test_policy import LIMITS, READ


def changed(*words: str) -> PolicyChanges:
    return changes(read_edits(words), READ)


def test_fields_are_set_by_their_names() -> None:
    words = ("order=fifo", "ageing=2m", "express_slack=never", "stretch=0", "expire_early=yes", "cost_label=")
    assert changed(*words, "level_mode=WEIGHTED", "patience=1.5h", "ageing_every=9") == {
        "order": "fifo",
        "ageing_s": 120.0,
        "express_slack_s": 0.0,
        "stretch": 0.0,
        "expire_early": True,
        "cost_label": "",
        "level_mode": "weighted",
        "patience_s": 5400.0,
        "ageing_every": 9,
    }


def test_entries_are_set_beside_those_that_are_there() -> None:
    assert changed("weights.low=2", "tenant_weights.b=c=0.5", "routing.m-1.5=weighted") == {
        "weights": {Priority.HIGH: 5, Priority.LOW: 2},
        "tenant_weights": {"a": 3.0, "b=c": 0.5},
        "routing": {**READ.routing, "m-1.5": "weighted"},
    }
    assert changed("routing=weighted") == {"routing": {**READ.routing, "": "weighted"}}


def test_default_takes_back_a_field_or_an_entry() -> None:
    words = ("ageing=default", "weights=default", "weights.low=2", "routing.m=default", "limit.clear")
    assert changed(*words) == {
        "ageing_s": None,
        "weights": {"low": 2},
        "routing": {"": "round_robin"},
        "limits": (),
    }
    assert changed("tenant_weights=default", "tenant_weights.b=2") == {"tenant_weights": {"b": 2.0}}


def test_a_limit_takes_the_place_of_the_one_for_the_same_tasks() -> None:
    assert changed("limit.add=tenant=a level=low queued=9", "limit.add=tenant=a rate=2") == {
        "limits": (LIMITS[1], PolicyLimit("a", "low", queued_tasks=9), PolicyLimit("a", rate=2.0))
    }
    assert changed("limit.remove=shared") == {"limits": (LIMITS[0],)}
    with pytest.raises(ValueError, match=r"^limit\.remove=tenant=b: there is no limit for these tasks"):
        changed("limit.remove=tenant=b")


def test_a_policy_is_shown_in_words_that_set_it() -> None:
    assert dict(shown(READ)) == {
        "level_mode": "strict",
        "weights": "high=5 low=1",
        "ageing": "60.5s",
        "ageing_every": "4",
        "order": "shortest",
        "stretch": "2.5",
        "patience": "600s",
        "express_slack": "never",
        "expire_early": "false",
        "tenant_weights": "a=3",
        "limit": "shared rate=0.5 burst=2",
        "routing": "=round_robin m=prefix_affinity",
        "cost_label": "kind",
    }
    other = replace(READ, order="fifo", ageing_s=1.0, express_slack_s=5.0, stretch=0.25)
    words = [f"{name}={text}" for name, text in shown(other) if name in ("order", "ageing", "express_slack")]
    assert changed(*words) == {"order": "fifo", "ageing_s": 1.0, "express_slack_s": 5.0}


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("colour=red", "'colour=red' is not FIELD=VALUE with a field of level_mode, weights"),
        ("order", "'order' is not FIELD=VALUE"),
        ("order=best", "order=best: 'best' is none of fifo, shortest, deadline, balanced"),
        ("ageing=soon", "ageing=soon: 'soon' is no length of time"),
        ("ageing_every=1.5", "ageing_every=1.5: '1.5' is not a whole number"),
        ("expire_early=maybe", "expire_early=maybe: 'maybe' is neither true nor false"),
        ("weights=3", "weights=3: takes default as a whole; its entries are set one by one"),
        ("weights.urgent=3", "weights.urgent=3: 'urgent' is none of critical, high, normal, low"),
        ("weights.low=some", "weights.low=some: 'some' is not a whole number"),
        ("tenant_weights.a", "'tenant_weights.a' is not FIELD=VALUE"),
        ("routing.m=best", "routing.m=best: 'best' is none of least_outstanding"),
        ("limit.more=x", "limit.more=x: a limit is changed by limit.add=, limit.remove= and limit.clear"),
        ("limit.add=rate=x", "limit.add=rate=x: rate: 'x' is not a number"),
    ],
)
def test_a_word_that_cannot_be_meant_is_a_usage_error_before_a_server_is_asked(
    word: str, sentence: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        read_edits([word])
    result = CliRunner().invoke(cli, ["--address", "127.0.0.1:1", "policy", "set", word])
    assert result.exit_code == 2
    assert sentence in result.output


def test_something_must_be_said() -> None:
    result = CliRunner().invoke(cli, ["policy", "set"])
    assert result.exit_code == 2
