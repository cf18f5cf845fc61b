"""Writing an encoder as a folder that the embedding engine runs: `model.onnx`, `tokenizer.json`, `embed_config.json`.

The source is a Hugging Face folder, with the files of sentence-transformers where it has them.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from tokenizers import Tokenizer

from inference.artifacts import EMBED_CONFIG, MODEL_FILE
from inference.embed.pipeline import Pipeline, read_pipeline
from inference.importers.encoder_architecture import EncoderShape, encoder_shape
from inference.importers.encoder_calibration import observe_peaks
from inference.importers.encoder_eight_bits import SMOOTHED, EightBitProducts
from inference.importers.encoder_graph import EncoderGraph, FullProducts, Products
from inference.importers.encoder_weights import EncoderWeights
from inference.importers.model_file import save_model
from inference.importers.new_folder import new_folder, write_json
from inference.importers.safetensors_folder import SafetensorsFolder, inside, read_json
from scheduler.errors import ImportRefused, ModelUnusable

_TOKENIZER: Final = "tokenizer.json"
_PROMPTS: Final = "config_sentence_transformers.json"
_LARGEST_TOKENIZER_BYTES: Final = 256_000_000


def write_embed_folder(
    source: Path, out: Path, quantization: Literal["int8", "none"], report: Callable[[str], None]
) -> Path:
    """Convert the encoder in the folder `source` into the folder `out`, replacing what was there, and return it.

    Raises ImportRefused when it cannot be converted; then `out` is left as it was.
    """
    # `resolve` gives a folder such as `.` its name.
    source = source.resolve()
    shape = encoder_shape(read_json(source, "config.json"), f"{source.name}/config.json")
    pipeline = _pipeline(source)
    tokenizer = _tokenizer(source, shape)
    _tell_prompts(source, report)
    weights = EncoderWeights(SafetensorsFolder(source), shape)
    form = "float32" if quantization == "none" else "int8, computed with in float32"
    report(f"converting {shape.layers} layers of {source.name} to {form}")
    products: Products = FullProducts()
    if quantization == "int8":
        peaks = observe_peaks(shape, weights, Tokenizer.from_file(str(tokenizer)), SMOOTHED)
        products = EightBitProducts(peaks)
    with new_folder(out, report) as building:
        save_model(EncoderGraph(shape, products).build(weights), building / MODEL_FILE)
        shutil.copyfile(tokenizer, building / _TOKENIZER)
        config = {
            "pooling": pipeline.pooling.value,
            "max_length": min(pipeline.max_length or shape.context, shape.context),
            "dimensions": shape.hidden,
            "lowercase": pipeline.lowercase,
            "quantization": quantization,
        }
        write_json(building / EMBED_CONFIG, config)
    return out


def _pipeline(source: Path) -> Pipeline:
    try:
        return read_pipeline(source)
    except ModelUnusable as error:
        raise ImportRefused(str(error))


def _tokenizer(source: Path, shape: EncoderShape) -> Path:
    """Return the tokenizer's file when it can be used and gives no token that the model does not have."""
    if not (source / _TOKENIZER).exists():
        raise ImportRefused(
            f"{source.name} has no {_TOKENIZER}, which `save_pretrained` of a fast tokenizer writes"
        )
    path = inside(source, _TOKENIZER)
    if path.stat().st_size > _LARGEST_TOKENIZER_BYTES:
        raise ImportRefused(f"{path} is larger than {_LARGEST_TOKENIZER_BYTES} bytes")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise ImportRefused(f"{path} cannot be used: {error}")
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    if largest >= shape.vocabulary:
        raise ImportRefused(f"{path} has a token {largest}, but the model has {shape.vocabulary} tokens")
    return path


def _tell_prompts(source: Path, report: Callable[[str], None]) -> None:
    """Say when the model was trained with words before each text: nothing adds them."""
    if not (source / _PROMPTS).is_file():
        return
    prompts = read_json(source, _PROMPTS).get("prompts")
    if isinstance(prompts, dict) and any(prompts.values()):
        names = ", ".join(sorted(str(name) for name, prompt in prompts.items() if prompt))
        report(
            f"the model knows prompts ({names}), which are not added: send them as the beginning of a text"
        )
