"""Answers that are made to look like something: JSON, a JSON schema, a regular expression, a grammar.

`Constraints` belongs to a model and compiles what requests ask for; a `Constraint` belongs to one row and says which
tokens may come next; `fill_masks` asks all rows of a step at once.
"""

from inference.generate.constraints.compiler import Constraints
from inference.generate.constraints.constraint import Constraint, fill_masks

__all__ = ["Constraint", "Constraints", "fill_masks"]
