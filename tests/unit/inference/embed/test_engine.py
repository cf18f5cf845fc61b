"""The embedding engine on a tiny encoder: what it answers, in which order it runs, and what it lets go of."""

import json
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.embed import opening
from inference.embed.engine import EmbedEngine
from inference.engine import (
    Array,
    CountsRuns,
    Done,
    EmbedRequest,
    EngineKind,
    Failed,
    Follows,
    Interruptible,
    SharesRuns,
    TellsRuns,
    TensorRequest,
)
from inference.loading import load_engine
from inference.settings import EngineSettings
from scheduler.errors import InvalidInput, ModelFailed, ModelOutOfMemory, ModelUnusable
from scheduler.states import Level
from tests.reference.bert_forward import BertForward
from tests.reference.tiny_encoders import CONFIG, tiny_weights
from tests.unit.inference.embed.encoders import answer, cosines, embedded, finish, imported, opened, quiet

LONGEST = 16
TEXTS = ("the water flows", "rain", "a dam is late, and the fox is late?", "a . a . a . a . a . a . a . a")
POISON = "fox fox"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imported(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def engine(folder: Path) -> EmbedEngine:
    return opened(folder)


def reference() -> BertForward:
    return BertForward(tiny_weights(CONFIG), CONFIG["num_attention_heads"])


def expected(engine: EmbedEngine, texts: Sequence[str]) -> NDArray[np.float32]:
    read = engine._parts.tokenizing.read
    return np.stack([reference().vector(read(text).ids.tolist()) for text in texts])


def refuse(engine: EmbedEngine, monkeypatch: pytest.MonkeyPatch, poison: str, error: Exception) -> list[int]:
    """Have every run fail that holds a text; return a list of how many texts the runs have."""
    ids = engine._parts.tokenizing.read(poison).ids
    plain = engine._parts.model.run
    sizes: list[int] = []

    def run(names: Sequence[str], feeds: dict[str, Array], options: Any = None) -> list[Array]:
        sizes.append(len(feeds["lengths"]))
        if ids.tobytes() in feeds["input_ids"].tobytes():
            raise error
        return plain(names, feeds, options)

    monkeypatch.setattr(engine._parts.model, "run", run)
    return sizes


def test_vectors_are_those_of_a_plain_computation(engine: EmbedEngine) -> None:
    output = embedded(engine, *TEXTS)
    np.testing.assert_allclose(output.vectors, expected(engine, TEXTS), atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(output.vectors, axis=1), 1, atol=1e-6)


def test_eight_bits_give_nearly_the_same_vectors(tmp_path: Path, engine: EmbedEngine) -> None:
    narrow = opened(imported(tmp_path, "int8"))
    assert cosines(embedded(narrow, *TEXTS).vectors, expected(engine, TEXTS)).min() > 0.99


@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_a_vector_does_not_depend_on_what_runs_beside_it(tmp_path: Path, quantization: str) -> None:
    engine = opened(imported(tmp_path, quantization))
    together = embedded(engine, *TEXTS).vectors
    alone = np.concatenate([embedded(engine, text).vectors for text in TEXTS])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)
    assert not engine.card.batch_invariant
    engine.warm_up()
    assert engine.card.batch_invariant


def test_vectors_keep_their_length_where_that_is_asked_for(engine: EmbedEngine) -> None:
    plain = embedded(engine, *TEXTS, normalize=False).vectors
    assert np.abs(np.linalg.norm(plain, axis=1) - 1).min() > 0.01
    np.testing.assert_allclose(cosines(plain, expected(engine, TEXTS)), 1, atol=1e-6)


def test_a_text_is_cut_at_the_length_of_the_model_and_that_is_told(engine: EmbedEngine) -> None:
    whole = ("rain " * (LONGEST - 2)).strip()
    output = embedded(engine, "rain", whole, f"{whole} rain", f"{whole} {'water ' * 5000}")
    assert list(output.tokens) == [3, LONGEST, LONGEST, LONGEST]
    assert list(output.truncated) == [False, False, True, True]
    np.testing.assert_allclose(output.vectors[1], output.vectors[2], atol=1e-6)
    np.testing.assert_allclose(output.vectors[1], output.vectors[3], atol=1e-6)


def test_the_settings_can_shorten_what_is_read(folder: Path) -> None:
    engine = opened(folder, context_length=5)
    assert engine.card.context_length == 5
    assert list(embedded(engine, "rain rain", "rain rain rain rain").tokens) == [4, 5]


def test_texts_of_many_requests_share_a_run(engine: EmbedEngine) -> None:
    told: list[Sequence[str]] = []
    engine.tell_runs(told.append)
    for index, text in enumerate(TEXTS):
        engine.admit(f"r{index}", EmbedRequest((text,)))
    updates = {update.key: update for update in engine.step()}
    assert engine.active == 0
    assert [sorted(keys) for keys in told] == [["r0", "r1", "r2", "r3"]]
    for index, vector in enumerate(expected(engine, TEXTS)):
        update = updates[f"r{index}"]
        np.testing.assert_allclose(answer(update).vectors[0], vector, atol=2e-6)
        assert isinstance(update, Done)
        assert update.batch == len(TEXTS)


def test_a_request_with_many_texts_does_not_hold_up_those_that_come_later(engine: EmbedEngine) -> None:
    engine._parts.pace.rows = 24
    engine.admit("big", EmbedRequest(("rain",) * 100))
    assert engine.step() == []
    engine.admit("small", EmbedRequest(("water",)))
    ended: list[str] = []
    while engine.active:
        ended += [update.key for update in engine.step()]
    assert ended == ["small", "big"]


def test_the_answers_of_a_request_that_took_several_runs_are_in_its_order(engine: EmbedEngine) -> None:
    engine._parts.pace.rows = 8
    many = TEXTS * 5
    engine.admit("it", EmbedRequest(many))
    [update] = finish(engine).values()
    np.testing.assert_allclose(answer(update).vectors, np.tile(expected(engine, TEXTS), (5, 1)), atol=2e-6)
    assert isinstance(update, Done)
    assert update.batch == 0


def test_what_is_urgent_goes_into_the_next_run(engine: EmbedEngine) -> None:
    engine._parts.pace.rows = 6
    for index in range(4):
        engine.admit(f"low{index}", EmbedRequest(("rain",), level=Level.LOW))
    engine.admit("critical", EmbedRequest(("rain",), level=Level.CRITICAL))
    assert "critical" in {update.key for update in engine.step()}


def test_a_run_has_no_more_tokens_than_its_time_allows(
    engine: EmbedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine._parts.pace.rows = 10
    sizes = refuse(engine, monkeypatch, POISON, ModelFailed("never"))
    for index in range(9):
        engine.admit(str(index), EmbedRequest(("rain",)))
    finish(engine)
    assert sizes == [3, 3, 3]


def test_a_text_at_fault_fails_its_request_and_no_other(
    engine: EmbedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(engine, monkeypatch, POISON, RuntimeError("cannot broadcast"))
    engine.admit("bad", EmbedRequest(("rain", POISON, "water")))
    for index, text in enumerate(TEXTS):
        engine.admit(f"r{index}", EmbedRequest((text,)))
    updates = finish(engine)
    failed = updates.pop("bad")
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, ModelFailed)
    vectors = [answer(updates[f"r{index}"]).vectors[0] for index in range(len(TEXTS))]
    np.testing.assert_allclose(vectors, expected(engine, TEXTS), atol=2e-6)


def test_a_run_that_wants_too_much_memory_is_told_as_that(
    engine: EmbedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(engine, monkeypatch, POISON, RuntimeError("Failed to allocate memory for requested buffer"))
    engine.admit("bad", EmbedRequest((POISON,)))
    [update] = finish(engine).values()
    assert isinstance(update, Failed)
    assert isinstance(update.error, ModelOutOfMemory)


def test_nothing_follows_of_a_request_that_was_cancelled(engine: EmbedEngine) -> None:
    engine._parts.pace.rows = 8
    engine.admit("gone", EmbedRequest(TEXTS * 4))
    engine.admit("stays", EmbedRequest(TEXTS))
    engine.step()
    engine.cancel("gone")
    engine.cancel("never there")
    assert engine.active == 1
    assert list(finish(engine)) == ["stays"]
    engine.admit("gone", EmbedRequest(("rain",)))
    assert list(finish(engine)) == ["gone"]


def test_a_running_request_is_interrupted_and_its_neighbours_run_again(
    engine: EmbedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, interrupted = threading.Event(), threading.Event()
    plain = engine._parts.model.run

    def run(names: Sequence[str], feeds: dict[str, Array], options: Any = None) -> list[Array]:
        if not interrupted.is_set():
            inside.set()
            assert interrupted.wait(10)
        return plain(names, feeds, options)

    monkeypatch.setattr(engine._parts.model, "run", run)
    engine.admit("gone", EmbedRequest(("rain",)))
    engine.admit("stays", EmbedRequest(("water",)))

    def interrupt() -> None:
        assert inside.wait(10)
        assert engine.runs("gone")
        engine.interrupt("gone")
        interrupted.set()

    other = threading.Thread(target=interrupt)
    other.start()
    updates = finish(engine)
    other.join()
    assert list(updates) == ["stays"]
    np.testing.assert_allclose(answer(updates["stays"]).vectors, expected(engine, ["water"]), atol=2e-6)
    assert not engine.runs("gone")


def test_the_runs_are_counted_by_their_texts(engine: EmbedEngine) -> None:
    engine._parts.pace.rows = 6
    for index in range(3):
        engine.admit(str(index), EmbedRequest(("rain",)))
    finish(engine)
    counts = engine.counts()
    assert counts.rows == 3
    assert {rows: size.runs for rows, size in counts.by_rows.items()} == {1: 1, 2: 1}
    assert counts.request_infer_s > sum(size.infer_s for size in counts.by_rows.values())


def test_only_texts_are_taken(engine: EmbedEngine) -> None:
    with pytest.raises(InvalidInput, match="embed: the model turns texts into vectors"):
        engine.admit("it", TensorRequest({}))
    engine.admit("it", EmbedRequest(("rain",)))
    with pytest.raises(ValueError, match="already admitted"):
        engine.admit("it", EmbedRequest(("rain",)))


def test_texts_that_only_have_what_the_tokenizer_drops_still_have_a_vector(engine: EmbedEngine) -> None:
    output = embedded(engine, " \n\t", "\u200b")
    assert list(output.tokens) == [2, 2]
    assert np.isfinite(output.vectors).all()


def test_it_is_opened_by_the_file_beside_the_model(folder: Path) -> None:
    engine = load_engine(folder, EngineSettings(providers=("cpu",), threads=1), quiet)
    engine.warm_up()
    card = engine.card
    assert (card.kind, card.dimensions, card.context_length) == (EngineKind.EMBED, 32, LONGEST)
    assert card.batch_invariant
    assert b"model" in card.config
    for protocol in (Interruptible, TellsRuns, SharesRuns, Follows, CountsRuns):
        assert isinstance(engine, protocol)
    assert 1 <= engine.capacity <= 1024
    engine.close()
    engine.close()


def test_a_processor_that_multiplies_bytes_less_exactly_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "multiplies_bytes_exactly", lambda: False)
    settings = EngineSettings(providers=("cpu",), threads=1)
    for quantization, told in (("int8", True), ("none", False)):
        said: list[str] = []
        EmbedEngine.open(imported(tmp_path / quantization, quantization), settings, said.append)
        assert any("no VNNI" in sentence for sentence in said) is told


def test_a_length_that_the_model_does_not_have_is_found_before_it_serves(
    folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "embed_config.json").write_text(json.dumps({"max_length": 41}))
    with pytest.raises(ModelUnusable, match="cannot run a text of 41 tokens"):
        opened(copy).warm_up()


def test_the_length_of_runs_follows_the_fastest_of_the_latest(folder: Path) -> None:
    engine = opened(folder, batch_time_s=0.1)
    engine._pace.ran(8000, 1.0)
    assert engine._parts.pace.rows == 800
    engine._pace.ran(800, 5.0)
    assert engine._parts.pace.rows == 800
    for _ in range(16):
        engine._pace.ran(800, 1.0)
    assert engine._parts.pace.rows == 80


def test_a_slow_model_holds_fewer_requests(engine: EmbedEngine) -> None:
    fast = engine.capacity
    engine._parts.pace.rows = 64
    assert engine.together == 2
    assert engine.capacity == 8 < fast
