"""What a model of a repository may be called."""

import re
from typing import Final

NAME: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,128}")
"""A folder's name, or that of an .onnx file without its ending. A name is also a part of a path: `..` is none."""
