"""What is done with either client."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from tritonclient.utils import InferenceServerException

from tests.triton.door import Door, refused
from tests.triton.values import BRAIN, TYPES, row, same

ASKED: Final = row(1, 2, 3, 4)
DOUBLED: Final = [[2, 4, 6, 8]]


def describing(door: Door) -> None:
    client = door.client
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("add")
    assert client.is_model_ready("add", "1")
    assert not client.is_model_ready("add", "9")
    assert not client.is_model_ready("nobody")
    server = door.server()
    assert server["name"] == "forebay"
    assert {"statistics", "binary_tensor_data"} <= set(server["extensions"])
    told = door.metadata("add")
    assert (told["name"], told["versions"], told["platform"]) == ("add", ["1"], "onnxruntime_onnx")
    (tensor,) = told["inputs"]
    assert (tensor["name"], tensor["datatype"], [*map(int, tensor["shape"])]) == ("x", "FP32", [-1, 4])
    config = door.config("add", "1")
    assert (config["name"], config["max_batch_size"]) == ("add", 8)
    assert [*map(int, config["input"][0]["dims"])] == [4]
    assert "dynamic_batching" in config
    refused(door, "NOT_FOUND", lambda: client.get_model_metadata("nobody"), "nobody")


def lacking(door: Door) -> None:
    """Calls that are there to be refused."""
    client = door.client
    refused(door, "UNIMPLEMENTED", client.get_system_shared_memory_status, "share no memory")
    refused(door, "UNIMPLEMENTED", client.get_cuda_shared_memory_status, "share no memory")
    refused(door, "UNIMPLEMENTED", client.get_log_settings, "logging")
    refused(door, "UNIMPLEMENTED", client.get_trace_settings, "OpenTelemetry")
    refused(
        *(door, "UNIMPLEMENTED"),
        lambda: client.register_system_shared_memory("a", "/a", 8),
        "share no memory",
    )


def types(door: Door) -> None:
    client = door.client
    inputs = [door.given(f"in_{name}", values) for name, values in TYPES.items()]
    result = client.infer("types", inputs, request_id="seven")
    assert door.id_of(result) == "seven"
    for name, values in TYPES.items():
        assert same(result.as_numpy(f"out_{name}"), values), name
    wanted = [door.wanted("out_BYTES"), door.wanted("out_INT8")]
    assert door.outputs_of(client.infer("types", inputs, outputs=wanted)) == ["out_BYTES", "out_INT8"]
    assert same(client.infer("brain", [door.given("x", BRAIN)]).as_numpy("y"), BRAIN)
    none = [door.given(f"in_{name}", values[:0]) for name, values in TYPES.items()]
    assert client.infer("types", none).as_numpy("out_FP32").shape == (0,)


def compressing(door: Door) -> None:
    large = np.tile(np.arange(200_000, dtype=np.float32), (1, 1))
    for coding in door.codings:
        result = door.client.infer("add", [door.given("x", ASKED)], **coding)
        assert result.as_numpy("y").tolist() == DOUBLED
        result = door.client.infer("wide", [door.given("x", large)], **coding)
        assert same(result.as_numpy("y"), large * 2)


def at_once(door: Door) -> None:
    asked = [
        door.begin("add", [door.given("x", row(number, 1, 2, 3))], request_id=str(number))
        for number in range(24)
    ]
    results = [result() for result in asked]
    found = {door.id_of(result): result.as_numpy("y").tolist() for result in results}
    assert found == {str(number): [[2 * number, 2, 4, 6]] for number in range(24)}


def asyncio_client(door: Door) -> None:
    async def run() -> None:
        async with door.aio.InferenceServerClient(door.url) as client:
            assert await client.is_model_ready("add")

            async def one(number: int) -> None:
                result = await client.infer("add", [door.given("x", row(number, 0, 0, 0))])
                assert result.as_numpy("y")[0, 0] == 2 * number

            await asyncio.gather(*(one(number) for number in range(100)))
            try:
                await client.infer("nobody", [door.given("x", ASKED)])
            except InferenceServerException as error:
                assert error.status() == door.status("NOT_FOUND"), error
            else:
                raise AssertionError("nothing was refused")

    asyncio.run(run())


def classifying(door: Door) -> None:
    values = np.array([[1, 9, 3, 7], [8, 2, 6, 4]], np.float32)
    found = door.client.infer("scores", [door.given("x", values)], outputs=[door.wanted("y", 2)])
    split = [[text.decode().split(":") for text in line] for line in found.as_numpy("y")]
    assert [[label for _, _, label in line] for line in split] == [["pear", "fig"], ["apple", "plum"]]
    assert [[int(place) for _, place, _ in line] for line in split] == [[1, 3], [0, 2]]
    assert [[float(score) for score, _, _ in line] for line in split] == [[9, 7], [8, 6]]
    everything = door.client.infer("scores", [door.given("x", values)], outputs=[door.wanted("y", 99)])
    assert everything.as_numpy("y").shape == (2, 4)


def sequences(door: Door) -> None:
    totals: dict[Any, list[float]] = {41: [], "voice": []}
    for number in range(3):
        for key, found in totals.items():
            result = door.client.infer(
                "running_sum",
                [door.given("x", np.array([[number + 1 if key == 41 else 10]], np.float32))],
                sequence_id=key,
                sequence_start=number == 0,
                sequence_end=number == 2,
            )
            found.append(result.as_numpy("y").item())
    assert totals == {41: [1, 3, 6], "voice": [10, 20, 30]}, totals
    more = [door.given("x", np.ones((1, 1), np.float32))]
    infer = door.client.infer
    refused(*(door, "FAILED_PRECONDITION"), lambda: infer("running_sum", more, sequence_id=41), "never began")
    refused(door, "INVALID_ARGUMENT", lambda: infer("running_sum", more), "sequence")


def counting(door: Door) -> None:
    def counted(*which: str) -> dict[str, Any]:
        (found,) = door.statistics(*which)
        return found

    def number(of: dict[str, Any], *path: str) -> int:
        found: Any = of
        for name in path:
            found = found.get(name, 0 if name == path[-1] else {})
        return int(found)

    before = counted("scores")
    for rows in (1, 3):
        door.client.infer("scores", [door.given("x", np.ones((rows, 4), np.float32))])
    wrong = [door.given("x", np.ones((1, 5), np.float32))]
    refused(
        *(door, "INVALID_ARGUMENT", lambda: door.client.infer("scores", wrong)),
        *("shape", "input 'x'", "[-1,4]"),
    )
    after = counted("scores", "1")

    def more(*path: str) -> int:
        return number(after, *path) - number(before, *path)

    assert (more("inference_count"), more("execution_count")) == (4, 2)
    assert more("last_inference") >= 0
    for part in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        assert more("inference_stats", part, "count") == 2, part
    assert more("inference_stats", "fail", "count") == 0
    spent = [
        number(after, "inference_stats", part, "ns")
        for part in ("queue", "compute_input", "compute_infer", "compute_output")
    ]
    assert number(after, "inference_stats", "success", "ns") >= sum(spent)
    sizes = {
        number(each, "batch_size"): number(each, "compute_infer", "count") for each in after["batch_stats"]
    }
    assert sizes[1] >= 1 and sizes[3] >= 1
    assert sum(sizes.values()) == number(after, "execution_count")
    assert sum(rows * runs for rows, runs in sizes.items()) == number(after, "inference_count")
    assert {"add", "scores", "types"} <= {each["name"] for each in door.statistics()}


def options(door: Door) -> None:
    infer = door.client.infer
    asked = [door.given("x", ASKED)]
    for priority in (1, 2, 3, 4, 99):
        result = infer("add", asked, priority=priority, timeout=20_000_000)
        assert result.as_numpy("y").tolist() == DOUBLED
    result = infer("add", asked, model_version="1", parameters={"made_up": "x", "other": 1.5, "n": 3})
    assert door.version_of(result) == "1"
    # 800 kB there and back take some milliseconds; the shortest time that is told apart is one.
    wide = [door.given("x", np.zeros((1, 200_000), np.float32))]
    refused(door, "DEADLINE_EXCEEDED", lambda: infer("wide", wide, timeout=1), "answered")
    refused(door, "NOT_FOUND", lambda: infer("nobody", asked), "nobody")
    refused(door, "NOT_FOUND", lambda: infer("add", asked, model_version="9"), "add@9")
    refused(door, "INVALID_ARGUMENT", lambda: infer("add", [door.given("z", ASKED)]), "'z'", "'x'")
    other = [door.given("x", np.ones((1, 4), np.int32))]
    refused(*(door, "INVALID_ARGUMENT"), lambda: infer("add", other), "input 'x'", "Expected FP32, got INT32")
    many = [door.given("x", np.ones((9, 4), np.float32))]
    refused(door, "INVALID_ARGUMENT", lambda: infer("add", many), "input 'x'", "1 to 8")
    shared = door.region("x", [1, 4], "FP32")
    refused(door, "INVALID_ARGUMENT", lambda: infer("add", [shared]), "input 'x'", "shared memory")


def controlling(door: Door) -> None:
    client = door.client

    def states() -> dict[str, str]:
        return {each["name"]: each["state"] for each in door.index()}

    assert states()["spare"] == "READY"
    client.unload_model("spare")
    assert not client.is_model_ready("spare")
    assert states()["spare"] != "READY"
    asked = [door.given("x", ASKED)]
    refused(door, "NOT_FOUND", lambda: client.infer("spare", asked), "spare")
    client.load_model("spare")
    assert client.is_model_ready("spare")
    assert states()["spare"] == "READY"
    assert client.infer("spare", asked).as_numpy("y").tolist() == DOUBLED
    refused(door, "NOT_FOUND", lambda: client.load_model("nobody"), "nobody")
    refused(door, "INVALID_ARGUMENT", lambda: client.load_model("spare", config="{}"), "config")


Scenario = Callable[[Any], None]
SHARED: Final[tuple[Scenario, ...]] = (
    *(describing, lacking, types, compressing, at_once, asyncio_client, classifying, sequences),
    *(counting, options, controlling),
)
