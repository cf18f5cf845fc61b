import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
WAITS = """
    async def main(stop):
        print("up", flush=True)
        await stop.wait()
"""
NEVER_STOPS = """
    async def main(stop):
        print("up", flush=True)
        await stop.wait()
        print("asked", flush=True)
        await asyncio.Event().wait()
"""
REFUSES = """
    async def main(stop):
        async with asyncio.TaskGroup() as group:
            group.create_task(refuse())

    async def refuse():
        raise StartupRefused("port 1 is taken: choose another")
"""
FAILS = """
    async def main(stop):
        raise RuntimeError("canary")
"""


HEAD = """
import asyncio, os, subprocess, sys
from scheduler.errors import StartupRefused
from services.lifecycle import run_service
"""
TAIL = """
sys.exit(run_service("test", main))
"""
SPAWNS = """
import os, subprocess, sys
environ = {**os.environ, "FOREBAY_PARENT_PID": str(os.getpid())}
subprocess.Popen([sys.executable, "-c", os.environ["CHILD"]], env=environ).wait()
"""


def python(script: str, **environ: str) -> subprocess.Popen[str]:
    path = os.pathsep.join(str(ROOT / part) for part in ("", "protos/gen", "sdk"))
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, **environ},
    )


def script_of(body: str) -> str:
    return HEAD + textwrap.dedent(body) + TAIL


def start(body: str, **environ: str) -> subprocess.Popen[str]:
    return python(script_of(body), **environ)


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=15)
    return process.returncode, errors


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_first_signal_asks_a_process_to_stop() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        process = start(WAITS)
        assert line_of(process) == "up"
        process.send_signal(number)
        assert finished(process)[0] == 0


def test_the_second_signal_ends_it_at_once() -> None:
    process = start(NEVER_STOPS)
    assert line_of(process) == "up"
    process.send_signal(signal.SIGTERM)
    assert line_of(process) == "asked"
    process.send_signal(signal.SIGTERM)
    assert finished(process)[0] == 128 + signal.SIGTERM


def test_an_error_that_is_foreseen_is_one_line_and_exit_code_1() -> None:
    code, errors = finished(start(REFUSES))
    (line,) = errors.splitlines()
    shown = json.loads(line)
    assert code == 1
    assert shown["reason"] == "STARTUP_REFUSED"
    assert shown["why"] == "port 1 is taken: choose another"


def test_an_error_that_is_not_foreseen_hides_its_text() -> None:
    code, errors = finished(start(FAILS))
    assert code == 1
    assert "RuntimeError" in errors
    assert "canary" not in errors


def test_a_process_whose_parent_is_gone_does_not_start() -> None:
    process = start(WAITS, FOREBAY_PARENT_PID="1")
    assert finished(process)[0] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it takes a second")
def test_a_process_dies_with_its_parent() -> None:
    parent = python(SPAWNS, CHILD=script_of(WAITS))
    assert line_of(parent) == "up"
    parent.kill()
    # The pipe is at its end when the last process that holds it is gone.
    assert finished(parent)[0] == -signal.SIGKILL


BLOCKS = """
    import time
    async def main(stop):
        print("up", flush=True)
        await stop.wait()
        time.sleep(60)
"""
LINGERS = """
    async def main(stop):
        print("up", flush=True)
        await stop.wait()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.Event().wait()
"""


def test_an_end_that_takes_too_long_is_cut_short_and_says_what_it_waited_for() -> None:
    with python(HEAD + textwrap.dedent(LINGERS) + TAIL, FOREBAY_STOP_WITHIN_S="1.6") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=10)
    assert process.returncode == 0
    events = [json.loads(line) for line in stderr.splitlines()]
    late = [event for event in events if event["event"] == "end takes too long"]
    assert len(late) == 2
    assert "main:" in late[0]["waits_for"][0]
    assert "Event.wait:" in late[0]["waits_for"][0]


def test_a_process_that_is_stuck_in_a_call_leaves_its_stacks_before_it_is_killed() -> None:
    with python(HEAD + textwrap.dedent(BLOCKS) + TAIL, FOREBAY_STOP_WITHIN_S="0.2") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        seen = ""
        for line in process.stderr:
            seen += line
            if "in main" in line:
                break
        process.kill()
    assert "Timeout" in seen
