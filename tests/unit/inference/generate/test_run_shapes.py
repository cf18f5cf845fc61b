"""The shapes that engines are built for are those that runs have."""

from pathlib import Path

import pytest

from inference.generate.config import read_config
from inference.generate.engine import GenerateEngine
from inference.generate.run_shapes import run_shapes
from inference.generate.trial import run_extremes
from inference.provider_options import ShapeRange
from inference.providers import PROVIDERS

from .tiny import answer, free, opened


def test_a_range_holds_decode_runs_of_all_slots_and_pieces_of_prompts(folder: Path) -> None:
    shapes = run_shapes(read_config(folder), slots=16, context=128, prefill_tokens=100)
    assert shapes["input_ids"] == ShapeRange((1, 1), (16, 1), (16, 100))
    assert shapes["attention_mask"] == ShapeRange((1, 1), (16, 64), (16, 128))
    cache = ShapeRange((1, 1, 128, 32), (16, 1, 128, 32), (16, 1, 128, 32))
    assert shapes["past_key_values.0.key"] == shapes["past_key_values.1.value"] == cache
    assert len(shapes) == 2 + 4


def test_a_piece_is_no_longer_than_the_context(folder: Path) -> None:
    shapes = run_shapes(read_config(folder), slots=1, context=32, prefill_tokens=256)
    assert shapes["input_ids"].most == (1, 32)
    assert shapes["attention_mask"] == ShapeRange((1, 1), (1, 32), (1, 32))


def test_the_largest_and_the_smallest_run_are_those_of_the_range(engine: GenerateEngine) -> None:
    session = engine._session
    assert session is not None
    run_extremes(session, 4, 100)
    assert answer(engine, free("x", 3)).token_ids


def test_tensorrt_meets_the_extremes_before_it_serves(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(
        "inference.generate.engine.run_extremes", lambda session, slots, piece: told.append((slots, piece))
    )
    monkeypatch.setitem(PROVIDERS, "tensorrt", "CPUExecutionProvider")
    engine: GenerateEngine = opened(folder)
    engine.warm_up()
    assert told == [(4, 128)]
