import numpy as np
import pytest

from inference.engine import Array, Signature
from inference.tensor.validation import describe, faults_of

IMAGE = Signature("image", "FP32", (-1, 3, 2))
NAMES = Signature("names", "BYTES", (-1,))


def good() -> dict[str, Array]:
    return {"image": np.zeros((1, 3, 2), np.float32), "names": np.array([b"a"], object)}


def test_arrays_that_fit_have_no_fault() -> None:
    assert faults_of(good(), (IMAGE, NAMES)) == []


@pytest.mark.parametrize(
    ("name", "array", "field", "fault"),
    [
        ("image", np.zeros((1, 3, 2), np.float64), "[0].datatype", "input 'image' expects FP32, got FP64"),
        ("image", np.zeros((1, 3, 2), ">f4"), "[0].datatype", "input 'image' expects FP32, got >f4"),
        ("image", np.zeros((1, 3, 2), np.complex64), "[0].datatype", "input 'image' expects FP32, got complex64"),
        ("image", np.zeros((3, 2), np.float32), "[0].shape", "input 'image' expects rank 3 [-1,3,2], got rank 2 [3,2]"),
        ("image", np.zeros((), np.float32), "[0].shape", "input 'image' expects rank 3 [-1,3,2], got rank 0 []"),
        ("image", np.zeros((1, 4, 2), np.float32), "[0].shape", "input 'image' expects shape [-1,3,2], got [1,4,2]"),
        ("names", np.array([b"\xc3"], object), "[1].raw", "input 'names' expects UTF-8, and element 0 is not"),
        ("names", np.array(["a"], object), "[1].raw", "input 'names' expects bytes, and element 0 is str"),
    ],
)  # fmt: skip
def test_each_fault_names_the_input_what_was_expected_and_what_was_got(
    name: str, array: Array, field: str, fault: str
) -> None:
    faults = faults_of(good() | {name: array}, (IMAGE, NAMES))
    assert [(found.field, found.fault) for found in faults] == [(f"tensors.tensors{field}", fault)]


def test_an_unknown_input_is_told_what_there_is() -> None:
    faults = faults_of(good() | {"imgae": np.zeros(1)}, (IMAGE, NAMES))
    assert [(found.field, found.fault) for found in faults] == [
        ("tensors.tensors[2].name", "the model has no input 'imgae'; expected image, names")
    ]


def test_a_missing_input_is_described() -> None:
    faults = faults_of({"names": np.array([b"a"], object)}, (IMAGE, NAMES))
    assert [(found.field, found.fault) for found in faults] == [
        ("tensors.tensors", "input 'image' is missing; expected FP32[-1,3,2]")
    ]


def test_a_scalar_is_described_without_dimensions() -> None:
    assert describe(Signature("on", "BOOL", ())) == "BOOL[]"
