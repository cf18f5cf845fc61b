from dataclasses import dataclass
from typing import Any

import grpc

from services.methods import Methods


@dataclass
class Details:
    method: str
    invocation_metadata: Any = ()


async def first(request: Any, context: Any) -> Any:
    return request


async def second(request: Any, context: Any) -> Any:
    return request


def handler(call: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(call)


def named(method: str, given: Any) -> Any:
    return method, given.unary_unary


def test_a_method_is_found_by_its_full_name_with_its_wrapping() -> None:
    methods = Methods(named)
    methods.add_registered_method_handlers("a.B", {"C": handler(first)})

    assert methods.service(Details("/a.B/C")) == ("a.B/C", first)


def test_a_method_that_nobody_registered_is_not_found() -> None:
    methods = Methods(named)
    methods.add_registered_method_handlers("a.B", {"C": handler(first)})

    assert methods.service(Details("/a.B/D")) is None


def test_each_handler_is_wrapped_once() -> None:
    wrapped = []

    def wrap(method: str, given: Any) -> Any:
        wrapped.append(method)
        return given

    methods = Methods(wrap)
    methods.add_registered_method_handlers("a.B", {"C": handler(first)})

    assert methods.service(Details("/a.B/C")) is methods.service(Details("/a.B/C"))
    assert wrapped == ["a.B/C"]


def test_what_was_registered_last_for_a_method_holds_even_after_a_call() -> None:
    methods = Methods(named)
    methods.add_registered_method_handlers("a.B", {"C": handler(first), "D": handler(first)})
    methods.service(Details("/a.B/C"))
    methods.add_registered_method_handlers("a.B", {"C": handler(second)})

    assert methods.service(Details("/a.B/C")) == ("a.B/C", second)
    assert methods.service(Details("/a.B/D")) == ("a.B/D", first)


def test_a_handler_by_name_goes_before_one_that_is_asked() -> None:
    methods = Methods(named)
    generic = grpc.method_handlers_generic_handler("a.B", {"C": handler(first), "D": handler(first)})
    methods.add_generic_rpc_handlers((generic,))
    methods.add_registered_method_handlers("a.B", {"C": handler(second)})

    assert methods.service(Details("/a.B/C")) == ("a.B/C", second)
    assert methods.service(Details("/a.B/D")) == ("a.B/D", first)
