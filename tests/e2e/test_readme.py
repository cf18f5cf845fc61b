"""The README's commands and code, as they stand there, against a running system."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from forebay.client import Client
from tests.system import System, run_cli

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
USAGE = README[README.index("## Use it") : README.index("## Read the code")]
DEFAULT_ADDRESS = "127.0.0.1:7070"


def block(language: str, place: int = 0) -> str:
    return str(re.findall(rf"```{language}\n(.*?)```", USAGE, re.DOTALL)[place])


def test_the_commands_of_the_readme_work(chat_system: System, grpcurl: str) -> None:
    lines = block("sh").splitlines()
    assert len(lines) >= 6
    for line in lines:
        program, *arguments = shlex.split(line.replace(DEFAULT_ADDRESS, chat_system.grpc))
        if "ID" in arguments:
            arguments = [newest(chat_system) if word == "ID" else word for word in arguments]
        if program == ".venv/bin/forebay":
            done = run_cli(chat_system.grpc, *arguments)
        else:
            assert program == "grpcurl", line
            done = subprocess.run(
                [grpcurl, *arguments], capture_output=True, text=True, timeout=30, check=False
            )
        # The doctor may find fault with this machine; that it answers is what counts here.
        assert done.returncode == 0 or "doctor" in arguments, f"{line}\n{done.stdout}{done.stderr}"
        assert done.stdout.strip(), line


def newest(system: System) -> str:
    """Return the id of the task that was submitted last."""
    with Client(system.grpc) as client:
        [task] = client.list(limit=1)
    return task.id


def test_the_code_of_the_readme_streams_an_answer(chat_system: System) -> None:
    code = block("python").replace(DEFAULT_ADDRESS, chat_system.grpc)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 20


def test_the_code_with_tritons_client_brings_the_sums(system: System) -> None:
    code = block("python", 1)
    assert DEFAULT_ADDRESS in code
    done = subprocess.run(
        [sys.executable, "-c", code.replace(DEFAULT_ADDRESS, system.grpc)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("[[2. 2. 2. 2.]]\n", 0), done.stderr


def test_the_targets_that_the_readme_names_exist() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text("utf-8")
    for target in re.findall(r"`?make ([a-z-]+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
