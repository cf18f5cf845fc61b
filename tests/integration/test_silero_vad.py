"""A real model with state: silero-vad's, which tells in each chunk of sound how likely somebody speaks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from inference.engine import Array, Done, SequencePlace, Signature, TensorOutput, TensorRequest
from inference.fetch import fetch_wheel_file
from inference.providers import runtime
from inference.repository.definition import (
    InputDefinition,
    ModelDefinition,
    OutputDefinition,
    Sequences,
    StateDefinition,
)
from inference.settings import EngineSettings
from inference.tensor.engine import TensorEngine
from scheduler.errors import InvalidInput, ModelUnusable, SequenceUnknown
from tests.fixtures.components import missing

VERSION: Final = "6.2.3"
SHA256: Final = "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3"
CACHE: Final = Path.home() / ".cache" / "forebay"
RATE: Final = 16_000
CHUNK: Final = 512
"""Samples that are new in each call."""
CONTEXT: Final = 64
"""Samples of the chunk before that the model wants to hear again."""
DEFINITION: Final = ModelDefinition(
    name="silero-vad",
    declared=True,
    inputs=(
        InputDefinition(Signature("input", "FP32", (1, -1))),
        InputDefinition(Signature("sr", "INT64", ())),
    ),
    outputs=(OutputDefinition(Signature("output", "FP32", (1, 1))),),
    sequences=Sequences(
        states=(StateDefinition("state", "stateN", "FP32", (2, 1, 128)),), longest_idle_s=60, most=8
    ),
)

pytestmark = pytest.mark.timeout(120)  # the first run fetches 11 MB


def fetched() -> Path:
    try:
        return fetch_wheel_file(
            "silero-vad",
            VERSION,
            "silero_vad/data/silero_vad.onnx",
            SHA256,
            CACHE,
            lambda _: None,
            timeout_s=100,
        )
    except ModelUnusable as error:
        missing("silero-vad's model", str(error))


@pytest.fixture(scope="module")
def model() -> Path:
    return fetched()


@pytest.fixture(scope="module")
def engine(model: Path) -> Iterator[TensorEngine]:
    settings = EngineSettings(providers=("cpu",), threads=1)
    opened = TensorEngine.open(model, settings, lambda _: None, DEFINITION)
    opened.warm_up()
    yield opened
    opened.close()


def chunks(seconds: float, seed: int) -> list[Array]:
    """Return silence, then something like a vowel: pulses of a throat through three resonances, loud and soft in
    turns, then silence; in pieces as the model takes them.
    """
    random = np.random.default_rng(seed)
    count = int(seconds * RATE)
    time_s = np.arange(count) / RATE
    pitch = 120 + 20 * seed + 15 * np.sin(2 * np.pi * 3 * time_s)
    phase = np.cumsum(pitch) / RATE
    voice = np.zeros(count)
    for harmonic in range(1, 30):
        frequency = harmonic * pitch
        formants = sum(
            gain / (1 + ((frequency - centre) / width) ** 2)
            for centre, width, gain in ((700, 90, 1.0), (1200, 110, 0.6), (2600, 160, 0.3))
        )
        voice += formants * np.sin(2 * np.pi * harmonic * phase) / harmonic**0.5
    loudness = 0.5 + 0.5 * np.sin(2 * np.pi * 4 * time_s)
    spoken = (time_s > seconds / 3) & (time_s < 2 * seconds / 3)
    sound = 0.3 * voice / np.abs(voice).max() * loudness * spoken + 1e-4 * random.standard_normal(count)
    sound = np.concatenate([np.zeros(CONTEXT), sound]).astype(np.float32)
    return [sound[None, at : at + CONTEXT + CHUNK] for at in range(0, count - CHUNK + 1, CHUNK)]


def by_hand(model: Path, pieces: list[Array]) -> list[float]:
    """Return the probabilities that a session gives to which the state is carried by hand."""
    session: Any = runtime().InferenceSession(str(model), providers=["CPUExecutionProvider"])
    state = np.zeros((2, 1, 128), np.float32)
    told = []
    for piece in pieces:
        speech, state = session.run(
            ["output", "stateN"], {"input": piece, "state": state, "sr": np.array(RATE, np.int64)}
        )
        told.append(float(speech[0, 0]))
    return told


def request(
    piece: Array, sequence: str, *, start: bool = False, end: bool = False, tenant: str = "acme"
) -> TensorRequest:
    inputs = {"input": piece, "sr": np.array(RATE, np.int64)}
    return TensorRequest(inputs, tenant=tenant, sequence=SequencePlace(sequence, start, end))


def test_the_card_shows_neither_state_nor_how_it_is_kept(engine: TensorEngine) -> None:
    assert engine.card.stateful
    assert [each.name for each in engine.card.inputs] == ["input", "sr"]
    assert [each.name for each in engine.card.outputs] == ["output"]


def test_two_voices_at_once_are_heard_as_if_each_were_alone(engine: TensorEngine, model: Path) -> None:
    voices = {name: chunks(3.0, seed) for seed, name in enumerate(("one", "two"))}
    heard: dict[str, list[float]] = {name: [] for name in voices}
    last = len(voices["one"]) - 1
    # Of each voice some chunks are on their way together, and the voices take turns.
    for first in range(0, last + 1, 5):
        for name, pieces in voices.items():
            for at, piece in list(enumerate(pieces))[first : first + 5]:
                key = f"{name} {at}"
                engine.admit(key, request(piece, name, start=at == 0, end=at == last))
        while engine.active:
            for update in engine.step():
                assert isinstance(update, Done)
                assert isinstance(update.output, TensorOutput)
                heard[update.key.split()[0]].append(float(update.output.outputs["output"].item()))
    for name, pieces in voices.items():
        assert heard[name] == pytest.approx(by_hand(model, pieces), abs=1e-6)
        third = len(pieces) // 3
        silence, speech = heard[name][: third - 1], heard[name][third + 2 : 2 * third - 2]
        assert max(silence) < 0.5 < max(speech)
    with pytest.raises(SequenceUnknown):
        engine.admit("late", request(voices["one"][0], "one"))


def test_without_the_state_before_it_a_chunk_is_heard_differently(engine: TensorEngine, model: Path) -> None:
    pieces = chunks(3.0, 0)[40:44]
    carried = by_hand(model, pieces)
    alone = [by_hand(model, [piece])[0] for piece in pieces]
    assert carried[1:] != pytest.approx(alone[1:], abs=1e-3)


def test_a_chunk_of_no_sequence_is_refused(engine: TensorEngine) -> None:
    with pytest.raises(InvalidInput, match="each needs the id of its sequence"):
        engine.admit("a", TensorRequest({"input": chunks(0.1, 0)[0], "sr": np.array(RATE, np.int64)}))
