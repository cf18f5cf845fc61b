"""Embedding models as models of tensors: texts go in, vectors come out.

Inputs: `text` BYTES [n], UTF-8; `normalize` BOOL [1], which may be left out. Outputs: `embedding` FP32 [n, dimensions];
`truncated` BOOL [n], which says of each text whether it was longer than the model reads.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from forebay.compat.kserve.kserve_service_pb2 import ModelInferResponse
from forebay.runner.v1.runner_service_pb2 import Answer
from forebay.tasks.v1.inputs_pb2 import EmbedInput
from inference.rules import check_embed
from scheduler.errors import FieldFault, InvalidInput
from services.gateway.input_validation import Faults
from services.gateway.kserve.contents import Element
from services.gateway.kserve.port import Port
from services.gateway.validation import MAX_FAULTS

TEXT: Final = "text"
NORMALIZE: Final = "normalize"
EMBEDDING: Final = "embedding"
TRUNCATED: Final = "truncated"
INPUTS: Final = (Port(TEXT, "BYTES", (-1,)), Port(NORMALIZE, "BOOL", (1,), optional=True))


def outputs(dimensions: int) -> tuple[Port, ...]:
    """Return the outputs of a model whose vectors have so many numbers, 0 when that is not known."""
    return Port(EMBEDDING, "FP32", (-1, dimensions or -1)), Port(TRUNCATED, "BOOL", (-1,))


def embed_input(values: Mapping[str, Sequence[Element]]) -> EmbedInput:
    """Return what a runner gets of the values of a request's inputs. Raises InvalidInput with every fault found."""
    message = EmbedInput()
    faults: Faults = []
    for index, text in enumerate(values[TEXT]):
        try:
            message.texts.append(text)  # type: ignore[arg-type]  # it takes bytes that are UTF-8, and is checked to
        except ValueError:
            faults.append((f"embed.texts[{index}]", "must be UTF-8"))
    if not faults:
        check_embed(message, faults)
    if faults:
        raise InvalidInput(
            [
                FieldFault(path.replace("embed.texts", "inputs.text"), fault)
                for path, fault in faults[:MAX_FAULTS]
            ]
        )
    if NORMALIZE in values:
        message.normalize = bool(values[NORMALIZE][0])
    return message


def write_embeddings(response: ModelInferResponse, answer: Answer, wanted: tuple[str, ...]) -> None:
    """Write what an embedding model answered: the `wanted` outputs, all when there are none."""
    embeddings = answer.embed.embeddings
    count = len(embeddings)
    for name in wanted or (EMBEDDING, TRUNCATED):
        if name == EMBEDDING:
            values = [each.values[:] for each in embeddings]
            vectors = np.array(values, "<f4").reshape(count, -1)
            response.outputs.add(name=name, datatype="FP32", shape=vectors.shape)
            response.raw_output_contents.append(vectors.tobytes())
        else:
            response.outputs.add(name=name, datatype="BOOL", shape=(count,))
            response.raw_output_contents.append(bytes(each.truncated for each in embeddings))
