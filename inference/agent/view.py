"""What an agent tells gateways of its models."""

from typing import Final

from forebay.models.v1 import model_service_pb2 as models
from forebay.models.v1.repository_view_pb2 import HeldModel
from inference.agent.crew import Crew
from inference.agent.posts import all_versions_of
from inference.agent.served_model import ServedModel
from inference.agent.supervisor import Report
from inference.repository.progress import FURTHEST

NOT_LOADED: Final = "not loaded"
NOT_CHOSEN: Final = "left out by the model's version policy"


def held_model(model: ServedModel) -> HeldModel:
    """Return what gateways are told of a model."""
    entries: dict[int, models.RepositoryEntry] = {}
    why_not = model.listed.fault or (NOT_CHOSEN if model.wanted else NOT_LOADED)
    # Of a model whose configuration has a fault it is not known which versions there are.
    if not model.listed.fault or model.serving is None:
        for version in all_versions_of(model.listed):
            entries[version] = models.RepositoryEntry(name=model.name, version=version, reason=why_not)
    for crew in (*model.leaving, model.coming, model.serving):
        if crew is not None:
            leaving = crew in model.leaving
            for version, report in _furthest(crew).items():
                entry = entries[version] = models.RepositoryEntry(
                    name=model.name, version=version, state=report.state, reason=report.reason
                )
                if leaving:
                    entry.state, entry.reason = models.RUNNER_STATE_DRAINING, ""
    fault = model.fault
    if fault is not None and model.serving is not None and model.serving.serves:
        _add_fault(entries, model.name, *fault)
    return HeldModel(
        name=model.name,
        entries=[entries[version] for version in sorted(entries)],
        number=model.number,
        settled=model.settled,
        fault=model.refusal or (fault[1] if fault is not None else ""),
        runners=model.serving.runners if model.serving is not None else (),
        leaving=[runner for crew in model.leaving for runner in crew.runners],
    )


def _furthest(crew: Crew) -> dict[int, Report]:
    """Return for each version the report of the runner that is furthest."""
    found: dict[int, Report] = {}
    for post, report in crew.reports.items():
        known = found.get(post.version)
        if known is None or FURTHEST[report.state] > FURTHEST[known.state]:
            found[post.version] = report
    return found


def _add_fault(entries: dict[int, models.RepositoryEntry], name: str, version: int, reason: str) -> None:
    """Say why what the folder holds now is not served; a fault of version 0 is the whole model's."""
    if version and version not in entries:
        entries[version] = models.RepositoryEntry(name=name, version=version)
    for entry in [entries[version]] if version in entries else list(entries.values()):
        if entry.state in (models.RUNNER_STATE_UNSPECIFIED, models.RUNNER_STATE_DRAINING):
            entry.state = models.RUNNER_STATE_FAILED
        entry.reason = reason
