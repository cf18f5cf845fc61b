"""An engine with a tiny model, and how to read what it brings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference.engine import Choice, Done, GenerateOutput, GenerateRequest, Update
from inference.generate import GenerateEngine
from inference.settings import EngineSettings

CONTEXT = 128


def quiet(sentence: str) -> None:
    """Say nothing."""


def opened(folder: Path, **settings: Any) -> GenerateEngine:
    return GenerateEngine.open(folder, EngineSettings(**{"slots": 4, "threads": 1, **settings}), quiet)


def drained(engine: GenerateEngine) -> dict[str, list[Update]]:
    updates: dict[str, list[Update]] = {}
    while engine.active:
        for update in engine.step():
            updates.setdefault(update.key, []).append(update)
    return updates


def output_of(updates: Sequence[Update]) -> GenerateOutput:
    last = updates[-1]
    assert isinstance(last, Done)
    assert isinstance(last.output, GenerateOutput)
    return last.output


def choice_of(updates: Sequence[Update]) -> Choice:
    [choice] = output_of(updates).choices
    return choice


def answer(engine: GenerateEngine, request: GenerateRequest) -> Choice:
    engine.admit("only", request)
    return choice_of(drained(engine)["only"])


def free(prompt: str, tokens: int, **more: Any) -> GenerateRequest:
    return GenerateRequest(prompt=prompt, max_tokens=tokens, ignore_eos=True, **more)
