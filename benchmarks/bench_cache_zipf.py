"""How many tokens a result cache saves: prompts by a Zipf law of exponent 1, of which about 30 % are repeats.

    python -m benchmarks.bench_cache_zipf [--requests 400] [--max-tokens 16] [--in-flight 8] [--repeats 0.3]

SmolLM2 behind the whole platform answers the same greedy generations twice: first past the cache, then through it. The
runner's own counter says how many tokens were generated. The bar: they fall by the share of them that repeated prompts
had, also where the same prompt is asked again while its first answer is still being generated.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.request import urlopen

import grpc.aio
import uvloop

from benchmarks.bars import at_least
from benchmarks.machine import print_header
from forebay.inference.v1 import inference_service_pb2 as contract
from forebay.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from forebay.tasks.v1 import task_pb2
from forebay.tasks.v1.inputs_pb2 import GenerateInput
from observability import names
from services.cli.demo_model import CACHE, MODEL, bring_model
from services.cli.up import ports
from tests.system import forebay_up

SUBJECTS: Final = ("a river", "the moon", "an old clock", "rain", "a lighthouse", "bread", "a fox", "winter")
SLACK: Final = 0.005
"""By how much the share may be missed: one answer of some hundreds."""


def catalogue(requests: int, repeats: float) -> int:
    """Return from how many prompts so many requests must be drawn to have so many repeats among them, as expected."""
    least, most = 1, 2 * requests
    while expected_repeats(most, requests) > repeats:
        most *= 2
    while least < most:
        middle = (least + most) // 2
        if expected_repeats(middle, requests) > repeats:
            least = middle + 1
        else:
            most = middle
    return least


def expected_repeats(prompts: int, requests: int) -> float:
    """Return which part of requests asks what an earlier one asked, expected of a Zipf law of exponent 1."""
    whole = sum(1 / rank for rank in range(1, prompts + 1))
    distinct = sum(1 - (1 - 1 / (rank * whole)) ** requests for rank in range(1, prompts + 1))
    return 1 - distinct / requests


def drawn(requests: int, repeats: float, random: Random) -> list[int]:
    """Return which prompt each request asks."""
    prompts = catalogue(requests, repeats)
    weights = list(accumulate(1 / rank for rank in range(1, prompts + 1)))
    return random.choices(range(prompts), cum_weights=weights, k=requests)


def generated(metrics: str) -> int:
    """Return how many tokens the runner has generated."""
    with urlopen(metrics, timeout=10) as page:
        lines = page.read().decode().splitlines()
    return sum(
        int(float(line.rsplit(" ", 1)[1])) for line in lines if line.startswith(names.TOKENS_OUTPUT + "{")
    )


async def ask(
    address: str, asked: Sequence[int], max_tokens: int, in_flight: int, mode: task_pb2.CacheMode.ValueType
) -> list[int]:
    """Ask everything in its order, so many at once; return how many tokens each answer has."""
    tokens = [0] * len(asked)
    numbers = iter(range(len(asked)))
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = InferenceServiceStub(channel)

        async def work() -> None:
            for number in numbers:
                prompt = f"Story {asked[number]} is about {SUBJECTS[asked[number] % len(SUBJECTS)]}."
                generate = GenerateInput(prompt=prompt, max_tokens=max_tokens, ignore_eos=True)
                request = contract.GenerateRequest(model=MODEL, generate=generate, cache=mode)
                async for response in stub.Generate(request, timeout=120):
                    tokens[number] += len(response.token_ids)

        await asyncio.gather(*[work() for _ in range(in_flight)])
    return tokens


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--max-tokens", type=int, default=16)
    parser.add_argument("--in-flight", type=int, default=8)
    parser.add_argument(
        "--repeats", type=float, default=0.3, help="part of the requests that repeats an earlier one"
    )
    parser.add_argument("--model", type=Path, help="folder of SmolLM2; brought when it is not given")
    given = parser.parse_args()
    print_header("tokens that the result cache saves on a Zipf workload")
    asked = drawn(given.requests, given.repeats, Random(1))
    model = given.model or bring_model(CACHE.expanduser(), lambda subject, text: print(f"{subject}: {text}"))
    [port] = ports.pick("127.0.0.1", 1)
    environment = {"FOREBAY_CACHE_ENABLED": "true", "FOREBAY_RUNNER_METRICS_LISTEN": f"127.0.0.1:{port}"}
    metrics = f"http://127.0.0.1:{port}/metrics"
    with (
        TemporaryDirectory(prefix="forebay-bench-") as folder,
        forebay_up(Path(folder) / "data", {MODEL: model}, environment=environment) as system,
    ):
        made: dict[str, int] = {}
        took_s: dict[str, float] = {}
        for name, mode in (
            ("past it", task_pb2.CACHE_MODE_BYPASS),
            ("through it", task_pb2.CACHE_MODE_DEFAULT),
        ):
            before, began_s = generated(metrics), time.perf_counter()
            tokens = uvloop.run(ask(system.grpc, asked, given.max_tokens, given.in_flight, mode))
            took_s[name] = time.perf_counter() - began_s
            made[name] = generated(metrics) - before
            print(f"{name}: {sum(tokens)} tokens answered, {made[name]} generated, {took_s[name]:.1f} s")
    first = {prompt: number for number, prompt in reversed(list(enumerate(asked)))}
    repeated = sum(tokens[number] for number, prompt in enumerate(asked) if first[prompt] != number)
    share, fell = repeated / sum(tokens), 1 - made["through it"] / made["past it"]
    print(f"{len(asked)} requests of {len(first)} prompts: {1 - len(first) / len(asked):.1%} are repeats")
    print(
        f"repeats have {share:.1%} of the tokens; generated tokens fall by {fell:.1%}: {at_least(fell, share - SLACK)}"
    )


if __name__ == "__main__":
    main()
