"""Writing a model as a folder that onnxruntime-genai and our own engine can run.

The folder holds `genai_config.json`, `model.onnx` (its weights inside, or in `model.onnx.data` when they would not fit
into one file of the format), `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja`. A quantised model in
float32, for CPUs, has a second form, `wide.onnx`, with the same inputs, outputs and cache: our engine reads prompts
with it, others ignore it. Models in float16 are for GPUs and have one form.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from tokenizers import Tokenizer

from inference.artifacts import MODEL_FILE, WIDE_FILE
from inference.importers.architecture import DecoderShape
from inference.importers.calibration import observe
from inference.importers.decoder_graph import DecoderGraph
from inference.importers.float16 import check_float16
from inference.importers.genai_config import genai_config
from inference.importers.graph_parts import Precision
from inference.importers.linears import BlockLinears, FedBackLinears, FullLinears, FullTable, Linears
from inference.importers.model_file import save_model
from inference.importers.new_folder import new_folder, write_json
from inference.importers.quantize import BLOCK
from inference.importers.smoothing import SmoothedWeights
from inference.importers.source import open_source
from inference.importers.weights import DecoderWeights
from inference.importers.wide import WideLinears
from scheduler.errors import ImportRefused

Quantization = Literal["int4", "int8", "none"]
Report = Callable[[str], None]


def write_genai_folder(
    source: Path, out: Path, quantization: Quantization, precision: Precision, report: Report
) -> Path:
    """Convert a GGUF file or a safetensors folder into the folder `out`, replacing what was there, and return it.

    Raises ImportRefused when the source cannot be converted; then `out` is left as it was.
    """
    model_source = open_source(source)
    shape = model_source.shape
    if quantization != "none":
        _check_widths(model_source.name, shape)
    form = precision if quantization == "none" else f"{quantization}, computed with in {precision}"
    report(f"converting {shape.layers} layers of {model_source.name} to {form}")
    with new_folder(out, report) as building:
        model_source.write_tokenizer(building)
        weights = model_source.weights()
        if precision == "float16":
            largest = check_float16(model_source.name, shape, weights, _tokenizer(building))
            report(f"the largest activation is {largest:,.0f}, within float16")
            _write_half(building, shape, weights, quantization)
        else:
            _write_models(building, shape, weights, quantization)
        write_json(building / "genai_config.json", genai_config(shape, model_source.special, precision))
    return out


def _check_widths(name: str, shape: DecoderShape) -> None:
    """Raise ImportRefused when a matrix has rows that do not divide into blocks."""
    widths = (shape.hidden, shape.heads * shape.head_size, shape.feed_forward)
    if any(width % BLOCK for width in widths):
        raise ImportRefused(f"{name}: widths {', '.join(map(str, widths))} are no multiples of {BLOCK}")


def _write_models(
    building: Path, shape: DecoderShape, weights: DecoderWeights, quantization: Quantization
) -> None:
    """Write model.onnx and, of a quantised model, wide.onnx; the tokenizer must lie in the folder already."""
    if quantization == "none":
        save_model(DecoderGraph(shape, FullLinears()).build(weights), building / MODEL_FILE)
        return
    activations = observe(shape, weights, _tokenizer(building))
    wide = DecoderGraph(shape, WideLinears()).build(SmoothedWeights(weights, activations))
    save_model(wide, building / WIDE_FILE)
    del wide
    narrow = FedBackLinears(activations) if quantization == "int4" else BlockLinears(8)
    save_model(DecoderGraph(shape, narrow).build(weights), building / MODEL_FILE)


def _write_half(
    building: Path, shape: DecoderShape, weights: DecoderWeights, quantization: Quantization
) -> None:
    """Write model.onnx in float16, with the table and the logits in full; the tokenizer must lie in the folder."""
    linears: Linears
    if quantization == "none":
        linears = FullLinears()
    elif quantization == "int8":
        linears = FullTable(BlockLinears(8))
    else:
        linears = FullTable(FedBackLinears(observe(shape, weights, _tokenizer(building))))
    model = DecoderGraph(shape, linears, precision="float16").build(weights)
    save_model(model, building / MODEL_FILE)


def _tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))
