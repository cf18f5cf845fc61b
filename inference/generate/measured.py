"""What a step costs, while it lasts."""

import time

from inference.engine import StepTimes


class Measured:
    """What is measured of a step while it lasts."""

    __slots__ = ("began_s", "decode_rows", "decode_s", "pieces", "prefill_s", "prefill_tokens", "sample_s")

    def __init__(self) -> None:
        self.began_s = time.perf_counter()
        self.prefill_s = self.decode_s = self.sample_s = 0.0
        self.prefill_tokens = self.decode_rows = 0
        self.pieces: list[tuple[str, float]] = []

    def read(self, key: str, tokens: int, seconds: float) -> None:
        """Count a piece of a request's prompt."""
        self.prefill_s += seconds
        self.prefill_tokens += tokens
        self.pieces.append((key, seconds))

    def times(self) -> StepTimes:
        """Return where the time went, now that the step is over."""
        named_s = self.prefill_s + self.decode_s + self.sample_s
        return StepTimes(
            self.prefill_s,
            self.decode_s,
            self.sample_s,
            time.perf_counter() - self.began_s - named_s,
            self.prefill_tokens,
            self.decode_rows,
            self.pieces,
        )
