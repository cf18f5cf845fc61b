"""Which failures are everybody's who asks the same."""

import pytest
from google.rpc import code_pb2, status_pb2

from services.input_faults import inputs_fault, is_inputs_own

OWN = {code_pb2.INVALID_ARGUMENT, code_pb2.OUT_OF_RANGE}


@pytest.mark.parametrize("code", sorted(code_pb2.Code.values()))
def test_only_what_is_wrong_with_the_input_is_its_own(code: int) -> None:
    status = status_pb2.Status(code=code, message="why")
    assert is_inputs_own(code) == (code in OWN)
    assert inputs_fault(status.SerializeToString()) == (status if code in OWN else None)


def test_bytes_that_are_no_status_are_nobodys_failure() -> None:
    assert inputs_fault(b"\xff\xff") is None
