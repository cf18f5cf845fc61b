"""What an agent's settings may be."""

import pytest

from inference.agent.settings import AgentSettings, ModelControl
from scheduler.errors import StartupRefused
from services.settings import load


@pytest.mark.parametrize("control", list(ModelControl))
def test_each_kind_of_control_can_be_chosen(control: ModelControl) -> None:
    found = load(
        AgentSettings, section="agent", file=None, environ={"FOREBAY_AGENT_MODEL_CONTROL": control.value}
    )
    assert ModelControl(found.model_control) is control


def test_folders_are_followed_by_default_and_another_kind_is_refused() -> None:
    assert AgentSettings().model_control == ModelControl.POLL
    environ = {"FOREBAY_AGENT_MODEL_CONTROL": "manual"}
    with pytest.raises(StartupRefused, match="poll, explicit, none"):
        load(AgentSettings, section="agent", file=None, environ=environ)
