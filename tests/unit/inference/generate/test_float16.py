"""A model in float16, all the way: imported, run on the CPU, its cache counted, copied and kept in 16 bits."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from inference.engine import Choice, GenerateRequest
from inference.generate import GenerateEngine
from inference.importers import import_model
from scheduler.states import Level

from .tiny import CONTEXT, answer, choice_of, drained, free, opened, output_of, quiet

PROMPTS = ("the rain in the inn", "x", "a longer one, of many letters and a few pieces", "the then the")


@pytest.fixture(scope="module", params=["none", "int4", "int8"])
def pair(
    request: pytest.FixtureRequest, gguf_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """The same weights in float16 and in float32, stored in one way."""
    place = tmp_path_factory.mktemp(f"half-{request.param}")
    half, full = (
        import_model(
            gguf_file, place / precision, quantization=request.param, precision=precision, report=quiet
        )
        for precision in ("float16", "float32")
    )
    (full / "wide.onnx").unlink(missing_ok=True)
    return half, full


@pytest.fixture
def half(pair: tuple[Path, Path]) -> Iterator[GenerateEngine]:
    engine = opened(pair[0])
    yield engine
    engine.close()


def logits_of(folder: Path, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the logits (tokens, vocabulary) after each token, generated one by one."""
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    kinds = {"tensor(float16)": np.float16, "tensor(float)": np.float32}
    held = {
        node.name: np.zeros((1, node.shape[1], 0, node.shape[3]), kinds[node.type])
        for node in session.get_inputs()
        if node.name.startswith("past")
    }
    found = []
    for place, token in enumerate(tokens):
        feeds: dict[str, Any] = {"input_ids": [[token]], "attention_mask": np.ones((1, place + 1), np.int64)}
        logits, *present = session.run(None, {**held, **feeds})
        held = dict(zip(held, present, strict=True))
        found.append(logits[0, 0])
    return np.stack(found)


def test_logits_are_those_of_float32_but_for_rounding(pair: tuple[Path, Path]) -> None:
    """Products with weights in blocks round what they multiply to 8 bits, and a last bit decides which way."""
    tokens = np.random.default_rng(0).integers(3, 250, 60)
    half, full = (logits_of(folder, tokens) for folder in pair)
    assert half.dtype == np.float32
    cosine = (half * full).sum(-1) / np.linalg.norm(half, axis=-1) / np.linalg.norm(full, axis=-1)
    whole = "-none" in str(pair[0])
    assert cosine.min() > (0.999 if whole else 0.9)
    assert cosine.mean() > (0.9999 if whole else 0.99)
    assert (half.argmax(-1) == full.argmax(-1)).mean() > (0.95 if whole else 0.8)


def test_a_row_answers_the_same_in_any_batch(half: GenerateEngine) -> None:
    half.warm_up()
    assert half.card.batch_invariant
    requests = {str(n): free(prompt, 30 - 5 * n, temperature=0.8, seed=n) for n, prompt in enumerate(PROMPTS)}
    alone = {key: answer(half, request).token_ids for key, request in requests.items()}
    for key, request in requests.items():
        half.admit(key, request)
    together = {key: choice_of(updates).token_ids for key, updates in drained(half).items()}
    assert together == alone


def test_a_prefix_that_is_cached_changes_nothing(pair: tuple[Path, Path]) -> None:
    request = free("z" * 90, 12, temperature=0.8, seed=3)
    plain = opened(pair[0], prefix_cache_bytes=0)
    expected = answer(plain, request).token_ids
    engine = opened(pair[0])
    answer(engine, request)
    engine.admit("again", request)
    output = output_of(drained(engine)["again"])
    assert output.cached_tokens == 64
    assert output.choices[0].token_ids == expected


def test_a_row_that_was_paused_goes_on_exactly(pair: tuple[Path, Path]) -> None:
    engine = opened(pair[0], slots=1)
    paused, urgent = free("the rain", 20, temperature=0.8, seed=1), free("now", 5, level=Level.CRITICAL)
    alone = answer(engine, paused).token_ids
    assert interrupted(engine, paused, urgent).token_ids == alone
    assert engine.stats().preemptions == 1


def interrupted(engine: GenerateEngine, paused: GenerateRequest, urgent: GenerateRequest) -> Choice:
    """Run one request, and after some tokens another that takes its slot."""
    engine.admit("paused", paused)
    for _ in range(6):
        engine.step()
    engine.admit("urgent", urgent)
    updates = drained(engine)
    assert choice_of(updates["urgent"]).finish == "length"
    return choice_of(updates["paused"])


def test_a_token_takes_half_the_memory(pair: tuple[Path, Path]) -> None:
    limit = (
        2 * CONTEXT * 2 * 2 * 32 * 4
    )  # two slots in float32: keys and values of 2 layers, one head of 32 each
    half, full = (opened(folder, kv_memory_bytes=limit) for folder in pair)
    assert (half.capacity, full.capacity) == (4, 2)
