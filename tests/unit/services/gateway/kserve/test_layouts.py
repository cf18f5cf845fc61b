from typing import Any

import pytest

from forebay.compat.kserve.kserve_service_pb2 import ModelInferRequest
from forebay.models.v1 import model_service_pb2
from scheduler.errors import InvalidInput, ModelNotFound
from services.gateway.direct import KnownModel
from services.gateway.kserve.layouts import elements_of, layout_of
from services.gateway.kserve.served import MOST_LAYOUTS, Catalogue, Served


def known(version: int = 0, **fields: Any) -> KnownModel:
    model = model_service_pb2.Model(name="m", engine=model_service_pb2.ENGINE_KIND_TENSOR, **fields)
    model.inputs.add(name="x", datatype="FP32", shape=[-1, 2])
    return KnownModel(
        name="m",
        version=version,
        pool="default",
        model=model,
        runners=(),
        ready=True,
        versions=(),
        latest=True,
    )


def rows(count: int) -> ModelInferRequest:
    request = ModelInferRequest(model_name="m", raw_input_contents=[bytes(8 * count)])
    request.inputs.add(name="x", datatype="FP32", shape=[count, 2])
    return request


def check(served: Served, request: ModelInferRequest) -> list[bytes]:
    return elements_of(served, request, layout_of(request))


def test_forms_that_fit_are_remembered_up_to_a_bound_and_those_that_do_not_never() -> None:
    served = Served(known())
    for count in range(MOST_LAYOUTS + 5):
        assert check(served, rows(count)) == [bytes(8 * count)]
        assert len(served.layouts) <= MOST_LAYOUTS
    remembered = len(served.layouts)
    wrong = rows(1)
    wrong.inputs[0].shape[:] = [1, 3]
    for _ in range(2):
        with pytest.raises(InvalidInput, match="Expected \\[-1,2\\], got \\[1,3\\]"):
            check(served, wrong)
    assert len(served.layouts) == remembered


def test_a_form_that_is_remembered_says_nothing_of_the_elements() -> None:
    served = Served(known())
    check(served, rows(1))
    short = rows(1)
    short.raw_input_contents[0] = bytes(7)
    with pytest.raises(InvalidInput, match="must be 8 bytes long"):
        check(served, short)


def test_a_model_of_which_nothing_is_told_yet_takes_any_tensor() -> None:
    unread = known()
    del unread.model.inputs[:]
    request = rows(1)
    request.inputs[0].name = "other"
    assert check(Served(unread), request) == [bytes(8)]


class Announced:
    """Stands for the direct way: what is announced now."""

    def __init__(self, **models: KnownModel) -> None:
        self.models = models

    def model(self, name: str, version: int = 0) -> KnownModel:
        found = self.models.get(name)
        if found is None or version not in (0, found.version):
            raise ModelNotFound(name, "default")
        return found


def test_what_is_known_of_a_model_is_kept_until_it_is_announced_anew() -> None:
    announced = Announced(m=known())
    catalogue = Catalogue(announced)  # type: ignore[arg-type]  # as much of it as is needed
    first = catalogue.find("m")
    assert catalogue.find("m") is first
    announced.models["m"] = known(max_batch_size=4)
    assert catalogue.find("m").max_rows == 4


def test_version_one_is_that_of_a_model_without_versions_only() -> None:
    catalogue = Catalogue(Announced(m=known(), v=known(version=3)))  # type: ignore[arg-type]  # as above
    assert catalogue.find("m", "1").version == 1
    assert catalogue.find("v", "3").version == 3
    for name, version in (("v", "1"), ("m", "2"), ("none", "")):
        with pytest.raises(ModelNotFound):
            catalogue.find(name, version)
    for wrong in ("0", "-1", "latest", "9" * 20, "²"):
        with pytest.raises(InvalidInput, match="model_version"):
            catalogue.find("m", wrong)
