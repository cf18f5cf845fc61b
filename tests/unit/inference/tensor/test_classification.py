import numpy as np
import pytest

from inference.engine import Array
from inference.tensor.classification import classify
from inference.tensor.datatypes import to_bfloat16


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.array([1.5, 2.25], np.float32), b"2.250000:1"),
        (np.array([1.5, 2.25], np.float16), b"2.250000:1"),
        (to_bfloat16(np.array([1.5, 2.25], np.float32)), b"2.250000:1"),
        (np.array([1e-7, -1], np.float64), b"0.000000:0"),
        (np.array([0, 2**64 - 1], np.uint64), b"18446744073709551615:1"),
        (np.array([-5, -128], np.int8), b"-5:0"),
    ],
)
def test_values_are_written_as_clients_know_them(array: Array, text: bytes) -> None:
    assert classify(array, 1, (), rows=False).tolist() == [text]


def test_among_equals_the_lower_index_is_first_and_what_is_no_number_last() -> None:
    array = np.array([np.nan, 1, 2, 2, np.inf, -np.inf], np.float32)
    found = [text.split(b":")[1] for text in classify(array, 6, (), rows=False)]
    assert found == [b"4", b"2", b"3", b"1", b"5", b"0"]


def test_there_are_no_more_classes_than_values_and_no_labels_than_are_told() -> None:
    found = classify(np.array([[3, 1], [4, 9]]), 5, ("one",), rows=True)
    assert found.tolist() == [[b"3:0:one", b"1:1"], [b"9:1", b"4:0:one"]]


def test_inner_dimensions_of_a_row_count_as_one() -> None:
    assert classify(np.arange(8).reshape(2, 2, 2), 1, (), rows=True).tolist() == [[b"3:3"], [b"7:3"]]


def test_no_rows_have_no_classes() -> None:
    assert classify(np.zeros((0, 3)), 2, (), rows=True).shape == (0, 2)
