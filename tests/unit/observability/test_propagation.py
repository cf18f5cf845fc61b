import pytest

from observability.propagation import (
    TraceContext,
    from_metadata,
    from_properties,
    parse,
    render,
    to_metadata,
    to_properties,
    trace_id_of,
)

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def test_a_traceparent_is_read_and_written_back_unchanged() -> None:
    parsed = parse(PARENT)
    assert parsed == TraceContext(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7, True)
    assert render(parsed) == PARENT


def test_the_sampled_flag_is_the_lowest_bit_only() -> None:
    unsampled = parse(PARENT[:-2] + "02")
    sampled = parse(PARENT[:-2] + "03")
    assert unsampled is not None and not unsampled.sampled
    assert sampled is not None and sampled.sampled


def test_a_later_version_may_carry_more_fields_and_version_00_may_not() -> None:
    assert parse("01" + PARENT[2:] + "-what-comes-later") is not None
    assert parse(PARENT + "-more") is None


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "00",
        PARENT.upper(),
        "ff" + PARENT[2:],
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        PARENT + "\n",
        " " + PARENT,
        "00-" + "a" * 5000,
    ],
)
def test_what_is_no_traceparent_is_no_context(broken: str) -> None:
    assert parse(broken) is None
    assert trace_id_of(broken) == ""
    assert from_metadata([("traceparent", broken)]) == ""
    assert from_properties({"traceparent": broken}) == ""


def test_a_context_travels_in_grpc_metadata() -> None:
    assert from_metadata([("user-agent", "x"), *to_metadata(PARENT)]) == PARENT


def test_a_context_travels_in_message_properties() -> None:
    assert from_properties({"forebay-bundle": "1", **to_properties(PARENT)}) == PARENT


def test_no_context_adds_nothing_to_what_is_sent() -> None:
    assert to_metadata("") == ()
    assert to_properties("") == {}
    assert from_metadata(None) == ""
    assert from_properties({}) == ""


def test_binary_metadata_under_the_same_key_is_ignored() -> None:
    assert from_metadata([("traceparent", PARENT.encode())]) == ""


def test_the_trace_id_is_shown_for_log_lines() -> None:
    assert trace_id_of(PARENT) == TRACE
