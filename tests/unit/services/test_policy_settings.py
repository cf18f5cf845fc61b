"""The initial policy: from a file, from the environment, and what it is refused for."""

import re
from pathlib import Path

import pytest

from scheduler.errors import StartupRefused
from scheduler.policies.policy import DEFAULT_POLICY, LevelMode, Limit, Policy, Routing, TaskOrder
from scheduler.states import Level
from services.connections import QueueSettings
from services.policy_settings import PolicySettings
from services.policy_texts import limit_text, number_text, read_limit, read_number, read_seconds, read_truth
from services.settings import load

FILE = """
[policy]
level_mode = "strict"
ageing_s = 60
order = "shortest"
expire_early = false
tenant_weights = ["acme=2", "a=b=0.5"]
limits = ["tenant=acme level=low queued=1000 work=2m rate=50 burst=100", "shared rate=0.5"]
routing = ["smollm2=prefix_affinity", "=round_robin"]
"""


def test_without_settings_the_initial_policy_is_the_default() -> None:
    assert (
        PolicySettings().to_policy(QueueSettings().weights) == DEFAULT_POLICY == PolicySettings().to_policy()
    )


def test_a_policy_is_read_from_a_file_and_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "forebay.toml"
    file.write_text(FILE)
    environ = {
        "FOREBAY_POLICY_AGEING_EVERY": "4",
        "FOREBAY_POLICY_LIMITS": "level=low queued=5, tenant=a work=1.5",
    }
    settings = load(PolicySettings, section="policy", file=file, environ=environ)
    assert settings.to_policy(("low=2",)) == Policy(
        level_mode=LevelMode.STRICT,
        weights={**DEFAULT_POLICY.weights, Level.LOW: 2},
        ageing_s=60.0,
        ageing_every=4,
        order=TaskOrder.SHORTEST,
        expire_early=False,
        tenant_weights={"acme": 2.0, "a=b": 0.5},
        limits=(Limit(level=Level.LOW, queued_tasks=5), Limit("a", queued_work_s=1.5)),
        routing={"smollm2": Routing.PREFIX_AFFINITY, "": Routing.ROUND_ROBIN},
    )


@pytest.mark.parametrize(
    ("settings", "weights", "sentence"),
    [
        (
            PolicySettings(order="best"),
            (),
            "setting policy.order: 'best' is none of fifo, shortest, deadline",
        ),
        (PolicySettings(level_mode=""), (), "setting policy.level_mode: '' is none of weighted, strict"),
        (PolicySettings(), ("urgent=2",), "setting queues.weights: 'urgent=2' is not level=weight"),
        (PolicySettings(), ("low=0",), "setting queues.weights.low: must be 1 to 1000000, is 0"),
        (PolicySettings(ageing_s=0.1), (), "setting policy.ageing_s: must be 1 to 604800 seconds"),
        (PolicySettings(ageing_every=1), (), "setting policy.ageing_every: must be 2 to 1000, is 1"),
        (PolicySettings(level_mode="strict", ageing_s=0), (), "setting policy.ageing_s: must not be 0"),
        (PolicySettings(stretch=-1), (), "setting policy.stretch: must be 0 to 1000, is -1"),
        (PolicySettings(patience_s=0), (), "setting policy.patience_s: must be 1 to"),
        (PolicySettings(express_slack_s=-1), (), "setting policy.express_slack_s: must be 0 to"),
        (
            PolicySettings(tenant_weights=("a",)),
            (),
            "setting policy.tenant_weights: 'a' is not tenant=weight",
        ),
        (PolicySettings(tenant_weights=("a=x",)), (), "setting policy.tenant_weights: 'x' is not a number"),
        (
            PolicySettings(tenant_weights=("a=1", "a=2")),
            (),
            "setting policy.tenant_weights: 'a' is there twice",
        ),
        (PolicySettings(tenant_weights=("a=0",)), (), 'setting policy.tenant_weights["a"]: must be above 0'),
        (
            PolicySettings(routing=("m=best",)),
            (),
            "setting policy.routing: 'best' is none of least_outstanding",
        ),
        (PolicySettings(limits=("tenant=a",)), (), "setting policy.limits[0]: bounds nothing"),
        (PolicySettings(limits=("",)), (), "setting policy.limits: an empty text is no limit"),
        (PolicySettings(cost_label="x" * 64), (), "setting policy.cost_label: must be at most 63"),
    ],
)
def test_a_setting_is_refused_by_its_name(
    settings: PolicySettings, weights: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(StartupRefused) as raised:
        settings.to_policy(weights)
    assert str(raised.value).startswith(sentence)


def test_every_fault_is_told_together() -> None:
    with pytest.raises(StartupRefused) as raised:
        PolicySettings(order="best", stretch=-1).to_policy(("x",))
    assert str(raised.value).count("setting ") == 3


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("tenant", "'tenant' is no part of a limit such as: tenant=a level=low"),
        ("tenant=", "'tenant=' is no part of a limit"),
        ("colour=red", "'colour=red' is no part of a limit"),
        ("rate=1 rate=2", "rate is said twice"),
        ("rate=fast", "rate: 'fast' is not a number"),
        ("rate=inf", "rate: 'inf' is not a number"),
        ("queued=1.5", "queued: '1.5' is not a whole number"),
        ("work=1w", "work: '1w' is no length of time such as 500ms"),
        ("level=urgent", "level: 'urgent' is none of critical, high, normal, low"),
        ("shared=perhaps", "shared: 'perhaps' is neither true nor false"),
    ],
)
def test_a_limit_is_refused_by_its_word(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        read_limit(text)


def test_a_limit_is_written_as_it_is_read() -> None:
    assert read_limit("shared=true  rate=1e3") == Limit(shared=True, rate=1000.0)
    text = "shared level=high queued=7 work=90s rate=0.000001 burst=3"
    assert limit_text(read_limit(text)) == text
    assert limit_text(read_limit("tenant=a=b work=2h")) == "tenant=a=b work=7200s"


def test_times_numbers_and_truths_are_read_as_people_write_them() -> None:
    assert [read_seconds(text) for text in ("500ms", "30", "1.5 s", "5m", "2h", "1d")] == [
        0.5,
        30,
        1.5,
        300,
        7200,
        86_400,
    ]
    assert read_number("-2.5") == -2.5 and number_text(0.25) == "0.25"
    assert read_truth("Yes") and not read_truth("off")
