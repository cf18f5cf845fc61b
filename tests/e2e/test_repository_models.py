"""Real models out of a repository in Triton's layout, for Triton's own client: kinds of files, and voices."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from tests.integration import test_magika as magika
from tests.integration import test_silero_vad as silero
from tests.system import System, forebay_up
from tests.triton_calls import call

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]  # the first run fetches 30 MB

MAGIKA: Final = """
max_batch_size: 32
input [ { name: "bytes" data_type: TYPE_INT32 dims: [ 2048 ] } ]
output [ { name: "target_label" data_type: TYPE_FP32 dims: [ 214 ] label_filename: "labels.txt" } ]
dynamic_batching { }
"""
SILERO: Final = """
input [
  { name: "input" data_type: TYPE_FP32 dims: [ 1, -1 ] },
  { name: "sr" data_type: TYPE_INT64 dims: [ 1 ] reshape { shape: [ ] } }
]
output [ { name: "output" data_type: TYPE_FP32 dims: [ 1, 1 ] } ]
sequence_batching {
  max_sequence_idle_microseconds: 60000000
  state [ {
    input_name: "state" output_name: "stateN" data_type: TYPE_FP32 dims: [ 2, 1, 128 ]
    initial_state { name: "silence" data_type: TYPE_FP32 dims: [ 2, 1, 128 ] zero_data: true }
  } ]
}
"""


@pytest.fixture(scope="module")
def voice_model() -> Path:
    return silero.fetched()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, voice_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    for name, config, model in (
        ("magika", MAGIKA, magika.fetched("model.onnx", magika.MODEL_SHA256)),
        ("silero-vad", SILERO, voice_model),
    ):
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(config)
        shutil.copyfile(model, folder / name / "1" / "model.onnx")
    config = json.loads(magika.fetched("config.min.json", magika.CONFIG_SHA256).read_bytes())
    (folder / "magika" / "labels.txt").write_text("\n".join(config["target_labels_space"]))
    return folder


@pytest.fixture(scope="module")
def serving(repository: Path) -> Iterator[System]:
    # Not below pytest's own folder: the path of a socket inside must stay under 108 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="forebay-repository-") as data,
        forebay_up(Path(data), {}, arguments=("--model-repository", str(repository))) as running,
    ):
        yield running


def test_bytes_of_files_come_back_as_what_they_are(serving: System, tmp_path: Path) -> None:
    rows = {
        kind: np.frombuffer(magika.features(content), np.int32)[None]
        for kind, content in magika.SAMPLES.items()
    }
    calls: list[dict[str, Any]] = [
        {"model": "magika", "inputs": {"bytes": kind}, "output": "target_label", "classes": 1}
        for kind in rows
    ]
    answers = call(serving.grpc, tmp_path, calls, rows)
    told = [str(answer.item()).split(":") for answer in answers]
    assert [label for _, _, label in told] == list(rows)
    assert all(0 < float(score) <= 1 for score, _, _ in told)


def test_files_of_one_request_are_told_in_its_order(serving: System, tmp_path: Path) -> None:
    kinds = list(magika.SAMPLES)
    rows = np.stack([np.frombuffer(magika.features(magika.SAMPLES[kind]), np.int32) for kind in kinds])
    whole = {"model": "magika", "inputs": {"bytes": "rows"}, "output": "target_label", "classes": 1}
    [answer] = call(serving.grpc, tmp_path, [whole], {"rows": rows})
    assert [str(told).split(":")[2] for told in answer.ravel()] == kinds


def test_two_voices_in_turns_are_heard_as_if_each_were_alone(
    serving: System, tmp_path: Path, voice_model: Path
) -> None:
    voices = {number: silero.chunks(3.0, number) for number in (1, 2)}
    arrays: dict[str, Any] = {"rate": np.array([silero.RATE], np.int64)}
    calls = []
    last = len(voices[1]) - 1
    for at in range(last + 1):
        for number, pieces in voices.items():
            arrays[f"{number}.{at}"] = pieces[at]
            calls.append(
                {
                    "model": "silero-vad",
                    "inputs": {"input": f"{number}.{at}", "sr": "rate"},
                    "output": "output",
                    "sequence": number,
                    "start": at == 0,
                    "end": at == last,
                }
            )
    answers = [float(answer.item()) for answer in call(serving.grpc, tmp_path, calls, arrays)]
    for place, number in enumerate(voices):
        heard = answers[place :: len(voices)]
        assert heard == pytest.approx(silero.by_hand(voice_model, voices[number]), abs=1e-6)
        third = len(heard) // 3
        assert max(heard[: third - 1]) < 0.5 < max(heard[third + 2 : 2 * third - 2])
