"""Whether a model can be computed with in float16, whose largest number is 65,504.

Weights are checked as they are written. Activations show only while the model reads: it reads the built-in text once
in float32, and the largest number that any layer hands on has to stay well below that limit. Gemma's do not, whatever
the text: the family was trained in bfloat16, which has the range of float32, and uses it.
"""

from typing import Final

import numpy as np
from onnx import TensorProto, helper
from tokenizers import Tokenizer

from inference.importers.architecture import DecoderShape
from inference.importers.calibration import run_once, sample
from inference.importers.decoder_graph import DecoderGraph
from inference.importers.linears import FullLinears, Linears
from inference.importers.quantize import BLOCK
from inference.importers.weights import DecoderWeights
from inference.importers.wide import WideLinears
from scheduler.errors import ImportRefused

LARGEST: Final = float(np.finfo(np.float16).max)
MARGIN: Final = 2.0
"""Other texts may reach larger numbers than the one that is read here; by this factor at most, it is taken."""

_TOKENS: Final = 256  # the largest numbers stand at the first tokens of a text
_HANDED_ON: Final = (".qkv.out", ".attention.out.out", ".gate_up.out", ".product.out", ".down.out", ".sum")
"""Ends of the names of what layers compute: products with matrices, the gated product, and the residual stream."""


def check_float16(name: str, shape: DecoderShape, weights: DecoderWeights, tokenizer: Tokenizer) -> float:
    """Return the largest number that a layer hands on while the model reads the built-in text.

    Raises ImportRefused when that may be too large for float16; `name` is what the model is called in the sentence.
    """
    if shape.family == "gemma3":
        raise ImportRefused(
            f"{name}: activations of Gemma models pass {LARGEST:,.0f}, the largest number of float16; "
            "import it with --precision float32"
        )
    largest = largest_activation(shape, weights, tokenizer)
    if not largest * MARGIN <= LARGEST:  # nor when it is not a number
        raise ImportRefused(
            f"{name}: activations reach {largest:,.0f} while a short text is read, too near to {LARGEST:,.0f}, "
            "the largest number of float16; import it with --precision float32"
        )
    return largest


def largest_activation(shape: DecoderShape, weights: DecoderWeights, tokenizer: Tokenizer) -> float:
    """Let a model read the built-in text in float32, and return the largest number that a layer hands on."""
    widths = (shape.hidden, shape.heads * shape.head_size, shape.feed_forward)
    # The 8-bit form takes a quarter of the memory, and numbers of this size do not depend on it.
    linears: Linears = FullLinears() if any(width % BLOCK for width in widths) else WideLinears()
    model = DecoderGraph(shape, linears).build(weights)
    peaks = []
    outputs = [output for node in model.graph.node for output in node.output]
    for output in [output for output in outputs if output.endswith(_HANDED_ON)]:
        size, peak = f"{output}.size", f"{output}.peak"
        model.graph.node.append(helper.make_node("Abs", [output], [size]))
        model.graph.node.append(helper.make_node("ReduceMax", [size], [peak], keepdims=0))
        model.graph.output.append(helper.make_tensor_value_info(peak, TensorProto.FLOAT, []))
        peaks.append(peak)
    found = run_once(model, shape, sample(shape, tokenizer, _TOKENS), peaks)
    return float(np.max(list(found.values())))
