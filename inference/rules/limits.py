"""The limits of fields of generations and embeddings, as forebay/tasks/v1/inputs.proto tells them."""

from dataclasses import dataclass
from typing import Final

ROLES: Final = ("system", "user", "assistant", "tool")
MAX_MESSAGES: Final = 1024
MAX_PARTS: Final = 256
MAX_STOPS: Final = 16
MAX_STOP_BYTES: Final = 1024
MAX_STOP_TOKENS: Final = 64
MAX_TOKENS: Final = 1 << 20
MAX_LOGPROBS: Final = 20
MAX_CHOICES: Final = 16
MAX_BIASES: Final = 1024
MAX_BIAS: Final = 100
"""Of either sign."""
MAX_FORMAT_BYTES: Final = 256 << 10
"""Of a JSON schema, a regular expression or a grammar in UTF-8."""
MAX_SCHEMA_DEPTH: Final = 64
"""Objects and arrays of a JSON schema inside each other."""
MAX_TEXTS: Final = 2048
MAX_TEXTS_BYTES: Final = 1 << 20
"""Of all texts of one embedding together, in UTF-8."""


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers that an optional field takes."""

    field: str
    lowest: float
    highest: float | None = None
    """None for as many as the field can hold."""
    exclusive: bool = False
    """Whether the lowest number itself is refused."""

    def holds(self, number: float) -> bool:
        """Whether a number is inside. NaN never is: comparisons with it are false."""
        above = number > self.lowest if self.exclusive else number >= self.lowest
        return above and (self.highest is None or number <= self.highest)

    @property
    def rule(self) -> str:
        """Which numbers are taken, in words."""
        if self.highest is None:
            return f"{self.lowest:g} or more"
        if self.exclusive:
            return f"over {self.lowest:g} and at most {self.highest:g}"
        return f"{self.lowest:g} to {int(self.highest)}"


RANGES: Final = (
    Range("max_tokens", 1, MAX_TOKENS),
    Range("temperature", 0, 2),
    Range("top_p", 0, 1, exclusive=True),
    Range("top_k", 0),
    Range("min_p", 0, 1),
    Range("presence_penalty", -2, 2),
    Range("frequency_penalty", -2, 2),
    Range("repetition_penalty", 0, 2, exclusive=True),
    Range("logprobs", 0, MAX_LOGPROBS),
    Range("n", 1, MAX_CHOICES),
)
"""The optional numbers of GenerateInput but the seed, which may be any."""
