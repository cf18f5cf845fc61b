"""From chat messages to a prompt, by the model's own Jinja template, in a sandbox.

The template comes with the model and is not trusted: it can neither change what it is given nor reach Python's
internals, and what it writes is bounded. Text of messages goes into the prompt as the template puts it there, and
the whole prompt is tokenised with special tokens recognised: a marker such as `<|im_end|>` inside a message acts as
that marker, as it does with the template's reference implementation.
"""

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from inference.engine import Message
from scheduler.errors import InvalidInput, ModelUnusable

MAX_PROMPT_CHARS = 4_000_000
"""More text than this from a template is a fault, whatever the context length."""

_MAX_REPEATED_CHARS = 100_000


class _TemplateRefusal(TemplateError):
    """The template called raise_exception: it does not take these messages."""


class _Sandbox(ImmutableSandboxedEnvironment):
    """Refuses the operators that make enormous values out of small ones."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Multiply, or take the rest, within bounds."""
        if operator == "**":
            raise TemplateError("powers are not available in a chat template")
        sizes = [value for value in (left, right) if isinstance(value, int)]
        texts = [value for value in (left, right) if isinstance(value, str | list | tuple)]
        if operator == "%" and texts:
            raise TemplateError("formatting with % is not available in a chat template")
        if operator == "*" and texts and sizes and len(texts[0]) * sizes[0] > _MAX_REPEATED_CHARS:
            raise TemplateError("a repetition is too long")
        return super().call_binop(context, operator, left, right)


class ChatTemplate:
    """One compiled template."""

    def __init__(self, source: str, special_tokens: dict[str, str]) -> None:
        """Compile `source`; `special_tokens` (bos_token, eos_token, …) are what the template may use by name.

        Raises ModelUnusable when it is not Jinja.
        """
        environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = _strftime_now
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise ModelUnusable(f"the chat template is not usable: {error}")
        self._special_tokens = special_tokens

    def render(self, messages: Sequence[Message]) -> str:
        """Return the prompt that asks for the next message of the assistant.

        Raises InvalidInput when the template refuses the messages, fails on them, or writes too much.
        """
        variables = {
            **self._special_tokens,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "add_generation_prompt": True,
        }
        parts: list[str] = []
        written = 0
        try:
            for part in self._template.generate(variables):
                written += len(part)
                if written > MAX_PROMPT_CHARS:
                    raise InvalidInput.of(
                        "generate.messages",
                        f"the chat template writes more than {MAX_PROMPT_CHARS} characters",
                    )
                parts.append(part)
        except _TemplateRefusal as error:
            raise InvalidInput.of("generate.messages", f"the model's chat template refuses them: {error}")
        except InvalidInput:
            raise
        except Exception as error:  # a template is a program of somebody else: it can raise anything
            raise InvalidInput.of(
                "generate.messages", f"the model's chat template fails on them: {type(error).__name__}"
            )
        return "".join(parts)


def load_chat_template(folder: Path) -> ChatTemplate | None:
    """Read the template of a model folder: chat_template.jinja, else the one in tokenizer_config.json, else None.

    Raises ModelUnusable when what is there cannot be used.
    """
    config: Any = {}
    try:
        path = folder / "tokenizer_config.json"
        if path.is_file():
            config = json.loads(path.read_bytes())
        path = folder / "chat_template.jinja"
        source = path.read_text(encoding="utf-8") if path.is_file() else config.get("chat_template")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelUnusable(f"{path} cannot be read: {error}")
    if isinstance(source, list):  # several named ones
        source = next((item.get("template") for item in source if item.get("name") == "default"), None)
    if not isinstance(source, str):
        return None
    return ChatTemplate(source, _special_tokens(config))


def _special_tokens(config: dict[str, Any]) -> dict[str, str]:
    found = {}
    for name in ("bos_token", "eos_token", "unk_token", "pad_token"):
        value = config.get(name)
        text = value.get("content") if isinstance(value, dict) else value
        found[name] = text if isinstance(text, str) else ""
    return found


def _refuse(message: object) -> NoReturn:
    raise _TemplateRefusal(str(message)[:200])


def _to_json(value: object, indent: int | None = None) -> str:
    """Write JSON without escaping it for HTML, which is what Jinja's own filter does."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _strftime_now(pattern: str) -> str:
    return datetime.datetime.now().astimezone().strftime(pattern[:100])
