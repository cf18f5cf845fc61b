"""What a door asks for, copied for a computation that may outlive it."""

from dataclasses import fields, replace
from typing import Any

from cache.key import CacheMode
from forebay.runner.v1.runner_service_pb2 import Call
from services.gateway.direct.wanted import DirectCall, Trial, copied


def fill(call: Call) -> None:
    call.generate.prompt = "hello"


def test_a_copy_has_everything_but_the_trial_and_its_changes_are_its_own() -> None:
    trial = Trial(("default", "m", 0), b"digest", lambda: None)
    wanted = DirectCall("acme", "m", fill, cache=CacheMode.REFRESH, trial=trial)
    others: dict[str, Any] = {
        field.name: f"{field.name} of its own"
        for field in fields(DirectCall)
        if field.name not in ("tenant", "model", "fill", "cache", "trial")
    }
    wanted = replace(wanted, **others)
    copy = copied(wanted)
    told = {field.name: getattr(copy, field.name) for field in fields(DirectCall)}
    assert told == {
        **others, "tenant": "acme", "model": "m", "fill": fill, "cache": CacheMode.REFRESH, "trial": None
    }  # fmt: skip
    copy.timeout_ms = 7
    assert wanted.timeout_ms != 7
    assert wanted.trial is trial
