import os
import signal
import subprocess
import sys

import click
import pytest

from forebay.client import (
    DeadlineExceeded,
    FieldFault,
    InvalidArgument,
    NotFound,
    SubmitManyError,
    TaskFailedError,
    TaskHandle,
    TaskState,
    Unavailable,
)
from scheduler.errors import StartupRefused
from scheduler.ids import new_ids
from services.cli import __main__
from services.cli.commands.up import stay_up
from services.cli.exits import CommandFailed, Exit, cause, code_of, ending, sentence_of
from services.cli.session import named
from services.cli.settings import ServerSettings, UpSettings
from services.cli.up.supervisor import Killed

ID = new_ids(7, 1, 0)[0]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommandFailed("no"), Exit.FAILED),
        (CommandFailed("no", Exit.UNREACHABLE), Exit.UNREACHABLE),
        (Unavailable("127.0.0.1:7070 does not answer"), Exit.UNREACHABLE),
        (DeadlineExceeded("no answer"), Exit.UNREACHABLE),
        (Unavailable("the log does not answer", reason="LOG_UNAVAILABLE"), Exit.FAILED),
        (NotFound("no such task", reason="TASK_NOT_FOUND"), Exit.FAILED),
        (StartupRefused("port 7070 is taken"), Exit.FAILED),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
        (ZeroDivisionError(), None),
    ],
)
def test_each_error_stands_for_one_exit_code(error: BaseException, code: Exit | None) -> None:
    assert code_of(error) == code


def test_a_known_error_becomes_one_sentence_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end, ending():
        raise ExceptionGroup("of a task group", [StartupRefused("port 7070\nis taken")])
    assert end.value.code == 1
    assert capsys.readouterr().err == "forebay: port 7070 is taken\n"


def handle(state: str = "queued") -> TaskHandle:
    return TaskHandle("07-a", TaskState(state), None)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (SubmitManyError([InvalidArgument("bad")]), "bad"),
        (SubmitManyError([InvalidArgument("bad"), handle()]), "1 of 2 tasks was not accepted; bad"),
        (
            SubmitManyError([InvalidArgument("bad"), NotFound("worse")]),
            "2 of 2 tasks were not accepted; the first: bad",
        ),
        (TaskFailedError("07-a", TaskState.FAILED, InvalidArgument("bad")), "task 07-a failed: bad"),
        (TaskFailedError("07-a", TaskState.CANCELLED, None), "task 07-a was cancelled"),
    ],
)
def test_errors_of_the_client_are_said_in_good_english(error: Exception, sentence: str) -> None:
    assert sentence_of(error) == sentence


def test_what_is_no_id_is_named_as_it_was_typed() -> None:
    fault = FieldFault("tasks.ids[1]", "is not the id of a task")
    with pytest.raises(CommandFailed, match=r"^'zzz' is not a task id;"), named([ID, "zzz"]):
        raise InvalidArgument("tasks.ids[1]: is not the id of a task", faults=[fault])
    other = InvalidArgument("selector is empty", faults=[FieldFault("selector", "is empty")])
    with pytest.raises(InvalidArgument), named(["zzz"]):
        raise other


def test_an_error_of_the_system_is_told_without_its_number() -> None:
    assert cause(FileNotFoundError(2, "No such file or directory", "/nope")) == "No such file or directory"
    assert cause(ValueError("no array")) == "no array"


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), ending():
        raise ZeroDivisionError


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["forebay", *words])
    with pytest.raises(SystemExit) as end:
        __main__.main()
    return int(end.value.code or 0)


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("submit", "--model", "m"),
        ("submit", "--prompt", "x"),
        ("submit", "--model", "m", "--prompt", "x", "--priority", "urgent"),
        ("submit", "--model", "m", "--prompt", "x", "--raw", "--system", "y"),
        ("submit", "--model", "m", "--json", "x.json", "--raw"),
        ("submit", "--model", "m", "--prompt", "x", "--deadline-in", "soon"),
        ("submit", "--model", "m", "--prompt", "x", "--count", "2", "--stream"),
        ("submit", "--model", "m", "--prompt", "x", "--label", "no-equals-sign"),
        ("watch",),
        ("cancel",),
        ("cancel", "07-x", "--model", "m"),
        ("up", "--grpc-port", "0"),
    ],
)
def test_what_cannot_be_understood_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    assert run(monkeypatch, *words) == Exit.USAGE


@pytest.mark.parametrize(
    "words",
    [
        ("ls",),
        ("get", "07-x"),
        ("queues",),
        ("runners",),
        ("models", "ls"),
        ("submit", "--model", "m", "--prompt", "x"),
    ],
)
def test_a_server_that_is_not_there_ends_with_3(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    free_ports: list[int],
    words: tuple[str, ...],
) -> None:
    address = f"127.0.0.1:{free_ports[0]}"
    assert run(monkeypatch, "--address", address, *words) == Exit.UNREACHABLE
    said = capsys.readouterr().err
    assert said == f"forebay: no server at {address}; start one with: forebay up\n"


@pytest.mark.parametrize("name", __main__.COMMANDS)
def test_every_command_explains_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert run(monkeypatch, name, "--help") == Exit.DONE
    assert f"Usage: forebay {name}" in capsys.readouterr().out
    assert isinstance(__main__.cli.get_command(click.Context(__main__.cli), name), click.Command)


def test_help_imports_no_command_and_no_grpc(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys; sys.argv = ['forebay', '--help']\n"
        "from services.cli.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'grpc', 'rich', 'numpy', 'onnxruntime', 'redis', 'pulsar', 'asyncio'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr


TOO_MUCH = """
import sys
import click
from services.cli import __main__, render
@click.command()
def flood():
    while True:
        {write}
__main__.cli.get_command = lambda ctx, name: flood
sys.argv = ["forebay", "flood"]
__main__.main()
"""


@pytest.mark.parametrize(
    "write", ["click.echo('x' * 1000)", "render.table(('a',), [('x',)] * 100, empty='')"]
)
def test_a_reader_that_leaves_early_ends_a_command_without_a_word(write: str) -> None:
    command = [sys.executable, "-c", TOO_MUCH.format(write=write)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 128 + signal.SIGPIPE


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


async def test_an_up_that_was_killed_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*settings: object) -> None:
        raise Killed

    monkeypatch.setattr("services.cli.up.platform.platform", killed)
    with pytest.raises(CommandFailed) as end:
        await stay_up(UpSettings(), ServerSettings(), {})
    assert end.value.code is Exit.INTERRUPTED
