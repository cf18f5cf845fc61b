"""The importer and the engine on the real model, against a plain NumPy float32 computation of the same GGUF file."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from inference.engine import Choice, Done, GenerateOutput, GenerateRequest, Message
from inference.generate import GenerateEngine
from inference.importers.architecture import DecoderShape
from inference.importers.calibration import Activations, observe
from inference.importers.decoder_graph import DecoderGraph
from inference.importers.gguf_source import GgufSource
from inference.importers.linears import FedBackLinears, FullLinears, Linears
from inference.importers.smoothing import SmoothedWeights
from inference.importers.weights import DecoderWeights
from inference.importers.wide import WideLinears
from inference.settings import EngineSettings
from tests.reference.byte_level_bpe import ByteLevelBpe
from tests.reference.llama_numpy import LlamaReference

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TOKENS = 500

TEXT = """\
The mill stands where the river narrows. In spring, when snow leaves the hills, the water comes faster than
the wheel can use it, and for a hundred years the village let the surplus run to the sea. Then a carpenter
called Ines Moreau dug a pool above the weir. It was not deep, and it was not pretty, but it changed the work
of the mill: what arrived at night could be spent by day, and a storm was no longer a danger but a delivery.

She kept a book in which every gate, every hour and every sack of flour was written down. On 14 March 1873 it
says: "Water 2.31 m over the sill; four gates shut; 57 sacks." Below that, in another hand, somebody has added
that the baker came twice, because the first time nobody had heard him knock. The book has 412 pages, and the
last entry is about swallows.

What makes such a pool useful is not its size. A reservoir that is ten times larger only moves the question to
another season. It is the order in which the gates are opened. The hospital's pump comes first, always; then
the saw, which must not stop in the middle of a trunk; then the stones; and at the very end the fountain in
the square, which children like and nobody needs. Yet the fountain is never dry for long, for a small pipe
below all the gates feeds it a tenth of whatever passes. A rule like this is easy to write and hard to keep,
since everyone who waits believes that his own work is urgent.

Engineers later gave names to what she did. They spoke of buffers, of priorities and of fairness, and proved
theorems: that the mean time in the pool equals the mean amount divided by the mean flow, whatever the order
of the gates; that a pool which is nearly full makes everybody wait, however fast the wheel turns. Ines had no
theorems. She had a stick with marks on it, a bell, and the habit of walking along the bank before breakfast.

Today the wheel drives a generator, and a computer the size of a matchbox opens the gates. It measures the
level every second and keeps its own book: def level(t): return max(0.0, inflow(t) - outflow(t)). When the
village asked whether the old book could go to the museum, the answer was no. It still hangs on its nail, and
whoever passes writes down the level, in ink.
"""

MULTILINGUAL = """\
It's 2026, they're here; we'll see.   Three spaces,\ttabs,\n\n  and 1,234.56 lines.
Der Fluß fließt — «überall» — à côté du château, señor. Ёжик в тумане. Ξημερώνει. עברית, العربية ١٢٣, हिन्दी १२.
東京都の人口は約1400万人です。 한국어 문장. ไทย Việt Nam. 👩‍👩‍👧‍👦🏳️‍🌈 🙂🙂 é (combining) ½ ² Ⅷ
def f(x): return x**2  # \\u00e9 <b>&amp;</b> https://example.org/?q=1&r=%20
"""


@pytest.fixture(scope="module")
def tokens(smollm2_folder: Path) -> list[int]:
    ids: list[int] = Tokenizer.from_file(str(smollm2_folder / "tokenizer.json")).encode(TEXT).ids
    assert len(ids) >= TOKENS
    return ids[:TOKENS]


@pytest.fixture(scope="module")
def expected(smollm2_gguf: Path, tokens: list[int]) -> NDArray[np.float32]:
    return LlamaReference(smollm2_gguf).logits(tokens)


@pytest.fixture(scope="module")
def activations(smollm2_gguf: Path, smollm2_folder: Path) -> Activations:
    source = GgufSource(smollm2_gguf)
    tokenizer = Tokenizer.from_file(str(smollm2_folder / "tokenizer.json"))
    return observe(source.shape, source.weights(), tokenizer)


def exported_logits(
    shape: DecoderShape, weights: DecoderWeights, linears: Linears, tokens: list[int]
) -> NDArray[np.float32]:
    """Return the logits of all positions from a graph that keeps them all."""
    model = DecoderGraph(shape, linears, positions="all").build(weights)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    cache = np.zeros((1, shape.kv_heads, 0, shape.head_size), np.float32)
    feeds = {node.name: cache for node in session.get_inputs() if node.name.startswith("past")}
    feeds["input_ids"] = np.array([tokens], np.int64)
    feeds["attention_mask"] = np.ones((1, len(tokens)), np.int64)
    logits: NDArray[np.float32] = session.run(["logits"], feeds)[0][0]
    return logits


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    normal: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return normal


def test_the_fp32_export_computes_what_plain_numpy_computes(
    smollm2_gguf: Path, tokens: list[int], expected: NDArray[np.float32]
) -> None:
    source = GgufSource(smollm2_gguf)
    found = exported_logits(source.shape, source.weights(), FullLinears(), tokens)
    assert np.abs(found - expected).max() < 1e-3


@pytest.mark.parametrize(("form", "limit", "agreeing"), [("narrow", 0.16, 0.75), ("wide", 0.006, 0.95)])
def test_quantised_forms_stay_close_to_the_model_they_were_made_from(
    smollm2_gguf: Path,
    activations: Activations,
    tokens: list[int],
    expected: NDArray[np.float32],
    capsys: pytest.CaptureFixture[str],
    form: str,
    limit: float,
    agreeing: float,
) -> None:
    source = GgufSource(smollm2_gguf)
    weights: DecoderWeights = source.weights()
    linears: Linears = FedBackLinears(activations)
    if form == "wide":
        weights, linears = SmoothedWeights(weights, activations), WideLinears()
    found = exported_logits(source.shape, weights, linears, tokens)
    p, q = log_softmax(expected), log_softmax(found)
    divergence = float((np.exp(p) * (p - q)).sum(axis=-1).mean())
    agreement = float((expected.argmax(axis=-1) == found.argmax(axis=-1)).mean())
    with capsys.disabled():
        sys.stdout.write(
            f"\n{form} over {TOKENS} tokens: mean KL {divergence:.4f} nats, top-1 agreement {agreement:.1%}\n"
        )
    assert divergence < limit
    assert agreement > agreeing


def test_our_tokenizer_agrees_with_an_independent_one_on_many_languages(
    smollm2_gguf: Path, smollm2_folder: Path
) -> None:
    tokenizer = Tokenizer.from_file(str(smollm2_folder / "tokenizer.json"))
    reference = ByteLevelBpe(smollm2_gguf)
    for text in (MULTILINGUAL, TEXT):
        ids = tokenizer.encode(text).ids
        assert ids == reference.encode(text)
        assert tokenizer.decode(ids) == text


def test_the_capital_of_france_is_paris(smollm2_folder: Path) -> None:
    engine = GenerateEngine.open(smollm2_folder, EngineSettings(slots=1), lambda sentence: None)
    output = answer(engine, GenerateRequest(messages=(Message("user", "Name the capital of France."),)))
    assert "Paris" in output.text
    assert output.finish == "stop"


def answer(engine: GenerateEngine, request: GenerateRequest) -> Choice:
    engine.admit("only", request)
    while engine.active:
        for update in engine.step():
            if isinstance(update, Done):
                assert isinstance(update.output, GenerateOutput)
                return update.output.choices[0]
    raise AssertionError("the request ended without an output")
