"""The example that finds similar sentences, and what the document of embeddings shows, with the real model."""

import ast
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import System, forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # the first run fetches 84 MB and converts them

EXAMPLE = Path(__file__).parents[2] / "examples" / "find_similar.py"
PAGE = (Path(__file__).parents[2] / "docs" / "embeddings.md").read_text("utf-8")
SENTENCES = (
    "A refund is paid within five days of your request.",
    "The museum opens at nine in the morning.",
    "She plays the violin in a small orchestra.",
    "Returned goods are reimbursed to your account.",
    "The river froze over for the first time in years.",
)


@pytest.fixture(scope="module")
def serving(minilm_folder: Path) -> Iterator[System]:
    # Not below pytest's own folder: the path of a socket inside must stay under 108 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="forebay-embedding-") as data,
        forebay_up(Path(data), {"minilm": minilm_folder}) as running,
    ):
        yield running


def run(system: System, sentences: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), *arguments],
        input=sentences,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "FOREBAY_ADDRESS": system.grpc},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_what_means_the_same_is_found_whatever_its_words(serving: System) -> None:
    done = run(serving, "\n".join(SENTENCES), "--query", "How do I get my money back?", "--count", "2")
    found = [line.partition(" ") for line in done.stdout.splitlines()]
    assert {text for _, _, text in found} == {SENTENCES[0], SENTENCES[3]}
    cosines = [float(cosine) for cosine, _, _ in found]
    assert cosines == sorted(cosines, reverse=True)
    assert all(0 < cosine < 1 for cosine in cosines)
    assert done.stderr == ""


def test_the_same_sentence_is_the_most_similar_and_a_long_one_is_reported(serving: System) -> None:
    long = "money " * 400
    done = run(serving, f"{SENTENCES[2]}\n{long}\n", "--query", SENTENCES[2], "--count", "1")
    assert done.stdout == f"1.00 {SENTENCES[2]}\n"
    assert done.stderr.startswith("only the beginning was read of: money money")


def block(language: str) -> str:
    """Return the one block of code in that language which the document has."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def forebay(line: str, folder: Path, **environment: str) -> str:
    """Run a line of the document in a folder and return what it says."""
    program, *arguments = shlex.split(line, comments=True)
    assert program == ".venv/bin/forebay"
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=folder,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_commands_of_the_document_bring_a_model_and_a_vector(
    serving: System, minilm_source: Path, tmp_path: Path
) -> None:
    fetching, importing, running, asking = block("sh").splitlines()
    assert str(minilm_source) in forebay(fetching, tmp_path)
    assert "FOLDER" in importing
    forebay(importing.replace("FOLDER", str(minilm_source)), tmp_path)
    assert (tmp_path / "models" / "minilm" / "embed_config.json").is_file()
    # Which is how the system was started, but for the folder.
    assert shlex.split(running) == [".venv/bin/forebay", "up", "--model", "minilm=models/minilm"]
    assert forebay(asking, tmp_path, FOREBAY_ADDRESS=serving.grpc).strip()


def test_the_code_of_the_document_brings_vectors_and_submits_a_task(serving: System) -> None:
    code = block("python")
    assert "127.0.0.1:7070" in code
    done = subprocess.run(
        [sys.executable, "-c", code.replace("127.0.0.1:7070", serving.grpc)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shape, tokens, truncated = ast.literal_eval(re.sub(r"\) \(", "), (", done.stdout.strip()))
    assert shape == (2, 384)
    assert len(tokens) == 2 and all(count > 2 for count in tokens)
    assert truncated == (False, False)
