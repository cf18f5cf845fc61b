import os
import subprocess
import sys
from pathlib import Path

from services.grpc_core import VARIABLE, WITHOUT_ENGINE, read_on_the_polling_thread

ROOT = Path(__file__).parents[3]
SERVES = """
import asyncio, os
from services.grpc_core import read_on_the_polling_thread
read_on_the_polling_thread()
import grpc, grpc.aio

async def echo(request, context):
    return request

async def main():
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", {"C": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        print((await channel.unary_unary("/a.B/C")(b"back")).decode())
    await server.stop(0)

asyncio.run(main())
"""


def test_it_is_chosen_where_nobody_chose() -> None:
    environ: dict[str, str] = {}

    read_on_the_polling_thread(environ)

    assert environ == {VARIABLE: WITHOUT_ENGINE}


def test_what_was_chosen_already_stands() -> None:
    environ = {VARIABLE: "other"}

    read_on_the_polling_thread(environ)

    assert environ == {VARIABLE: "other"}


def test_this_grpc_knows_every_name_and_serves_without_a_word() -> None:
    environ = {name: value for name, value in os.environ.items() if name != VARIABLE}

    done = subprocess.run(
        [sys.executable, "-c", SERVES],
        env={**environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.stderr, done.returncode) == ("back\n", "", 0)


def test_the_gateway_loads_no_grpc_before_it_has_chosen() -> None:
    script = "import sys, services.gateway.__main__, inference.agent.__main__; print('grpc' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout == "False\n"
