"""The example with Triton's own client."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.system import System

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

EXAMPLE = Path(__file__).parents[2] / "examples" / "triton_client.py"


def test_every_request_of_the_example_is_answered_and_counted(system: System) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "--model", "add", "--requests", "8"],
        capture_output=True,
        text=True,
        timeout=15,
        env={**os.environ, "FOREBAY_ADDRESS": system.grpc},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, *answers, last = done.stdout.splitlines()
    assert first == "add takes x FP32 [-1, 4]"
    # The numbers of the example are those of its seed, and the model doubles them.
    random = np.random.default_rng(0)
    for number, answer in enumerate(answers):
        place, output, values = answer.split(" ", 2)
        assert (int(place), output) == (number, "y")
        expected = 2 * (random.random((1, 4)) * 10).astype(np.float32)
        np.testing.assert_array_equal(np.array(ast.literal_eval(values), np.float32), expected)
    assert len(answers) == 8
    counted = re.fullmatch(r"(\d+) rows in (\d+) runs so far", last)
    assert counted is not None
    rows, runs = map(int, counted.groups())
    assert rows >= 8
    assert 1 <= runs <= rows
