"""How much a grammar may cost, to compile and at every token.

Figures are of one core of a Zen 4 server and a vocabulary of 49,152 tokens.
"""

from typing import Any, Final

PARSER_LIMITS: Final[dict[str, Any]] = {
    # The library's own bounds, said here so that another version keeps them. The worst mask that was found took 20 ms,
    # beside a model step of 27 ms; half of them refuse half as many expressions again and take hardly less.
    "step_lexer_fuel": 200_000,
    "step_max_items": 50_000,
    "initial_lexer_fuel": 1_000_000,
    # 1 to 2 kB each, kept as long as the grammar is. Shared by all rows of one grammar.
    "max_lexer_states": 50_000,
    "max_grammar_size": 250_000,
    # Errors would hold the grammar and the answer so far.
    "verbose_errors": False,
}
"""Arguments of llguidance.LLParserLimits."""

TRIAL_CPU_S: Final = 1.0
"""Processor time for compiling a grammar, after which it counts as too complex. Typical schemas take 0.002."""
TRIAL_WALL_S: Final = 8.0
"""The same by the clock, for a machine that is busy with other things."""
TRIAL_MEMORY_BYTES: Final = 512 << 20
"""Memory that compiling may take."""
TRIAL_STACK_BYTES: Final = 8 << 20
"""Stack of the thread that tries a grammar: the library recurses as deeply as a grammar's rules are chained."""
COMPILE_STACK_BYTES: Final = 32 << 20
"""Stack of the thread that compiles what passed the trial; far more, so that what passed there cannot overflow here."""

FIRST_MASK_S: Final = 0.1
"""Processor time for the first mask of a grammar, after which it counts as too complex."""
MASK_GRACE_S: Final = 0.5
"""Processor time that a row's masks may take in all, however few tokens it has."""
MASK_TOKEN_S: Final = 0.005
"""What each token adds to that. Typical grammars take 0.00001 to 0.00005."""

WARM_MASK_S: Final = 0.000_05
"""Processor time of a mask for which the lexer learned nothing new. What is over it went into new states."""
GROWTH_BYTES_S: Final = 1 << 30
"""Memory that one second of learning takes: 400 states in a millisecond."""
RENEW_S: Final = 0.05
"""Learning after which new rows get the grammar compiled anew: rows share what the lexer has learned, and its limit of
states, which must not be used up by rows that ended long ago."""

CACHE_ENTRIES: Final = 256
"""Compiled grammars, and refusals, that a model remembers."""
CACHE_BYTES: Final = 256 << 20
"""Memory that these may take."""
TEXT_FACTOR: Final = 100
"""Memory of a compiled grammar in bytes of its definition, at least: the most that was seen for long definitions."""

WHITESPACE: Final = r"[ ]{1,2}|\r?\n[ \t]{0,64}"
"""What may stand between the parts of a JSON answer: a model that is allowed any amount may write blanks to the end."""
