"""Changing the policy while everything runs: by client, by command line, and what is refused.

A task that would run for hours keeps the runner busy until everything else waits, as in `test_priorities.py`.
"""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from forebay.client import (
    Client,
    Conflict,
    InvalidArgument,
    PolicyChanges,
    PolicyInfo,
    PolicyLimit,
    Priority,
    ResourceExhausted,
    TaskState,
    task_spec,
)
from forebay.tasks.v1.task_pb2 import TaskSpec
from tests.e2e.test_priorities import SHORT, busy_runner, countdown, end_of, ended, until_running
from tests.system import System, run_cli, run_json

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

FOLLOWED_S = 10.0
FOLLOWERS = ("gateway", "scheduler", "agent")
"""Logs of those who follow the policy; what runners write is in their agent's."""
DEFAULTS: PolicyChanges = {
    "level_mode": None,
    "weights": None,
    "ageing_s": None,
    "ageing_every": None,
    "order": None,
    "stretch": None,
    "patience_s": None,
    "express_slack_s": None,
    "expire_early": None,
    "tenant_weights": None,
    "limits": None,
    "routing": None,
    "cost_label": None,
}


@pytest.fixture(autouse=True)
def as_found(client: Client) -> Iterator[PolicyInfo]:
    """Take the policy back to its defaults afterwards."""
    yield client.policy()
    client.update_policy(**DEFAULTS)


def until_followed(system: System, version: int) -> None:
    """Return when every process says that it goes by this version of the policy, or by a later one."""
    deadline_s = time.monotonic() + FOLLOWED_S
    for name in FOLLOWERS:
        while not any(found >= version for found in followed(system, name)):
            assert time.monotonic() < deadline_s, f"{name} does not follow version {version}"
            time.sleep(0.05)


def followed(system: System, name: str) -> list[int]:
    lines = (system.data / "logs" / f"{name}.log").read_text("utf-8", "replace").splitlines()
    return [json.loads(line)["version"] for line in lines if '"event":"policy followed"' in line]


def test_nothing_is_lost_and_nothing_starts_twice_while_weights_and_order_change(
    system: System, client: Client
) -> None:
    levels = [priority for priority in Priority for _ in range(300)]
    rounds: list[PolicyChanges] = [
        {"order": "shortest", "weights": {"low": 50, "critical": 1}},
        {"level_mode": "strict", "ageing_s": 1},
        {"order": "deadline", "stretch": 0, "tenant_weights": {"default": 3.0}},
        {"level_mode": "weighted", "order": "fifo", "weights": {"normal": 9}},
        {"routing": {"countdown": "round_robin", "": "power_of_two"}, "order": "balanced"},
    ]
    with busy_runner(client):
        # More than the runner takes: the rest waits at the scheduler.
        specs = [countdown(SHORT, priority) for priority in levels]
        handles = [*client.submit_many(specs[:600]), *client.submit_many(specs[600:])]
        for change in rounds:
            version = client.update_policy(**change).version
            until_followed(system, version)
    for change in rounds:
        until_followed(system, client.update_policy(**change).version)
    assert {task.state for task in ended(client, handles)} == {TaskState.SUCCEEDED}
    for handle in handles:
        task = client.get(handle, include_result=False)
        assert (task.attempt, task.uncharged_attempts) == (1, 0)
        assert [event.state for event in task.events].count(TaskState.RUNNING) == 1


def test_weights_hold_for_what_waits_already(greedy_system: System, greedy: Client) -> None:
    with busy_runner(greedy):
        high = greedy.submit_many([countdown(SHORT, Priority.HIGH)] * 60)
        low = greedy.submit_many([countdown(SHORT, Priority.LOW)] * 60)
        until_running(greedy, [*high, *low])
        until_followed(greedy_system, greedy.update_policy(weights={"high": 1, "low": 1000}).version)
    last_low = max(end_of(task) for task in ended(greedy, low))
    before = sum(end_of(task) < last_low for task in ended(greedy, high))
    assert before < 10, f"{before} of {len(high)} HIGH tasks ended before the last LOW one"


def test_a_bad_setting_is_refused_with_the_reason_and_the_old_policy_stays(
    system: System, client: Client
) -> None:
    standing = client.update_policy(stretch=5)
    with busy_runner(client):
        waiting = client.submit_many([countdown(SHORT, priority) for priority in Priority])
        with pytest.raises(InvalidArgument) as raised:
            client.update_policy(stretch=5000, level_mode="strict", ageing_s=0)
        assert [fault.field for fault in raised.value.faults] == ["policy.ageing", "policy.stretch"]
        refused = run_cli(system.grpc, "policy", "set", "stretch=5000")
        assert refused.returncode == 1
        assert refused.stderr == "forebay: policy.stretch: must be 0 to 1000, is 5000\n"
        assert client.policy() == standing
    # Nor does anything that runs or waits notice.
    assert [(task.state, task.attempt) for task in ended(client, waiting)] == [(TaskState.SUCCEEDED, 1)] * 4


def test_a_client_with_a_version_that_does_not_stand_any_more_is_told_to_look_again(
    system: System, client: Client
) -> None:
    version = client.policy().version
    with Client(system.grpc) as other:
        assert other.update_policy(version=version, stretch=4).version == version + 1
    with pytest.raises(Conflict) as raised:
        client.update_policy(version=version, stretch=6)
    assert (raised.value.reason, raised.value.metadata["version"]) == ("POLICY_MOVED", str(version + 1))
    stale = run_cli(system.grpc, "policy", "set", "stretch=6", "--version", str(version))
    assert stale.returncode == 1
    assert f"version {version + 1} of the policy stands now" in stale.stderr
    assert client.policy().stretch == 4


def test_the_command_line_shows_and_changes_the_policy(system: System, client: Client) -> None:
    words = (
        "weights.low=2",
        "ageing=60s",
        "order=shortest",
        "routing.countdown=weighted",
        "tenant_weights.a=3",
    )
    limits = ("limit.add=tenant=a queued=1000", "limit.add=shared level=low rate=50")
    changed = run_cli(system.grpc, "policy", "set", *words, *limits)
    assert changed.returncode == 0, changed.stderr
    assert "order           shortest" in changed.stdout
    assert client.policy().limits == (
        PolicyLimit("a", queued_tasks=1000),
        PolicyLimit(priority=Priority.LOW, shared=True, rate=50.0),
    )
    shown = run_cli(system.grpc, "policy", "show").stdout
    for line in (
        "weights         critical=64 high=16 normal=4 low=2",
        "ageing          60s",
        "tenant_weights  a=3",
        "limit           tenant=a queued=1000",
        "limit           shared level=low rate=50",
        "routing         countdown=weighted",
    ):
        assert line in shown
    document: Any = run_json(system.grpc, "policy", "show")
    assert (document["weights"]["low"], document["ageing_s"]) == (2, 60.0)
    assert run_cli(system.grpc, "policy", "set", "limit.clear", "routing=default").returncode == 0
    assert (client.policy().limits, client.policy().routing) == ((), {})
    again = run_cli(system.grpc, "policy", "set", "limit.clear")
    assert "nothing changed" in again.stdout
    usage = run_cli(system.grpc, "policy", "set", "order=best")
    assert usage.returncode == 2 and "none of fifo, shortest, deadline, balanced" in usage.stderr


def test_a_limit_holds_while_it_stands(client: Client) -> None:
    with busy_runner(client):
        client.update_policy(limits=[PolicyLimit(rate=0.001, burst=1)])
        (first,) = client.submit_many([countdown(SHORT)])
        with pytest.raises(ResourceExhausted):
            client.submit("countdown", tensors={"turns": [SHORT]})
        client.update_policy(limits=None)
        (second,) = client.submit_many([countdown(SHORT)])
    assert {task.state for task in ended(client, [first, second])} == {TaskState.SUCCEEDED}


def test_no_task_gets_into_a_full_level_by_a_change_of_its_own_level(system: System, client: Client) -> None:
    client.update_policy(limits=[PolicyLimit(priority=Priority.HIGH, queued_tasks=1)])
    # They wait for their time, so that no runner takes them meanwhile.
    first, second = client.submit_many([countdown_later(Priority.LOW)] * 2)
    raised = run_cli(system.grpc, "update", first.id, "--priority", "high")
    assert raised.returncode == 0, raised.stderr
    refused = run_cli(system.grpc, "update", second.id, "--priority", "high")
    assert refused.returncode == 1
    assert "at most 1 tasks may wait" in refused.stderr
    assert [client.get(task).priority for task in (first, second)] == [Priority.HIGH, Priority.LOW]
    assert client.cancel([first, second]).cancelled == 2


def countdown_later(priority: Priority) -> TaskSpec:
    due = datetime.now(UTC) + timedelta(hours=1)
    turns = {"turns": np.array([SHORT], np.int64)}
    return task_spec("countdown", tensors=turns, priority=priority, not_before=due)
