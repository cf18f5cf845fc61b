import random
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from inference import external_data
from inference.external_data import DOMAINS, external_locations
from scheduler.errors import ModelUnusable
from tests.unit.inference.tensor import onnx_models


def foreign(path: Path, domain: str, *, name: str = "", function: bool = False) -> Path:
    """y = Odd(x), whose operator is of a domain; with `function` the model brings it along."""
    node = helper.make_node("Odd", ["x"], ["y"], domain=domain, name=name)
    graph = helper.make_graph([node], "graph", [onnx_models.value("x", [1])], [onnx_models.value("y", [1])])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(domain, 1)]
    functions = []
    if function:
        body = [helper.make_node("Add", ["a", "a"], ["b"])]
        functions.append(helper.make_function(domain, "Odd", ["a"], ["b"], body, opsets[:1]))
    model = helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def test_operators_of_an_unknown_domain_are_refused_by_domain_and_node(tmp_path: Path) -> None:
    path = foreign(tmp_path / "m.onnx", "org.example", name="n7")
    with pytest.raises(
        ModelUnusable, match=r"^m.onnx: node 'n7' \(Odd\) is of the domain 'org.example', whose op"
    ):
        external_locations(path)
    path = foreign(tmp_path / "m.onnx", "org.example")
    with pytest.raises(ModelUnusable, match=r"^m.onnx: a node Odd is of the domain 'org.example'"):
        external_locations(path)


def test_operators_inside_a_branch_are_looked_at_too(tmp_path: Path) -> None:
    path = onnx_models.with_external_weights(tmp_path / "m.onnx", "weights.bin", nested=True)
    model = onnx.load_model(path, load_external_data=False)
    model.graph.node[0].attribute[0].g.node[0].domain = "org.example"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelUnusable, match=r"of the domain 'org.example'"):
        external_locations(path)


def test_functions_that_a_model_brings_along_are_no_foreign_operators(tmp_path: Path) -> None:
    assert external_locations(foreign(tmp_path / "m.onnx", "org.example", function=True)) == set()


def test_every_domain_of_the_installed_runtime_is_accepted() -> None:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    assert {schema.domain.encode() for schema in state.get_all_operator_schema()} <= DOMAINS


def test_graphs_of_too_many_nodes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = onnx_models.save(
        tmp_path / "m.onnx",
        [helper.make_node("Identity", [f"t{index}"], [f"t{index + 1}"]) for index in range(5)],
        [onnx_models.value("t0", [1])],
        [onnx_models.value("t5", [1])],
    )
    monkeypatch.setattr(external_data, "MAX_NODES", 5)
    assert external_locations(path) == set()
    monkeypatch.setattr(external_data, "MAX_NODES", 4)
    with pytest.raises(ModelUnusable, match="more than 4 nodes"):
        external_locations(path)


def test_a_file_larger_than_a_message_can_be_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with path.open("wb") as file:
        file.truncate(1 << 31)
    with pytest.raises(ModelUnusable, match="less than 2 GiB"):
        external_locations(path)


def test_a_model_that_is_cut_off_anywhere_is_refused_or_has_no_foreign_files(tmp_path: Path) -> None:
    whole = onnx_models.with_external_weights(tmp_path / "m.onnx", "weights.bin", nested=True).read_bytes()
    path = tmp_path / "cut.onnx"
    refused = 0
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        try:
            assert external_locations(path) <= {"weights.bin"}
        except ModelUnusable:
            refused += 1
    # What ends between two fields of the model itself is a shorter model.
    assert refused > 0.9 * len(whole)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_name_nothing_outside(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "random.onnx"
    path.write_bytes(data)
    try:
        external_locations(path)
    except ModelUnusable as error:
        assert str(error).startswith("random.onnx ") or "EPContext" in str(error) or "domain" in str(error)


def test_a_model_with_damaged_bytes_is_refused_or_read(tmp_path: Path) -> None:
    whole = onnx_models.with_external_weights(tmp_path / "m.onnx", "weights.bin", nested=True).read_bytes()
    choose = random.Random(5)
    path = tmp_path / "damaged.onnx"
    outcomes = set()
    for _ in range(500):
        damaged = bytearray(whole)
        for _ in range(choose.randint(1, 4)):
            damaged[choose.randrange(len(damaged))] = choose.randrange(256)
        path.write_bytes(bytes(damaged))
        try:
            external_locations(path)
        except ModelUnusable:
            outcomes.add("refused")
        else:
            outcomes.add("read")
    assert outcomes == {"refused", "read"}
