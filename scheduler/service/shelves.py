"""Names of shelves: every scheduler must come to the same one for a task, and know from it when to open it."""

from typing import NamedTuple
from urllib.parse import quote, unquote

from scheduler.states import Level


class Shelf(NamedTuple):
    """Tasks of one queue and model; with a label, those of them that a pause of this label holds back."""

    pool: str
    level: Level
    model: str
    label_key: str = ""
    label_value: str = ""

    @property
    def name(self) -> str:
        """`model/<pool>/<level>/<model>` or `label/<pool>/<level>/<model>/<key>=<value>`, parts quoted as in URLs."""
        queue = f"{quote(self.pool, safe='')}/{self.level.label}/{quote(self.model, safe='')}"
        if not self.label_key:
            return f"model/{queue}"
        return f"label/{queue}/{quote(self.label_key, safe='')}={quote(self.label_value, safe='')}"

    @property
    def labels(self) -> dict[str, str]:
        """What is known of the labels of its tasks."""
        return {self.label_key: self.label_value} if self.label_key else {}

    @classmethod
    def parse(cls, name: str) -> "Shelf | None":
        """Read a name; None when it is not of this form: whoever made it opens it."""
        match name.split("/"):
            case ["model", pool, level, model]:
                label = "="
            case ["label", pool, level, model, label] if "=" in label:
                pass
            case _:
                return None
        key, _, value = label.partition("=")
        if level.upper() not in Level.__members__:
            return None
        return cls(unquote(pool), Level[level.upper()], unquote(model), unquote(key), unquote(value))
