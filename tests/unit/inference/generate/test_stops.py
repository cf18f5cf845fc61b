from hypothesis import given
from hypothesis import strategies as st

from inference.generate.stops import StopScanner

letters = st.text("ab\n", max_size=12)


def fed(stops: list[str], pieces: list[str]) -> str:
    scanner = StopScanner(stops)
    return "".join(map(scanner.feed, pieces)) + scanner.flush()


def test_text_ends_before_a_stop_string_that_spans_three_pieces() -> None:
    assert fed(["\n\nUser:"], ["Hello\n", "\nUs", "er: more"]) == "Hello"


def test_text_that_only_could_have_been_a_stop_string_is_shown_in_the_end() -> None:
    scanner = StopScanner(["END"])
    assert scanner.feed("the EN") == "the "
    assert scanner.feed("tire") == "ENtire"
    assert scanner.feed(" E") == " "
    assert scanner.flush() == "E"


def test_nothing_is_held_back_without_stop_strings() -> None:
    assert StopScanner([]).feed("all of it") == "all of it"


def test_nothing_follows_a_stop_string() -> None:
    scanner = StopScanner(["x"])
    assert scanner.feed("ax") == "a"
    assert scanner.stopped
    assert scanner.feed("b") == ""
    assert scanner.flush() == ""


@given(st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3), st.lists(letters, max_size=6))
def test_what_is_shown_never_holds_a_stop_string_and_is_a_beginning_of_the_text(
    stops: list[str], pieces: list[str]
) -> None:
    shown, text = fed(stops, pieces), "".join(pieces)
    assert text.startswith(shown)
    assert not any(stop in shown for stop in stops)
    if not any(stop in text for stop in stops):
        assert shown == text
