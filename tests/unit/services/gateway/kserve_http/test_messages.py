from forebay.compat.kserve.kserve_service_pb2 import ModelInferResponse, ModelStatisticsResponse
from forebay.compat.kserve.model_config_pb2 import ModelConfig
from services.gateway.kserve_http.messages import parameters_of, plain


def test_whole_numbers_stay_numbers_and_what_is_not_set_is_left_out() -> None:
    message = ModelStatisticsResponse()
    stats = message.model_stats.add(name="m", inference_count=1 << 60)
    stats.inference_stats.success.count = 3
    (found,) = plain(message)["model_stats"]
    assert found["inference_count"] == 1 << 60
    assert found["last_inference"] == 0
    assert found["inference_stats"] == {"success": {"count": 3, "ns": 0}}
    assert found["batch_stats"] == []


def test_enums_are_their_names_and_maps_are_objects() -> None:
    config = ModelConfig(name="m", max_batch_size=8)
    config.input.add(name="x", data_type="TYPE_FP32", dims=[-1, 3])
    config.parameters["key"].string_value = "value"
    found = plain(config)
    assert found["input"][0]["data_type"] == "TYPE_FP32"
    assert found["input"][0]["dims"] == [-1, 3]
    assert found["parameters"] == {"key": {"string_value": "value"}}


def test_parameters_are_what_they_hold() -> None:
    message = ModelInferResponse()
    message.parameters["a"].int64_param = 1
    message.parameters["b"].string_param = "x"
    message.parameters["c"].SetInParent()
    assert parameters_of(message.parameters) == {"a": 1, "b": "x"}
