"""A real embedding model through the doors that people use for it: imported, served, asked both ways."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from forebay.client import Client, InvalidArgument, TaskState
from forebay.inference.v1 import inference_service_pb2, inference_service_pb2_grpc
from forebay.tasks.v1 import inputs_pb2
from tests.reference.varied_texts import varied_texts
from tests.system import System, forebay_up, run_cli
from tests.unit.inference.embed.encoders import cosines

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

MODEL = "minilm"
EXAMPLES = Path(__file__).parents[2] / "examples"
LIKE = ["A man is eating food.", "Somebody is having a meal.", "The stock market fell today."]


@pytest.fixture(scope="module")
def embedding_system(minilm_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system that serves the model in both forms, imported by the command line."""
    out = tmp_path_factory.mktemp("imported")
    for name, more in ((MODEL, ()), (f"{MODEL}-int8", ("--quantization", "int8"))):
        arguments = ("models", "import", str(minilm_source), "--name", name, "--out", str(out), *more)
        done = run_cli("127.0.0.1:1", *arguments, timeout_s=120)
        assert done.returncode == 0, done.stderr
        assert f"forebay up --model {name}={out / name}" in done.stdout
    models = {name: out / name for name in (MODEL, f"{MODEL}-int8")}
    with (
        tempfile.TemporaryDirectory(prefix="forebay-embed-") as data,
        forebay_up(Path(data), models) as running,
    ):
        yield running


@pytest.fixture
def client(embedding_system: System) -> Iterator[Client]:
    with Client(embedding_system.grpc) as opened:
        yield opened


def test_a_durable_task_and_a_call_give_the_same_vectors(client: Client) -> None:
    texts = varied_texts()[:30]
    task = client.wait(client.submit(MODEL, texts=texts), timeout_s=60)
    assert task.state is TaskState.SUCCEEDED
    called = client.embed(MODEL, texts)
    assert called.vectors.shape == (30, 384)
    np.testing.assert_allclose(task.embeddings.vectors, called.vectors, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(called.vectors, axis=1), 1, atol=1e-5)
    assert called.tokens == task.embeddings.tokens
    assert called.usage.input_tokens == sum(called.tokens)


def test_texts_of_like_meaning_are_near_in_both_forms(client: Client) -> None:
    full, narrow = (client.embed(name, LIKE).vectors for name in (MODEL, f"{MODEL}-int8"))
    assert cosines(full, narrow).min() > 0.99
    for a, b, c in (full, narrow):
        assert a @ b > 0.5
        assert a @ c < 0.2


def test_a_text_that_is_too_long_is_read_in_part_and_that_is_told(client: Client) -> None:
    answer = client.embed(MODEL, ["word " * 254, "word " * 255], normalize=False)
    assert answer.tokens == (256, 256)
    assert answer.truncated == (False, True)
    assert np.linalg.norm(answer.vectors[0]) > 1.5
    np.testing.assert_allclose(answer.vectors[0], answer.vectors[1], atol=1e-4)


def test_plain_stubs_are_answered(embedding_system: System) -> None:
    with grpc.insecure_channel(embedding_system.grpc) as channel:
        stub = inference_service_pb2_grpc.InferenceServiceStub(channel)
        embed = inputs_pb2.EmbedInput(texts=LIKE)
        response = stub.Embed(inference_service_pb2.EmbedRequest(model=MODEL, embed=embed), timeout=30)
    assert [len(one.values) for one in response.embed.embeddings] == [384] * 3


def test_an_empty_text_is_refused_by_its_place(client: Client) -> None:
    with pytest.raises(InvalidArgument, match=r"embed.texts\[1\]"):
        client.embed(MODEL, ["a", ""])


def test_the_command_line_lists_the_model_and_submits_texts(embedding_system: System) -> None:
    listed = run_cli(embedding_system.grpc, "models", "ls").stdout
    rows = [line.split() for line in listed.splitlines()]
    assert {tuple(row[:2]) for row in rows} >= {(MODEL, "embed"), (f"{MODEL}-int8", "embed")}
    texts = ("--text", LIKE[0], "--text", LIKE[1])
    done = run_cli(embedding_system.grpc, "submit", "--model", MODEL, *texts, "--wait")
    assert done.returncode == 0, done.stderr


def test_the_example_finds_the_text_that_answers(embedding_system: System) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "nearest_texts.py"), "--query", "How do I get my money back?"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "FOREBAY_ADDRESS": embedding_system.grpc},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, *others = done.stdout.splitlines()
    assert "Refunds are paid" in first
    assert len(others) == 4
