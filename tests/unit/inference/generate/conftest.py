from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.generate import GenerateEngine
from inference.importers import import_model
from tests.reference.tiny_llama import write_tiny_llama

from .tiny import CONTEXT, opened, quiet


@pytest.fixture(scope="session")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("gguf") / "tiny.gguf", context=CONTEXT)


@pytest.fixture(scope="session")
def folder(gguf_file: Path) -> Path:
    return import_model(gguf_file, gguf_file.parent / "model", quantization="none", report=quiet)


@pytest.fixture
def engine(folder: Path) -> Iterator[GenerateEngine]:
    engine = opened(folder)
    yield engine
    engine.close()
