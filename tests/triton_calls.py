"""Calls with Triton's own client, one after the other, in a process of their own: its generated code has the names of
ours.

    python -m tests.triton_calls ADDRESS CALLS ANSWERS

CALLS and ANSWERS are .npz files. In CALLS the array `calls` holds JSON: a list of objects with `model`, `inputs` (name
of the tensor: name of an array in the file), `output`, and where wanted `classes`, `sequence`, `start`, `end`. ANSWERS
gets the output of call 0 as `0`, and so on.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def call(
    address: str, folder: Path, calls: Sequence[Mapping[str, Any]], arrays: Mapping[str, Array]
) -> list[Array]:
    """Make calls and return their outputs. Raises AssertionError with what the client said when one fails."""
    given, answers = folder / "calls.npz", folder / "answers.npz"
    np.savez(given, allow_pickle=False, calls=np.array(json.dumps(calls)), **arrays)
    done = subprocess.run(
        [sys.executable, "-m", "tests.triton_calls", address, str(given), str(answers)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[1],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with np.load(answers) as found:
        return [found[str(index)] for index in range(len(calls))]


def main() -> None:
    """Make the calls of a file."""
    import tritonclient.grpc as triton
    from tritonclient.utils import np_to_triton_dtype

    address, given, answers = sys.argv[1:]
    outputs: dict[str, Array] = {}
    with np.load(given) as arrays, triton.InferenceServerClient(address) as client:
        for index, each in enumerate(json.loads(str(arrays["calls"]))):
            inputs = []
            for name, array in ((name, arrays[key]) for name, key in each["inputs"].items()):
                tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
                tensor.set_data_from_numpy(array)
                inputs.append(tensor)
            answer = client.infer(
                each["model"],
                inputs,
                outputs=[triton.InferRequestedOutput(each["output"], class_count=each.get("classes", 0))],
                sequence_id=each.get("sequence", 0),
                sequence_start=each.get("start", False),
                sequence_end=each.get("end", False),
            )
            output = answer.as_numpy(each["output"])
            outputs[str(index)] = output.astype(str) if output.dtype == object else output
    np.savez(answers, allow_pickle=False, **outputs)


if __name__ == "__main__":
    main()
