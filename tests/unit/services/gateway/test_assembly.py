"""What the gateway serves, and under which rules."""

from forebay.cache.v1 import cache_service_pb2 as cache
from forebay.compat.kserve import kserve_service_pb2 as kserve
from forebay.inference.v1 import inference_service_pb2 as inference
from forebay.models.v1 import model_service_pb2 as models
from services.gateway.assembly import END_THEMSELVES
from services.gateway.caller import OPEN_METHODS, OPERATOR_METHODS


def test_methods_with_rules_of_their_own_exist_and_those_that_end_themselves_have_one_answer() -> None:
    methods = {
        f"{service.full_name}/{method.name}": method
        for file in (kserve.DESCRIPTOR, inference.DESCRIPTOR, models.DESCRIPTOR, cache.DESCRIPTOR)
        for service in file.services_by_name.values()
        for method in service.methods
    }
    assert methods.keys() >= OPEN_METHODS
    assert methods.keys() >= END_THEMSELVES
    assert not any(methods[name].server_streaming for name in END_THEMSELVES)
    # Whoever loads waits for minutes, by whichever service.
    names = {name.rpartition("/")[2] for name in END_THEMSELVES}
    assert {name for name in OPERATOR_METHODS if "Load" in name or "Unload" in name} <= names
