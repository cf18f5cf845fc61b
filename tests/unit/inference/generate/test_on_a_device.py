"""The engine on a GPU, as far as that shows without one: what is bound where, copied when, and said at start-up."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.engine import GenerateRequest
from inference.generate import GenerateEngine
from inference.generate.device_copies import DeviceCopies
from inference.importers import import_model
from inference.settings import EngineSettings
from scheduler.errors import ModelUnusable
from scheduler.states import Level

from .pretend_device import PretendSession, pretend
from .tiny import answer, choice_of, drained, free, opened, output_of, quiet

REQUESTS = {
    str(n): free(prompt, 30 - 5 * n, temperature=0.8, seed=n)
    for n, prompt in enumerate(("the rain in the inn", "x", "a longer one, of many pieces", "the then the"))
}


@pytest.fixture(scope="module")
def half(gguf_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("device") / "model"
    return import_model(gguf_file, out, quantization="int4", precision="float16", report=quiet)


def on_device(folder: Path, said: list[str] | None = None, **settings: Any) -> GenerateEngine:
    wanted = EngineSettings(**{"slots": 4, "threads": 1, "device": 1, "providers": ("cuda",), **settings})
    return GenerateEngine.open(folder, wanted, quiet if said is None else said.append)


def answers(engine: GenerateEngine) -> dict[str, tuple[int, ...]]:
    """Run all requests together."""
    for key, request in REQUESTS.items():
        engine.admit(key, request)
    return {key: tuple(choice_of(updates).token_ids) for key, updates in drained(engine).items()}


def test_answers_are_those_of_the_cpu(half: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = answers(opened(half))
    fake = pretend(monkeypatch)
    said: list[str] = []
    engine = on_device(half, said)
    engine.warm_up()
    assert answers(engine) == expected
    assert len(fake.memory) == 4  # keys and values of two layers
    assert engine.card.provider == "CUDAExecutionProvider"
    assert len(said) == 1  # that it is loaded


def test_a_prefix_is_cached_in_host_memory_and_changes_nothing(
    half: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = free("z" * 90, 12, temperature=0.8, seed=3)
    expected = answer(opened(half), request).token_ids
    pretend(monkeypatch)
    engine = on_device(half)
    assert answer(engine, request).token_ids == expected
    engine.admit("again", request)
    output = output_of(drained(engine)["again"])
    assert output.cached_tokens == 64
    assert output.choices[0].token_ids == expected


def test_a_row_that_was_paused_goes_on_exactly(half: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paused: GenerateRequest = free("the rain", 20, temperature=0.8, seed=1)
    expected = answer(opened(half), paused).token_ids
    pretend(monkeypatch)
    engine = on_device(half, slots=1)
    engine.admit("paused", paused)
    for _ in range(6):
        engine.step()
    engine.admit("urgent", free("now", 5, level=Level.CRITICAL))
    updates = drained(engine)
    assert engine.stats().preemptions == 1
    assert choice_of(updates["paused"]).token_ids == expected


def test_a_row_is_moved_on_the_device(
    half: Path, reached: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = answer(opened(half), free("stays", 30)).token_ids
    reached.clear()
    pretend(monkeypatch)
    engine = on_device(half)
    for number in range(3):
        engine.admit(str(number), free("goes", 4))
    engine.admit("stays", free("stays", 30))
    assert choice_of(drained(engine)["stays"]).token_ids == expected
    assert (reached[0], reached[-1]) == (4, 1)


def test_a_device_that_does_not_copy_still_generates_and_says_what_is_missing(
    half: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = answers(opened(half))
    pretend(monkeypatch, copies=False)
    said: list[str] = []
    engine = on_device(half, said)
    assert answers(engine) == expected
    assert "neither paused nor moved and prefixes not cached" in said[-1]
    assert "no kernel image" in said[-1]
    assert engine.preemptable(Level.CRITICAL) == 0


def test_copies_that_come_back_changed_are_not_trusted(half: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    monkeypatch.setattr(DeviceCopies, "within_device", lambda *arguments: None)
    said: list[str] = []
    on_device(half, said)
    assert said[-1].endswith("what is copied comes back as something else")


def test_attention_that_the_device_does_not_have_keeps_the_cache_in_host_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = answers(opened(folder))
    fake = pretend(monkeypatch, host=["past_key_values"])
    said: list[str] = []
    engine = on_device(folder, said)
    assert answers(engine) == expected
    assert not fake.memory
    assert "import the model with --precision float16" in said[-1]


def test_fewer_slots_are_had_where_the_device_is_full(half: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = pretend(monkeypatch, most_bytes=2 * 4 * 128 * 32 * 2)
    said: list[str] = []
    assert on_device(half, said).capacity == 2
    assert said[-1] == "memory for 2 of 4 slots of 128 tokens"
    fake.most_bytes = 0
    with pytest.raises(ModelUnusable, match=r"no memory for the attention cache.*smaller than requested"):
        on_device(half)


def test_the_setting_of_the_whole_model_bounds_the_cache(half: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    slot = 128 * 4 * 32 * 2
    assert on_device(half, gpu_memory_bytes=2 * 3 * slot).capacity == 3


def test_a_runtime_that_cannot_say_where_the_cache_lies_is_refused(
    half: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch)
    monkeypatch.delattr(PretendSession, "get_input_memory_infos")
    with pytest.raises(ModelUnusable, match=r"needs ONNX Runtime 1\.23"):
        on_device(half)


@pytest.mark.parametrize("size", [1, 13, 4096])
def test_strips_are_copied_either_way_and_nothing_beside_them(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    fake = pretend(monkeypatch)
    device = np.random.default_rng(0).integers(0, 255, (6, 5000), dtype=np.uint8)
    fake.memory.append(device)
    host, before = np.zeros((3, 5000), np.uint8), device.copy()
    copies = DeviceCopies(3, "cuda", 1)

    def rows(array: Any, first: int) -> list[int]:
        return [array[row, 7:].ctypes.data for row in range(first, first + 3)]

    copies.to_host(rows(device, 0), rows(host, 0), size)
    np.testing.assert_array_equal(host[:, 7 : 7 + size], before[:3, 7 : 7 + size])
    assert not host[:, 7 + size :].any()
    copies.within_device(rows(device, 0), rows(device, 3), size)
    np.testing.assert_array_equal(device[3:, 7 : 7 + size], before[:3, 7 : 7 + size])
    np.testing.assert_array_equal(device[3:, 7 + size :], before[3:, 7 + size :])
    blank = np.zeros_like(host)
    copies.to_device(rows(blank, 0), rows(device, 3), size)
    assert not device[3:, 7 : 7 + size].any()
    copies.to_host(rows(device, 0), rows(host, 0), 0)
