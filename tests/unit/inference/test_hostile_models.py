"""Models that want more memory than there is, or are damaged: in a process with a limit, as a runner's, each is an
error that says which model and why, and the process goes on.
"""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.unit.inference.tensor import onnx_models

LIMIT_BYTES = 4 << 30
CODE = """
import json, resource, sys
from pathlib import Path
import numpy as np
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), resource.getrlimit(resource.RLIMIT_AS)[1]))
from inference.engine import Failed, TensorRequest
from inference.loading import load_engine
from inference.settings import EngineSettings
from scheduler.errors import ForebayError, ModelUnusable
for path in sys.argv[2:]:
    try:
        engine = load_engine(Path(path), EngineSettings(providers=("cpu",), threads=1), lambda _: None)
        engine.warm_up()
        engine.admit("a", TensorRequest({"x": np.ones((1, 4), np.float32)}))
        [update] = engine.step()
        end = update.error.reason if isinstance(update, Failed) else "done"
        engine.close()
    except ModelUnusable as error:
        end = str(error)
    print(json.dumps([Path(path).name, end]), flush=True)
"""


def with_initializer(path: Path, weights: TensorProto) -> Path:
    """y = x + the sum of some weights."""
    nodes = [
        helper.make_node("ReduceSum", [weights.name], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    rows: list[int | str | None] = ["batch", 4]
    return onnx_models.save(
        path, nodes, [onnx_models.value("x", rows)], [onnx_models.value("y", rows)], [weights]
    )


def huge(path: Path, dims: list[int], *, location: str = "", raw: bytes = b"") -> Path:
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, raw_data=raw)
    if location:
        weights.ClearField("raw_data")
        weights.data_location = TensorProto.EXTERNAL
        weights.external_data.add(key="location", value=location)
        (path.parent / location).write_bytes(b"\0" * 16)
    return with_initializer(path, weights)


def computed(path: Path) -> Path:
    """The weights are made by the graph itself, from nothing but their length."""
    shape = numpy_helper.from_array(np.array([2**40], np.int64), "length")
    nodes = [
        helper.make_node("ConstantOfShape", ["length"], ["w"]),
        helper.make_node("ReduceSum", ["w"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    rows: list[int | str | None] = ["batch", 4]
    return onnx_models.save(
        path, nodes, [onnx_models.value("x", rows)], [onnx_models.value("y", rows)], [shape]
    )


def test_a_process_with_a_limit_outlives_every_model(tmp_path: Path) -> None:
    whole = onnx_models.add(tmp_path / "whole.onnx").read_bytes()
    choose = random.Random(3)
    models = [
        huge(tmp_path / "nothing_inside.onnx", [2**40]),
        huge(tmp_path / "little_inside.onnx", [2**40], raw=b"\0" * 16),
        huge(tmp_path / "little_beside.onnx", [2**40], location="w.bin"),
        huge(tmp_path / "overflow.onnx", [2**62, 4]),
        huge(tmp_path / "negative.onnx", [-5]),
        computed(tmp_path / "computed.onnx"),
    ]
    for index in range(4):
        models.append(tmp_path / f"cut_{index}.onnx")
        models[-1].write_bytes(whole[: choose.randrange(len(whole))])
        models.append(tmp_path / f"damaged_{index}.onnx")
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[choose.randrange(len(damaged))] = choose.randrange(256)
        models[-1].write_bytes(bytes(damaged))
        models.append(tmp_path / f"random_{index}.onnx")
        models[-1].write_bytes(choose.randbytes(200))
    # Last, so that it shows that the process still works.
    models.append(
        with_initializer(tmp_path / "good.onnx", numpy_helper.from_array(np.ones(4, np.float32), "w"))
    )
    command = [sys.executable, "-c", CODE, str(LIMIT_BYTES), *map(str, models)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=18, check=False)
    assert done.returncode == 0, done.stderr
    ends = dict(map(json.loads, done.stdout.splitlines()))
    assert list(ends) == [path.name for path in models]
    for name in ("nothing_inside", "little_inside", "little_beside", "overflow", "negative"):
        assert ends[f"{name}.onnx"].startswith(f"{name}.onnx cannot be loaded on cpu: "), ends
    assert "bad_alloc" in ends["little_beside.onnx"]
    assert ends["computed.onnx"] == "MODEL_OUT_OF_MEMORY"
    for index in range(4):
        assert "random" in ends[f"random_{index}.onnx"]
    assert ends["good.onnx"] == "done"
