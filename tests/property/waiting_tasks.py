"""Tasks that wait, and policies they wait under, for the laws of order."""

from hypothesis import strategies as st

from scheduler.lanes import Lane
from scheduler.policies.expected import Expected
from scheduler.policies.policy import LevelMode, Policy, TaskOrder
from scheduler.states import Level
from scheduler.window import WaitingTask, Window

Task = WaitingTask[int, None]
Row = Window[int, None]
LEVELS = list(Level)
TENANTS = ["", "ann", "bob", "cid"]
NOW_MS = 1_800_000_000_000

weights = st.fixed_dictionaries({level: st.integers(1, 1_000_000) for level in LEVELS})
policy_values = st.builds(
    Policy,
    level_mode=st.sampled_from(LevelMode),
    weights=weights,
    ageing_s=st.floats(1, 60),
    ageing_every=st.integers(2, 12),
    order=st.sampled_from(TaskOrder),
    stretch=st.floats(0, 1_000),
    patience_s=st.floats(1, 604_800),
    tenant_weights=st.dictionaries(st.sampled_from(TENANTS), st.floats(1e-300, 1e6)),
)


def waiting(
    number: int,
    level: Level = Level.NORMAL,
    tenant: str = "",
    work_ms: float = 1.0,
    *,
    model: str = "m",
    lane: int = 0,
    create_ms: int = NOW_MS,
    deadline_ms: int = 0,
) -> Task:
    where = Lane("default", level, lane)
    expected = Expected(work_ms, work_ms)
    return WaitingTask(
        str(number),
        1,
        model,
        where,
        create_ms,
        number,
        None,
        number,
        tenant=tenant,
        deadline_ms=deadline_ms,
        expected=expected,
    )
