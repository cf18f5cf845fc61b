"""What the two clients have in common, under one set of names."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from tritonclient.utils import InferenceServerException

ANSWERED_S: Final = 30.0


class Door(Protocol):
    """A client of one of the doors."""

    client: Any
    aio: Any
    """The module of the client for asyncio."""
    url: str
    codings: Sequence[Mapping[str, str]]
    """Arguments of `infer` that have it compress."""

    def given(self, name: str, values: Any) -> Any:
        """Return an input."""
        ...

    def wanted(self, name: str, classes: int = 0) -> Any:
        """Return an output that is asked for."""
        ...

    def region(self, name: str, shape: Sequence[int], datatype: str) -> Any:
        """Return an input whose elements are in shared memory."""
        ...

    def status(self, code: str) -> str:
        """Return what the client's exceptions say of one of gRPC's codes."""
        ...

    def begin(self, model: str, inputs: Sequence[Any], **options: Any) -> Callable[[], Any]:
        """Begin an inference; what is returned waits for its result."""
        ...

    def id_of(self, result: Any) -> str:
        """Return the id of a request from its result."""
        ...

    def version_of(self, result: Any) -> str:
        """Return the version of the model from a result."""
        ...

    def outputs_of(self, result: Any) -> list[str]:
        """Return the names of the outputs of a result."""
        ...

    def server(self) -> dict[str, Any]:
        """Return the server's metadata."""
        ...

    def metadata(self, *model: str) -> dict[str, Any]:
        """Return a model's metadata."""
        ...

    def config(self, *model: str) -> dict[str, Any]:
        """Return a model's configuration."""
        ...

    def statistics(self, *model: str) -> list[dict[str, Any]]:
        """Return what was counted."""
        ...

    def index(self) -> list[dict[str, Any]]:
        """Return what the repository has."""
        ...


def refused(door: Door, code: str | tuple[str, ...], call: Callable[[], Any], *words: str) -> None:
    """Make a call that must be refused with a code, or one of several, in a sentence that has these words in it."""
    codes = (code,) if isinstance(code, str) else code
    try:
        call()
    except InferenceServerException as error:
        assert error.status() in [door.status(each) for each in codes], error
        assert all(word in error.message() for word in words), error
    else:
        raise AssertionError(f"nothing was refused; {code} was expected")
