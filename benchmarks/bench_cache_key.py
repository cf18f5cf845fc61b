"""What a key of the result cache costs: the median time of one for a prompt of 2 KB, and the rate on large tensors.

    python -m benchmarks.bench_cache_key [--seconds 3] [--huge-pages]

Times are from a message to its key. A key is computed on one thread; beside wall time stands the thread's processor
time, which other processes do not lengthen. Protobuf gives out a tensor as a copy only; above 32 MiB that copy goes to
memory that the system gives page by page each time. So the copy alone, with its page faults, and the key of a tensor
that was copied are measured beside the two together, by turns. The bar is on the processor time of the key alone, and
of both together.
With --huge-pages this process gets its memory in pages of 2 MiB, as runners do.
"""

import argparse
import hashlib
import os
import resource
import time
from collections.abc import Callable
from statistics import median
from typing import Final

from benchmarks.bars import at_least, at_most
from benchmarks.machine import print_header, restart_with_huge_pages
from cache.key import Keys, Model, Question
from cache.key.reading import generate_question, tensor_question
from forebay.tasks.v1 import inputs_pb2

KEYS: Final = Keys(os.urandom(32))
MODEL: Final = Model("smollm2", 1, hashlib.sha256(b"model").digest())
PROMPT_BYTES: Final = 2048
TENSOR_BYTES: Final = (1 << 20, 16 << 20, 60 << 20)
MOST_US: Final = 30.0
LEAST_GB_PER_S: Final = 1.0


def prompt_key(message: inputs_pb2.GenerateInput) -> None:
    """Compute the key of a generation, as a gateway does."""
    KEYS.key("tenant", Question(MODEL, generate_question(message)))


def tensor_key(message: inputs_pb2.TensorInput) -> None:
    """Compute the key of a tensor request, as a gateway does."""
    KEYS.key("tenant", Question(MODEL, tensor_question(message)))


def prompts() -> dict[str, inputs_pb2.GenerateInput]:
    """Return generations of 2 KB: as short as they come, and with most fields set."""
    text = ("What does a forebay do? " * 100)[:PROMPT_BYTES]
    full = inputs_pb2.GenerateInput(
        prompt=text, max_tokens=64, temperature=0.7, top_p=0.9, seed=3, stop=["\n\n", "END"], logprobs=2
    )
    chat = inputs_pb2.GenerateInput()
    for index in range(8):
        role = "assistant" if index % 2 else "user"
        chat.messages.messages.add(role=role).parts.add(text=text[: PROMPT_BYTES // 8])
    return {
        "prompt": inputs_pb2.GenerateInput(prompt=text),
        "prompt, 7 settings": full,
        "chat, 8 messages": chat,
    }


def timed(work: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Return the median wall time and the mean processor time of one piece of work, in seconds."""
    wall, cpu_s, end_s = [], time.thread_time(), time.perf_counter() + seconds
    while (began_s := time.perf_counter()) < end_s:
        work()
        wall.append(time.perf_counter() - began_s)
    return median(wall), (time.thread_time() - cpu_s) / len(wall)


def faults_of(work: Callable[[], object]) -> int:
    """Return how often the system had to give this process a page for one piece of work."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def measure_prompt(name: str, message: inputs_pb2.GenerateInput, seconds: float) -> None:
    """Print what a key of a prompt costs."""
    wall_s, cpu_s = timed(lambda: prompt_key(message), seconds)
    times = f"{wall_s * 1e6:.1f} us at the median, {cpu_s * 1e6:.1f} us of processor time"
    print(f"{name}, {PROMPT_BYTES} bytes: {times}; at most {MOST_US:g}: {at_most(wall_s * 1e6, MOST_US)}")


def measure_tensor(size: int, seconds: float) -> None:
    """Print at which rate a key of a tensor is made, and how much of it is the copy out of its message."""
    raw = os.urandom(size)
    tensor = inputs_pb2.Tensor(name="x", datatype="UINT8", shape=[size], raw=raw)
    message = inputs_pb2.TensorInput(tensors=[tensor])
    question = Question(MODEL, tensor_question(message))
    works: dict[str, Callable[[], object]] = {
        "once it is copied": lambda: KEYS.key("tenant", question),
        "from its message": lambda: tensor_key(message),
        "the copy alone": lambda: tensor.raw,
    }
    times: dict[str, list[tuple[float, float]]] = {what: [] for what in works}
    for _ in range(4):
        for what, work in works.items():
            times[what].append(timed(work, seconds / 4))
    for what, taken in times.items():
        wall, cpu = (size / min(one[index] for one in taken) / 1e9 for index in (0, 1))
        rates = f"{wall:.2f} GB/s, {cpu:.2f} by processor time"
        if what == "the copy alone":
            verdict = f"{faults_of(works[what]):,} page faults"
        else:
            verdict = f"at least {LEAST_GB_PER_S:g}: {at_least(cpu, LEAST_GB_PER_S)}"
        print(f"tensor of {size >> 20} MiB, {what}: {rates}; {verdict}")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each measurement")
    parser.add_argument("--huge-pages", action="store_true", help="with the memory that runners have")
    given = parser.parse_args()
    if given.huge_pages:
        restart_with_huge_pages()
    print_header("time of a key of the result cache")
    for name, message in prompts().items():
        measure_prompt(name, message, given.seconds)
    for size in TENSOR_BYTES:
        measure_tensor(size, given.seconds)


if __name__ == "__main__":
    main()
