import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.errors import ModelUnusable
from tests.unit.inference.repository.folders import defined, unheard

WORDS = (
    "name input output dims data_type TYPE_FP32 TYPE_STRING max_batch_size dynamic_batching sequence_batching state "
    "initial_state zero_data data_file control_input control kind ensemble_scheduling step model_name input_map "
    "output_map key value model_warmup inputs random_data parameters string_value instance_group count gpus "
    "version_policy specific versions latest all reshape shape true 1 -1 0 4294967296 1e9 nan inf 0x1 "
    '{ } [ ] < > : , ; "a" \'b\' "\\377" "\\400" #c'
).split()

TEXTS = st.lists(st.sampled_from([*WORDS, "\n"]), max_size=40).map(" ".join).map(str.encode)


@settings(deadline=None)
@given(st.one_of(TEXTS, st.binary(max_size=80)))
def test_any_file_is_either_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    (folder / "config.pbtxt").write_bytes(data)
    with contextlib.suppress(ModelUnusable):
        defined(folder / "config.pbtxt", unheard)
