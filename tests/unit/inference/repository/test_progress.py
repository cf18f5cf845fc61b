from forebay.models.v1 import model_service_pb2 as models
from inference.repository.progress import FURTHEST


def test_every_state_has_a_place_of_its_own_and_whoever_serves_speaks_first() -> None:
    assert sorted(FURTHEST) == sorted(models.RunnerState.values())
    assert len(set(FURTHEST.values())) == len(FURTHEST)
    assert max(FURTHEST, key=FURTHEST.__getitem__) == models.RUNNER_STATE_READY
    assert min(FURTHEST, key=FURTHEST.__getitem__) == models.RUNNER_STATE_UNSPECIFIED
