"""What the library says about a grammar, in words that hold nothing of the client's text.

The library's messages quote schemas, expressions and grammars. Only the kind of the fault, names of JSON Schema's own
keywords, and line and column of a Lark grammar go into an error.
"""

import re
from typing import Final

from inference.engine import FormatKind

KEYWORDS: Final = frozenset(
    "contains contentEncoding contentMediaType contentSchema dependentRequired dependentSchemas dependencies else if "
    "maxContains minContains not propertyNames then unevaluatedItems unevaluatedProperties uniqueItems "
    "$anchor $dynamicAnchor $dynamicRef $recursiveAnchor $recursiveRef".split()
)
"""Those that may be named in an error."""

TOO_COMPLEX: Final = "is too complex"
MATCHES_NOTHING: Final = "allows no answer at all"

_KNOWN: Final = (
    (r"NoExtension|^Unsatisfiable|Regex is empty", MATCHES_NOTHING),
    (r"recursion limit|too deeply", "is nested too deeply"),
    (
        r"oneOf constraints",
        "has a oneOf whose alternatives may overlap: use anyOf, or tell them apart by a const",
    ),
    (r"^Unimplemented keys", "uses JSON Schema keywords that are not supported"),
    (r"Unknown format", "uses a string format that is not supported"),
    (r"are not disjoint", "has patternProperties that may overlap"),
    (r"^Pointer|^Resource|nresolvable|retriev", "has a $ref that leads nowhere in it"),
    (r"circular reference", "has definitions that consist of nothing but themselves"),
    (r"special token|not found in tokenizer", "names special tokens: it can describe text only"),
    (
        r"look-?around|WordUnicode|look-ahead|StartLF|EndLF",
        "has a regular expression with look-around, word boundaries or inner anchors, which is not supported",
    ),
    (r"backreferences", "has a regular expression with back-references, which is not supported"),
    (r"unknown name|Unknown common", "refers to a rule or token that it does not define"),
    (r"no start rule", "has no rule named start"),
    (r"regex parse error|invalid regex", "has a regular expression that is malformed"),
    (r"too |limit|fuel|precomputation|panic|max is", TOO_COMPLEX),
)
_OTHERWISE: Final = {
    FormatKind.JSON_OBJECT: "cannot be used",
    FormatKind.JSON_SCHEMA: "is not a JSON schema that can be used",
    FormatKind.REGEX: "is not a regular expression that can be used",
    FormatKind.GRAMMAR: "is not a Lark grammar that can be used",
}
_PLACE: Final = re.compile(r"(?:at )?(\d+)\((\d+)\):")


def fault_of(kind: FormatKind, message: str) -> str:
    """Return what is wrong as the rest of a sentence that begins with the field's name."""
    fault = next((words for pattern, words in _KNOWN if re.search(pattern, message)), _OTHERWISE[kind])
    if message.startswith("Unimplemented keys"):
        names = sorted(KEYWORDS.intersection(re.findall(r'"([^"]+)"', message)))
        return f"{fault}: {', '.join(names)}" if names else fault
    place = _PLACE.match(message) if kind is FormatKind.GRAMMAR else None
    return f"{fault} (line {place[1]}, column {place[2]})" if place else fault
