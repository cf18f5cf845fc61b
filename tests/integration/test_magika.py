"""A real model through the tensor engine: magika's, bytes of a file in, kind of file out."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from forebay.tasks.v1.task_pb2 import TaskSpec
from inference.convert import request_of, result_of
from inference.engine import Done
from inference.fetch import fetch_wheel_file
from inference.loading import load_engine
from inference.settings import EngineSettings
from inference.tensor.engine import TensorEngine
from scheduler.errors import InvalidInput, ModelUnusable
from tests.fixtures.components import missing

VERSION: Final = "1.0.3"
FOLDER: Final = "magika/models/standard_v3_3"
MODEL_SHA256: Final = "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c"
CONFIG_SHA256: Final = "ae24c742205358f6ff6dfd5facb6743fb69743dbba8373e73da58ff0cbd695db"
CACHE: Final = Path.home() / ".cache" / "forebay"
EDGE: Final = 1024
"""Bytes of the beginning and of the end of a file that the model looks at."""
PADDING: Final = 256

PYTHON: Final = b"""import sys


class Greeter:
    def __init__(self, name):
        self.name = name


def main() -> int:
    print("hello", Greeter("you").name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
"""

HTML: Final = b"""<!DOCTYPE html>
<html>
  <head><title>Forebay</title></head>
  <body><h1>Hello</h1><p>Text</p></body>
</html>
"""

SHELL: Final = b"""#!/bin/bash
set -euo pipefail
for file in "$@"; do
  echo "$file"
  grep -c x "$file" || true
done
"""

SAMPLES: Final = {
    "python": PYTHON,
    "html": HTML,
    "shell": SHELL,
    "json": json.dumps(
        {"name": "forebay", "levels": ["critical", "high"], "weights": {"low": 1}}, indent=2
    ).encode(),
    "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1\0\0\0\1\0\x08\6\0\0\0" + bytes(range(256)) * 8,
}


def fetched(member: str, sha256: str) -> Path:
    try:
        return fetch_wheel_file(
            "magika", VERSION, f"{FOLDER}/{member}", sha256, CACHE, lambda _: None, timeout_s=100
        )
    except ModelUnusable as error:
        missing("magika's model", str(error))


@pytest.fixture(scope="module")
def labels() -> list[str]:
    config = json.loads(fetched("config.min.json", CONFIG_SHA256).read_bytes())
    return list(config["target_labels_space"])


@pytest.fixture(scope="module")
def engine() -> Iterator[TensorEngine]:
    loaded = load_engine(
        fetched("model.onnx", MODEL_SHA256),
        # Without a limit of time, which on a busy machine would be one file a run.
        EngineSettings(providers=("cpu",), batch_time_s=0.0),
        lambda _: None,
    )
    assert isinstance(loaded, TensorEngine)
    loaded.warm_up()
    yield loaded
    loaded.close()


def features(content: bytes) -> bytes:
    """Return the model's input row: first and last bytes without white space around them, padded."""
    first = list(content[:4096].lstrip()[:EDGE])
    last = list(content[-4096:].rstrip()[-EDGE:])
    row = first + [PADDING] * (EDGE - len(first)) + [PADDING] * (EDGE - len(last)) + last
    return np.array(row, np.int32).tobytes()


def task(content: bytes) -> TaskSpec:
    spec = TaskSpec(model="magika")
    spec.tensors.tensors.add(name="bytes", datatype="INT32", shape=[1, 2 * EDGE], raw=features(content))
    return spec


pytestmark = pytest.mark.timeout(120)  # the first run fetches 15 MB


def test_the_card_is_that_of_the_model(engine: TensorEngine) -> None:
    assert engine.card.digest == MODEL_SHA256
    assert [(s.name, s.datatype, s.shape) for s in engine.card.inputs] == [("bytes", "INT32", (-1, 2048))]
    assert [(s.name, s.datatype, s.shape) for s in engine.card.outputs] == [
        ("target_label", "FP32", (-1, 214))
    ]
    assert engine.together > 1


def test_files_are_recognised_together(engine: TensorEngine, labels: list[str]) -> None:
    for kind, content in SAMPLES.items():
        engine.admit(kind, request_of(task(content)))
    updates = list(engine.step())
    # A machine that is busy with other things gets smaller batches: the engine goes by the time that they took.
    while engine.active:
        updates += engine.step()
    assert len(updates) == len(SAMPLES)
    for update in updates:
        assert isinstance(update, Done)
        [tensor] = result_of(update.output).tensors.tensors
        scores = np.frombuffer(tensor.raw, "<f4").reshape(tensor.shape)
        assert scores.shape == (1, len(labels))
        assert labels[int(scores.argmax())] == update.key
        assert scores.sum() == pytest.approx(1, abs=1e-3)


def test_a_wrong_shape_is_refused_by_name(engine: TensorEngine) -> None:
    spec = TaskSpec()
    spec.tensors.tensors.add(name="bytes", datatype="INT32", shape=[1, 2], raw=b"\0" * 8)
    with pytest.raises(InvalidInput, match=r"input 'bytes' expects shape \[-1,2048\], got \[1,2\]"):
        engine.admit("a", request_of(spec))
