"""Which of several reports of a version speaks for it: of an agent's runners, and of several agents."""

from collections.abc import Mapping
from typing import Final

from forebay.models.v1 import model_service_pb2 as models

FURTHEST: Final[Mapping[int, int]] = {
    models.RUNNER_STATE_READY: 5,
    models.RUNNER_STATE_WARMING: 4,
    models.RUNNER_STATE_LOADING: 3,
    models.RUNNER_STATE_FAILED: 2,
    models.RUNNER_STATE_DRAINING: 1,
    models.RUNNER_STATE_UNSPECIFIED: 0,
}
"""By state, the higher number speaks: whoever serves or will, before who could not, before who goes, before who says
that there is nothing.
"""
