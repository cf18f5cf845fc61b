"""Triton's client from PyPI, unchanged, at both KServe doors of a whole system with a repository of models."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.components import missing
from tests.kserve_repository import save_repository
from tests.system import System, forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "kserve.md").read_text("utf-8")
SHARED = (
    *("describing", "lacking", "types", "compressing", "at_once", "asyncio_client", "classifying"),
    *("sequences", "counting", "options", "controlling"),
)
SCENARIOS = (
    *(("grpc", scenario) for scenario in SHARED),
    *(("http", scenario) for scenario in SHARED),
    *(("grpc", scenario) for scenario in ("large", "cancelling", "streaming", "asyncio_streaming")),
    ("grpc", "sequences_in_a_stream"),
    *(("http", scenario) for scenario in ("forms", "not_finite")),
)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    repository = save_repository(tmp_path_factory.mktemp("repository"))
    # Not below pytest's own folder: the path of a socket inside must stay under 108 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="forebay-kserve-") as data,
        forebay_up(Path(data), {}, arguments=("--model-repository", str(repository))) as running,
    ):
        yield running


def play(door: str, address: str, scenario: str) -> None:
    """Have the client do something; what it finds wrong is the failure."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.triton", door, address, scenario],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("door", "scenario"), SCENARIOS)
def test_tritons_client_works_unchanged(serving: System, door: str, scenario: str) -> None:
    play(door, serving.grpc if door == "grpc" else serving.http, scenario)


def test_no_scenario_is_forgotten() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            "from tests.triton import over_grpc, over_http\n"
            "for door, found in (('grpc', over_grpc.SCENARIOS), ('http', over_http.SCENARIOS)):\n"
            "    print(*(f'{door}.{each.__name__}' for each in found), sep='\\n')",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=True,
    )
    assert sorted(done.stdout.split()) == sorted(f"{door}.{scenario}" for door, scenario in SCENARIOS)


def test_a_language_model_answers_tritons_client_whole_and_in_pieces(chat_system: System) -> None:
    play("grpc", chat_system.grpc, "language")


def block(language: str) -> str:
    """Return the one block of code in that language which the document has."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


@pytest.mark.parametrize("door", ["http", "grpc"])
def test_the_code_of_the_document_brings_the_sums_at_either_door(serving: System, door: str) -> None:
    code = block("python")
    assert "tritonclient.http" in code and "127.0.0.1:7080" in code
    code = code.replace("127.0.0.1:7080", serving.http if door == "http" else serving.grpc)
    done = subprocess.run(
        [sys.executable, "-c", code.replace("tritonclient.http as", f"tritonclient.{door} as")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("[[2. 2. 2. 2.]]\n", 0), done.stderr


def test_the_command_of_the_document_streams_a_text(chat_system: System) -> None:
    command = block("sh")
    assert "127.0.0.1:7080" in command
    command = command.replace("127.0.0.1:7080", chat_system.http).replace("\\\n", "")
    program, *arguments = shlex.split(command)
    if shutil.which(program) is None:
        missing(program, "it is not installed")
    done = subprocess.run(
        [program, "-sS", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    events = [json.loads(line.removeprefix("data: ")) for line in done.stdout.splitlines() if line]
    assert len(events) > 1
    assert "".join(event["text_output"] for event in events).strip()
    assert events[-1]["finish_reason"] in ("stop", "length")
