"""What `forebay demo` plays: a flood of LOW, a few of each higher level, one answer live, and the table of all."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import click

from forebay.client import AsyncClient, GenerateResult, TaskHandle, TaskInfo, task_spec
from forebay.tasks.v1.task_pb2 import TaskSpec
from observability import tracing
from services.cli import render
from services.cli.commands import queues
from services.cli.demo_trace import TraceTap, draw
from services.cli.exits import CommandFailed

LOW: Final = 24
LIMIT_S: Final = 300.0
"""Longest time for all answers."""
DEADLINE: Final = timedelta(minutes=5)
PROGRESS_S: Final = 2.0
TRACE_S: Final = 10.0
"""Longest wait for the spans of all services; they send them in batches, every second or so."""
ANSWER_WIDTH: Final = 64
_NEVER: Final = datetime.max.replace(tzinfo=UTC)

_TOWNS: Final = ("Lisbon", "Vienna", "Oslo", "Prague", "Athens", "Dublin", "Warsaw", "Madrid")
_NORMAL: Final = (
    "Write one sentence about rivers.",
    "Name three fruits.",
    "What do bees make?",
    "What is tea?",
)
_HIGH: Final = ("What is 2 + 2?", "What colour is the sky?", "Name a planet.")
_CRITICAL: Final = "Name the capital of France, and tell one thing that it is known for."

Say = Callable[[str], None]


class Scene:
    """One demo against a platform that is ready."""

    def __init__(self, address: str, key: str, model: str, begun_s: float, say: Say) -> None:
        """`begun_s` is when the demo was started, in seconds since the epoch; `say` writes one line."""
        self._address = address
        self._key = key
        self._model = model
        self._begun_s = begun_s
        self._say = say

    async def play(self, tap: TraceTap, flush: Callable[[], None]) -> None:
        """Submit, stream, wait, show; `tap` collects the spans, `flush` sends those of this process to it.

        Raises CommandFailed when an answer is missing, and errors of the client.
        """
        async with AsyncClient(self._address, api_key=self._key) as client:
            self._title(
                f"{LOW} LOW tasks first, then 4 NORMAL, 3 HIGH and 1 CRITICAL: the queue must sort them out"
            )
            low = [
                self._spec(f"Write a short story about {_TOWNS[n % 8]}, part {n + 1}.", "low", 32)
                for n in range(LOW)
            ]
            later = [
                *(self._spec(text, "normal", 32) for text in _NORMAL),
                *(self._spec(text, "high", 24) for text in _HIGH),
            ]
            handles = [*await client.submit_many(low), *await client.submit_many(later)]
            with tracing.span("forebay demo asks") as asking:
                handles += await client.submit_many([self._spec(_CRITICAL, "critical", 64)])
                trace_id = asking.traceparent.split("-")[1]
            self._say(
                f"{len(handles)} tasks accepted: each is in the log and survives the death of any process\n"
            )
            await self._show_queues(client)
            self._title(f"CRITICAL, live: {_CRITICAL}")
            await self._stream(client, handles[-1])
            self._say("")
            await self._show_queues(client)
            tasks = await self._wait(client, handles)
            self._title("All answers, in the order in which they started")
            self._show_answers(tasks)
            self._show_levels(tasks)
            await self._show_trace(tap, flush, trace_id)
            self._say_where_to_look(tasks[0].id)

    def _spec(self, text: str, priority: str, max_tokens: int) -> TaskSpec:
        return task_spec(
            self._model,
            messages=[{"role": "user", "content": text}],
            priority=priority,
            max_tokens=max_tokens,
            deadline=DEADLINE,
            labels={"demo": "yes"},
        )

    async def _stream(self, client: AsyncClient, handle: TaskHandle) -> None:
        first_s = 0.0
        async for chunk in client.stream(handle, timeout_s=LIMIT_S):
            if chunk.text and not first_s:
                first_s = time.time()
            click.echo(chunk.text, nl=False)
        click.echo()
        self._say(
            f"\nFrom the start of this command to the first streamed token: {first_s - self._begun_s:.1f} s"
        )

    async def _show_queues(self, client: AsyncClient) -> None:
        self._say("forebay queues:")
        queues.show(await client.queues())
        self._say("")

    async def _wait(self, client: AsyncClient, handles: Sequence[TaskHandle]) -> Sequence[TaskInfo]:
        self._say("waiting for the rest ...")
        async with asyncio.TaskGroup() as group:
            progress = group.create_task(self._progress(client))
            tasks = await client.wait_many(handles, LIMIT_S)
            progress.cancel()
        failed = [task for task in tasks if task.state.value != "succeeded"]
        if failed:
            raise CommandFailed(
                f"{len(failed)} tasks of the demo did not succeed; the first: {failed[0].error}"
            )
        # A listing knows level and times; what waits brings the results.
        return [await client.get(task) for task in tasks]

    async def _progress(self, client: AsyncClient) -> None:
        while True:
            await asyncio.sleep(PROGRESS_S)
            left = sum(queue.depth + queue.running for queue in await client.queues())
            self._say(f"  {left} waiting or running")

    def _show_answers(self, tasks: Sequence[TaskInfo]) -> None:
        rows = [
            (
                task.priority.value,
                render.seconds(task.timing.queue_s),
                render.seconds(task.timing.time_to_first_token_s),
                f"{_tokens_per_s(task):.0f}",
                render.clip(task.result.text, ANSWER_WIDTH)
                if isinstance(task.result, GenerateResult)
                else "",
            )
            for task in _by_start(tasks)
            if task.timing
        ]
        render.table(
            ("level", ">queue wait", ">first token", ">tokens/s", "answer"), rows, empty="no answers"
        )

    def _show_levels(self, submitted: Sequence[TaskInfo]) -> None:
        """Set the order of submission against the order of starting, level by level."""
        started = {task.id: rank for rank, task in enumerate(_by_start(submitted), 1)}
        rows = []
        for level in ("critical", "high", "normal", "low"):
            mine = [(rank, task) for rank, task in enumerate(submitted, 1) if task.priority.value == level]
            waits = [task.timing.queue_s for _, task in mine if task.timing]
            rows.append(
                (
                    level,
                    _ranges([rank for rank, _ in mine]),
                    _ranges([started[task.id] for _, task in mine]),
                    render.seconds(max(waits, default=None)),
                )
            )
        self._title(
            "Who overtook whom: what a runner already held was not taken back, all else went by level"
        )
        render.table(("level", "submitted as number", "started as number", ">longest wait"), rows, empty="")

    async def _show_trace(self, tap: TraceTap, flush: Callable[[], None], trace_id: str) -> None:
        await asyncio.to_thread(flush)
        self._title(f"One trace from door to door: the CRITICAL task, trace {trace_id}")
        for line in draw(await tap.whole(trace_id, TRACE_S)):
            self._say(f"  {line}")

    def _say_where_to_look(self, task_id: str) -> None:
        self._title("Where to look next")
        self._say("  forebay up --demo-model      the same platform, until Ctrl-C; in another terminal:")
        self._say(f"  forebay submit --model {self._model} --prompt 'Why is the sky blue?' --stream")
        self._say(f"  forebay queues --watch      forebay ls      forebay get {task_id}      forebay doctor")
        self._say(
            "  forebay up --otlp-endpoint http://127.0.0.1:4317      traces like the one above, in Jaeger"
        )
        self._say(
            "  README.md names the eight files that follow one request; docs/architecture.md has the map"
        )

    def _title(self, text: str) -> None:
        self._say(f"\n{click.style(text, bold=True)}")


def _by_start(tasks: Sequence[TaskInfo]) -> list[TaskInfo]:
    return sorted(tasks, key=lambda task: task.start_time or task.end_time or _NEVER)


def _ranges(numbers: Sequence[int]) -> str:
    """Write numbers as ranges: "1-16, 25-40"."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][-1] == number - 1:
            found[-1].append(number)
        else:
            found.append([number])
    return ", ".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in found)


def _tokens_per_s(task: TaskInfo) -> float:
    """Speed of one answer while it was written: its tokens after the first, over the time after the first."""
    if task.usage is None or task.timing is None:
        return 0.0
    writing_s = task.timing.execute_s - (task.timing.time_to_first_token_s or 0.0)
    return (task.usage.output_tokens - 1) / writing_s if writing_s > 0 else 0.0
