import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from scheduler.errors import StartupRefused
from services.cli.up import spawn
from services.cli.up.plan import ProcessSpec, RedisAnswers
from services.cli.up.supervisor import Killed, Stopped, Supervisor

PING_SERVER = """
import socket, sys, threading
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
def answer(connection):
    while data := connection.recv(4096):
        connection.sendall(b"+PONG\\r\\n" * (data.count(b"PING") or data.count(b"CLIENT") or 1))
while True:
    threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()
"""


STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('WARNING deaf', flush=True); time.sleep(60)"


class Heard:
    """What was said, and a way to wait for it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._changed = asyncio.Event()

    def say(self, who: str, text: str) -> None:
        self.lines.append(f"{who}: {text}")
        self._changed.set()

    async def wait_for(self, part: str, times: int = 1) -> None:
        while sum(part in line for line in self.lines) < times:
            self._changed.clear()
            await self._changed.wait()


@pytest.fixture
def heard() -> Heard:
    return Heard()


def server(name: str, port: int, after: tuple[str, ...] = ()) -> ProcessSpec:
    command = (sys.executable, "-I", "-S", "-c", PING_SERVER, str(port))
    return ProcessSpec(name, command, RedisAnswers(f"redis://127.0.0.1:{port}/0"), after=after)


def failing(name: str, code: str, **limits: float) -> ProcessSpec:
    command = (sys.executable, "-I", "-S", "-c", code)
    return ProcessSpec(name, command, RedisAnswers("redis://127.0.0.1:1/0"), **limits)  # type: ignore[arg-type]


async def test_children_start_in_order_and_end_in_reverse(
    tmp_path: Path, heard: Heard, free_ports: list[int]
) -> None:
    first, second = free_ports[:2]
    supervisor = Supervisor([server("a", first), server("b", second, after=("a",))], tmp_path, heard.say)
    async with supervisor.running():
        await supervisor.started()
        pids = supervisor.pids
        order = [line.split(",")[0] for line in heard.lines]
    assert [line for line in order if "starting" in line] == ["a: starting", "b: starting"]
    assert order.index("b: starting") > next(i for i, line in enumerate(order) if line.startswith("a: ready"))
    assert set(pids) == {"a", "b"}
    assert not any(psutil.pid_exists(pid) for pid in pids.values())


async def test_a_child_that_is_killed_is_started_again_and_the_reason_is_said(
    tmp_path: Path, heard: Heard, free_ports: list[int]
) -> None:
    supervisor = Supervisor([server("a", free_ports[0])], tmp_path, heard.say)
    async with supervisor.running():
        await supervisor.started()
        before = supervisor.pids["a"]
        os.kill(before, signal.SIGKILL)
        await heard.wait_for("ready after", times=2)
        assert supervisor.pids["a"] != before
    assert "a: died (by SIGKILL); starting it again in 0.2 s" in heard.lines


async def test_three_deaths_within_a_minute_end_everything_with_the_childs_last_words(
    tmp_path: Path, heard: Heard, free_ports: list[int]
) -> None:
    dying = failing("b", 'print(\'{"level": "ERROR", "event": "no luck today"}\'); raise SystemExit(7)')
    supervisor = Supervisor([server("a", free_ports[0]), dying], tmp_path, heard.say)
    with pytest.raises(
        StartupRefused, match=r"b died 3 times within a minute \(exit code 7: error: no luck today\)"
    ):
        async with supervisor.running():
            await supervisor.started()
    assert sum("b: died" in line for line in heard.lines) == 2
    assert not supervisor.pids


async def test_a_child_that_refuses_to_start_is_not_started_again(tmp_path: Path, heard: Heard) -> None:
    line = '{"level": "error", "event": "process ends", "reason": "STARTUP_REFUSED", "why": "no weights: x"}'
    supervisor = Supervisor([failing("a", f"print({line!r}); raise SystemExit(1)")], tmp_path, heard.say)
    with pytest.raises(StartupRefused, match=r"^a cannot start: no weights: x$"):
        async with supervisor.running():
            await supervisor.started()
    assert sum("starting" in line for line in heard.lines) == 1


async def test_a_child_that_never_gets_ready_is_killed_and_counts_as_dead(
    tmp_path: Path, heard: Heard
) -> None:
    supervisor = Supervisor(
        [failing("a", "import time; time.sleep(60)", start_limit_s=0.2)], tmp_path, heard.say
    )
    with pytest.raises(StartupRefused, match="was not ready within"):
        async with supervisor.running():
            await supervisor.started()


async def test_stopping_while_children_start_leaves_nothing_behind(tmp_path: Path, heard: Heard) -> None:
    supervisor = Supervisor([failing("a", "import time; time.sleep(60)")], tmp_path, heard.say)
    with pytest.raises(Stopped):
        async with supervisor.running():
            await heard.wait_for("starting")
            pids = supervisor.pids
            supervisor.stop()
            await supervisor.started()
    assert pids
    assert not any(psutil.pid_exists(pid) for pid in pids.values())


async def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path, heard: Heard) -> None:
    supervisor = Supervisor([failing("a", STUBBORN, grace_s=0.2)], tmp_path, heard.say)
    async with supervisor.running():
        await heard.wait_for("deaf")
    assert "a: did not end within 0.2 s and was killed" in heard.lines


async def test_the_second_wish_kills_without_waiting_for_grace(tmp_path: Path, heard: Heard) -> None:
    supervisor = Supervisor([failing("a", STUBBORN, grace_s=60.0)], tmp_path, heard.say)
    with pytest.raises(Killed):
        async with asyncio.timeout(10), supervisor.running():
            await heard.wait_for("deaf")
            asyncio.get_running_loop().call_later(0.1, supervisor.kill)
    assert not supervisor.pids


async def test_an_error_inside_the_block_arrives_as_itself_after_children_are_down(
    tmp_path: Path, heard: Heard, free_ports: list[int]
) -> None:
    supervisor = Supervisor([server("a", free_ports[0])], tmp_path, heard.say)
    with pytest.raises(KeyError):
        async with supervisor.running():
            await supervisor.started()
            await supervisor.unless_ending(_raise(KeyError("mine")))
    assert not supervisor.pids


async def _raise(error: Exception) -> None:
    raise error


async def test_a_child_writes_for_its_user_alone_and_gets_secrets_outside_its_command_line(
    tmp_path: Path,
) -> None:
    (tmp_path / "secret").write_text("canary")
    script = (
        "import os; open('made', 'w').close(); os.mkdir('folder');"
        "print(os.environ['KEY'], os.environ['FOREBAY_STOP_WITHIN_S'])"
    )
    command = (sys.executable, "-I", "-S", "-c", f"import os; os.chdir({str(tmp_path)!r}); {script}")
    spec = ProcessSpec("x", command, RedisAnswers(""), secrets={"KEY": tmp_path / "secret"}, grace_s=7.5)
    process = await spawn.start(spec)
    said, _ = await process.communicate()
    assert said == b"canary 7.5\n"
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o700
    assert "canary" not in repr(spec)


PARENT = """
import asyncio, sys
from pathlib import Path
from services.cli.up.plan import ProcessSpec, RedisAnswers
from services.cli.up import spawn
async def main():
    spec = ProcessSpec("x", (sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"), RedisAnswers(""))
    process = await spawn.start(spec)
    print(process.pid, flush=True)
    await process.wait()
asyncio.run(main())
"""


async def test_a_child_dies_when_its_parent_is_killed() -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PARENT,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert parent.stdout
    child = psutil.Process(int(await parent.stdout.readline()))
    parent.kill()
    await parent.wait()
    await asyncio.to_thread(psutil.wait_procs, [child], timeout=5)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


async def test_the_resident_leash_kills_its_command_when_the_pipe_closes() -> None:
    from services.cli.up import leash

    code = (
        f"import runpy, sys; leash = runpy.run_path({leash.__file__!r})\n"
        "sleeper = 'import time; print(1, flush=True); time.sleep(60)'\n"
        "sys.exit(leash['stay']([sys.executable, '-I', '-S', '-c', sleeper]))"
    )
    keeper = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert keeper.stdin and keeper.stdout
    await keeper.stdout.readline()
    keeper.stdin.close()
    assert await keeper.wait() == 128 + signal.SIGKILL


async def test_a_halted_child_stays_down_and_comes_back_with_another_command_without_counting_as_dead(
    tmp_path: Path, heard: Heard, free_ports: list[int]
) -> None:
    supervisor = Supervisor([server("a", free_ports[0])], tmp_path, heard.say)
    async with supervisor.running():
        await supervisor.started()
        for _ in range(4):
            before = supervisor.pids["a"]
            await supervisor.halt("a", within_s=5.0)
            assert supervisor.pids == {}
            await supervisor.resume("a", server("a", free_ports[0]).command)
            assert supervisor.pids["a"] != before
    assert not any("died" in line for line in heard.lines)


async def test_a_halted_child_does_not_keep_the_end_waiting(
    tmp_path: Path, heard: Heard, free_ports: list[int]
) -> None:
    supervisor = Supervisor([server("a", free_ports[0])], tmp_path, heard.say)
    async with supervisor.running():
        await supervisor.started()
        await supervisor.halt("a", within_s=5.0)


async def test_work_alongside_is_cancelled_at_the_end(
    tmp_path: Path, heard: Heard, free_ports: list[int]
) -> None:
    supervisor = Supervisor([server("a", free_ports[0])], tmp_path, heard.say)
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with supervisor.running():
        await supervisor.started()
        supervisor.alongside(work())
        await asyncio.sleep(0)
    assert ended.is_set()


async def test_a_child_that_died_has_those_started_anew_that_it_leaves_in_disorder(
    tmp_path: Path, heard: Heard, free_ports: list[int]
) -> None:
    broker = server("broker", free_ports[0])
    worker = replace(server("worker", free_ports[1], after=("broker",)), renews=("broker",))
    supervisor = Supervisor([broker, worker], tmp_path, heard.say)
    async with asyncio.timeout(15), supervisor.running():
        await supervisor.started()
        before = supervisor.pids
        os.kill(before["worker"], signal.SIGKILL)
        await heard.wait_for("worker: ready", times=2)
        assert supervisor.pids["broker"] != before["broker"]
    story = [line.split(",")[0] for line in heard.lines if "ready" not in line]
    assert story[2:] == [
        "worker: died (by SIGKILL); starting it again in 0.2 s",
        "broker: starting",
        "worker: starting",
    ]


async def test_a_death_while_somebody_exchanges_children_waits_for_nobody(
    tmp_path: Path, heard: Heard, free_ports: list[int]
) -> None:
    broker = server("broker", free_ports[0])
    worker = replace(server("worker", free_ports[1], after=("broker",)), renews=("broker",))
    supervisor = Supervisor([broker, worker], tmp_path, heard.say)
    async with asyncio.timeout(15), supervisor.running():
        await supervisor.started()
        before = supervisor.pids
        async with supervisor.surgery:
            os.kill(before["worker"], signal.SIGKILL)
            await heard.wait_for("worker: ready", times=2)
        assert supervisor.pids["broker"] == before["broker"]
