"""The picture of a trace: children under parents, in order of their start."""

from services.cli.demo_trace import SeenSpan, draw


def span(
    name: str, parent: str, start_ms: float, end_ms: float, service: str = "forebay-gateway"
) -> SeenSpan:
    return SeenSpan(service, name, "t", name, parent, int(start_ms * 1e6), int(end_ms * 1e6))


def test_children_stand_under_their_parents_in_the_order_in_which_they_started() -> None:
    lines = draw(
        [span("late", "root", 5, 6), span("root", "", 0, 9, "forebay-client"), span("early", "root", 1, 2)]
    )
    assert [line.split()[:2] for line in lines] == [
        ["client", "root"],
        ["gateway", "early"],
        ["gateway", "late"],
    ]
    assert "at      5.0 ms  took      1.0 ms" in lines[2]
    assert lines[1].index("early") > lines[0].index("root")


def test_a_span_whose_parent_never_came_is_drawn_all_the_same() -> None:
    assert len(draw([span("orphan", "missing", 0, 1)])) == 1


def test_nothing_is_drawn_of_nothing() -> None:
    assert draw([]) == []
