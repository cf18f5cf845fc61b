"""The importer and the engine on the real embedding model, against a plain NumPy float32 computation."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from inference.embed.engine import EmbedEngine
from inference.engine import EmbedRequest
from inference.importers import import_model
from tests.reference.bert_forward import BertForward
from tests.reference.varied_texts import varied_texts
from tests.unit.inference.embed.encoders import answer, cosines, embedded, finish, opened, quiet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LONGEST = 256
"""Tokens that its authors have it read."""


@pytest.fixture(scope="module")
def wanted(minilm_source: Path) -> NDArray[np.float32]:
    """The vectors of the varied texts by the plain computation."""
    tokenizer = Tokenizer.from_file(str(minilm_source / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    reference = BertForward(load_file(minilm_source / "model.safetensors"), heads=12)
    return np.stack([reference.vector(tokenizer.encode(text).ids) for text in varied_texts()])


@pytest.fixture(scope="module")
def engine(minilm_folder: Path) -> EmbedEngine:
    return opened(minilm_folder, threads=0)


def test_two_hundred_varied_texts_have_the_vectors_of_the_plain_computation(
    engine: EmbedEngine, wanted: NDArray[np.float32]
) -> None:
    output = embedded(engine, *varied_texts())
    assert output.vectors.shape == (200, 384)
    assert cosines(output.vectors, wanted).min() >= 0.9999
    assert max(output.tokens) == LONGEST
    long = [index for index, text in enumerate(varied_texts()) if len(text.split()) > 300]
    assert long
    assert all(output.truncated[index] for index in long)


def test_eight_bits_lose_less_than_a_hundredth(
    minilm_source: Path, tmp_path: Path, wanted: NDArray[np.float32]
) -> None:
    folder = import_model(minilm_source, tmp_path / "int8", quantization="int8", report=quiet)
    found = cosines(embedded(opened(folder, threads=0), *varied_texts()).vectors, wanted)
    assert found.min() >= 0.99
    assert found.mean() >= 0.998


def test_a_vector_does_not_depend_on_its_neighbours(engine: EmbedEngine) -> None:
    texts = varied_texts()[:40]
    together = embedded(engine, *texts).vectors
    for index, text in enumerate(texts):
        engine.admit(str(index), EmbedRequest((text,)))
    apart = finish(engine)
    alone = np.concatenate([embedded(engine, text).vectors for text in texts])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)
    mixed = np.concatenate([answer(apart[str(index)]).vectors for index in range(len(texts))])
    np.testing.assert_allclose(mixed, alone, rtol=0, atol=1e-5)


def test_like_texts_are_nearer_than_unlike_ones(engine: EmbedEngine) -> None:
    a, b, c = embedded(
        engine, "A man is eating food.", "Somebody is having a meal.", "The stock market fell today."
    ).vectors
    assert a @ b > 0.5
    assert a @ c < 0.2
